//! Which of the host's control groups a process is in.
//!
//! Owns the reading of `/proc/<id>/cgroup` and `/proc/<id>/mountinfo`, for cgroup v2, for v1, and for
//! hosts that have both. Never makes, changes or joins a group: the QEMU backend does that for its guests.
//!
//! A container may see only a part of a hierarchy: then its root is the mount point, and what lies above
//! cannot be seen.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPlace {
    /// The hierarchy's highest group that can be seen.
    pub top: PathBuf,
    /// The process's own group: `top`, or a folder below it.
    pub own: PathBuf,
}

impl CgroupPlace {
    /// The process's own group and all above it that can be seen, the own one first.
    pub fn groups(&self) -> impl Iterator<Item = &Path> {
        self.own.ancestors().take_while(|folder| folder.starts_with(&self.top))
    }
}

/// Where a process stands in every hierarchy that is mounted. Empty on a host without control groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupPlaces {
    /// In the hierarchy of version 2, where that is mounted.
    pub v2: Option<CgroupPlace>,
    /// In the hierarchies of version 1, by controller (`memory`, `cpu`, …).
    pub v1: BTreeMap<String, CgroupPlace>,
}

impl CgroupPlaces {
    /// Where this process stands.
    ///
    /// # Errors
    /// When `/proc` cannot be read: that says nothing about where it stands.
    pub fn of_this_process() -> io::Result<Self> {
        Self::read(Path::new("/proc/self"))
    }

    /// Where the process stands whose files in `/proc` are `process`.
    ///
    /// # Errors
    /// When those files cannot be read. A kernel without control groups has no `cgroup` there, which is no
    /// error.
    pub fn read(process: &Path) -> io::Result<Self> {
        let Some(memberships) = read_whole(&process.join("cgroup"))? else { return Ok(Self::default()) };
        let mounts = read_whole(&process.join("mountinfo"))?.unwrap_or_default();
        Ok(Self::parse(&memberships, &mounts))
    }

    fn parse(memberships: &[u8], mounts: &[u8]) -> Self {
        let mounts: Vec<Mount> = lines(mounts).filter_map(Mount::parse).collect();
        let mut places = Self::default();
        for line in lines(memberships) {
            // `4:memory:/a/group`, and `0::/a/group` for version 2; the path may hold a colon.
            let mut fields = line.splitn(3, |byte| *byte == b':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            if controllers.is_empty() {
                places.v2 = mounted(mounts.iter().filter(|mount| mount.controllers.is_none()), path);
                continue;
            }
            for controller in String::from_utf8_lossy(controllers).split(',') {
                let holds = |mount: &&Mount| {
                    mount.controllers.as_ref().is_some_and(|all| all.iter().any(|one| one == controller))
                };
                if let Some(place) = mounted(mounts.iter().filter(holds), path) {
                    places.v1.insert(controller.to_owned(), place);
                }
            }
        }
        places
    }
}

/// Where the group `path` lies on those of `mounts` that show it; the one that shows the most of what is
/// above it. On none that does, the process is outside of what can be seen, and all that can be seen is
/// the top.
fn mounted<'a>(mounts: impl Iterator<Item = &'a Mount> + Clone, path: &Path) -> Option<CgroupPlace> {
    let shown = mounts
        .clone()
        .filter_map(|mount| Some((mount, path.strip_prefix(&mount.root).ok()?)))
        .filter(|(_, inside)| inside.components().all(|part| matches!(part, std::path::Component::Normal(_))))
        .max_by_key(|(_, inside)| inside.components().count());
    match shown {
        // Joined with nothing a path would get a slash at its end.
        Some((mount, inside)) if inside.as_os_str().is_empty() => {
            Some(CgroupPlace { top: mount.point.clone(), own: mount.point.clone() })
        }
        Some((mount, inside)) => {
            Some(CgroupPlace { top: mount.point.clone(), own: mount.point.join(inside) })
        }
        None => mounts.last().map(|mount| CgroupPlace { top: mount.point.clone(), own: mount.point.clone() }),
    }
}

/// A mounted hierarchy.
struct Mount {
    /// The group that the mount point shows.
    root: PathBuf,
    point: PathBuf,
    /// `None` for version 2.
    controllers: Option<Vec<String>>,
}

impl Mount {
    /// Reads a line of `mountinfo`:
    /// `31 23 0:28 /root /mount/point rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct`.
    fn parse(line: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let controllers = match *fields.get(dash + 1)? {
            b"cgroup2" => None,
            b"cgroup" => {
                let options = String::from_utf8_lossy(fields.get(dash + 3)?).into_owned();
                Some(options.split(',').map(str::to_owned).collect())
            }
            _ => return None,
        };
        Some(Self { root: unescape(fields.get(3)?), point: unescape(fields.get(4)?), controllers })
    }
}

/// A path of `mountinfo`, in which space, tab, newline and backslash are `\` and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = (*byte == b'\\')
            .then(|| after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(value) => {
                bytes.push(value);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The whole of a file of `/proc` or of a control group; `None` if there is none. Such files have no
/// size, and some tell the rest of a value only to who asks for it in one piece, so the first reading is large.
///
/// # Errors
/// Any but that there is no such file, or that its group is gone.
pub fn read_whole(path: &Path) -> io::Result<Option<Vec<u8>>> {
    const PIECE: usize = 1 << 16;
    /// More than any such file has; a mount table of a thousand containers has a few.
    const MOST: usize = 1 << 25;
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = Vec::new();
    loop {
        let filled = text.len();
        text.resize(filled + PIECE, 0);
        let read = match file.read(text.get_mut(filled..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            // The group was removed after it was opened.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                return Ok(None);
            }
            Ok(0) => {
                text.truncate(filled);
                return Ok(Some(text));
            }
            read => read?,
        };
        text.truncate(filled + read);
        if text.len() > MOST {
            return Err(io::Error::other(format!("{} does not end", path.display())));
        }
    }
}

/// The words of the small file at `path`; `None` if there is no such file or it is not text.
///
/// # Errors
/// As [`read_whole`].
pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    let text = read_whole(path)?.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.map(|text| text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(top: &str, own: &str) -> CgroupPlace {
        CgroupPlace { top: top.into(), own: own.into() }
    }

    fn groups(place: &CgroupPlace) -> Vec<&str> {
        place.groups().map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn h_10_a_process_is_found_in_version_2() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let places = CgroupPlaces::parse(b"0::/system.slice/golem-provider.service\n", mounts.as_bytes());
        let v2 = places.v2.unwrap();
        assert_eq!(v2, place("/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/golem-provider.service"));
        assert_eq!(
            groups(&v2),
            [
                "/sys/fs/cgroup/system.slice/golem-provider.service",
                "/sys/fs/cgroup/system.slice",
                "/sys/fs/cgroup"
            ]
        );
        assert!(places.v1.is_empty());
    }

    #[test]
    fn h_10_a_process_is_found_in_version_1_and_where_both_are_mounted() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let memberships =
            "9:name=systemd:/user.slice\n4:memory:/user.slice/a:b c\n2:cpu,cpuacct:/\n0::/user.slice\n";
        let places = CgroupPlaces::parse(memberships.as_bytes(), mounts.as_bytes());
        assert_eq!(places.v2, Some(place("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice")));
        assert_eq!(
            places.v1["memory"],
            place("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/user.slice/a:b c")
        );
        let cpu = place("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!((&places.v1["cpu"], &places.v1["cpuacct"]), (&cpu, &cpu));
        assert_eq!(groups(&cpu), ["/sys/fs/cgroup/cpu,cpuacct"]);
    }

    #[test]
    fn h_10_containers_see_a_part() {
        // Without a namespace of control groups: the mount shows the container's own group.
        let mounts = "50 40 0:30 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let own = CgroupPlaces::parse(b"4:memory:/docker/0123\n", mounts.as_bytes());
        assert_eq!(own.v1["memory"], place("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"));
        let below = CgroupPlaces::parse(b"4:memory:/docker/0123/a\n", mounts.as_bytes());
        assert_eq!(below.v1["memory"], place("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a"));
        // With one: paths are relative to its root, and outside of it they climb.
        let mounts = "50 40 0:30 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        for path in ["/", "/../other", "/../../x"] {
            let places = CgroupPlaces::parse(format!("0::{path}\n").as_bytes(), mounts.as_bytes());
            assert_eq!(places.v2, Some(place("/sys/fs/cgroup", "/sys/fs/cgroup")), "{path}");
        }
        // A mount of another group shows nothing of ours but its top.
        let mounts = "50 40 0:30 /docker/ffff /mnt/x ro - cgroup2 cgroup rw\n";
        assert_eq!(
            CgroupPlaces::parse(b"0::/docker/0123\n", mounts.as_bytes()).v2,
            Some(place("/mnt/x", "/mnt/x"))
        );
        // The mount that shows the most counts.
        let mounts = "50 40 0:30 /a /mnt/a ro - cgroup2 cgroup rw\n51 40 0:30 / /all\\040of\\134it ro - cgroup2 cgroup rw\n";
        let places = CgroupPlaces::parse(b"0::/a/b\n", mounts.as_bytes());
        assert_eq!(places.v2, Some(place("/all of\\it", "/all of\\it/a/b")));
    }

    #[test]
    fn nonsense_is_nowhere() {
        for (memberships, mounts) in [
            ("", ""),
            ("0::/", ""),
            ("x", "y\n-\n - \n1 2 3 - cgroup2\n"),
            ("4:memory", "1 2 3 / /m rw - cgroup c rw"),
        ] {
            let places = CgroupPlaces::parse(memberships.as_bytes(), mounts.as_bytes());
            assert_eq!(places, CgroupPlaces::default(), "{memberships:?} {mounts:?}");
        }
        assert_eq!(CgroupPlaces::read(Path::new("/proc/self/nothing")).unwrap(), CgroupPlaces::default());
    }

    #[test]
    fn this_process_is_somewhere_that_exists() {
        let places = CgroupPlaces::of_this_process().unwrap();
        for place in places.v1.values().chain(&places.v2) {
            assert!(place.top.is_dir() && place.own.starts_with(&place.top), "{place:?}");
        }
    }

    #[test]
    fn h_05_a_file_is_read_whole_whatever_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let long: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &long).unwrap();
        assert_eq!(read_whole(&path).unwrap().unwrap(), long);
        assert_eq!(read_whole(&folder.path().join("absent")).unwrap(), None);
        let mounts = read_whole(Path::new("/proc/self/mountinfo")).unwrap().unwrap();
        assert!(mounts.ends_with(b"\n"));
    }
}
