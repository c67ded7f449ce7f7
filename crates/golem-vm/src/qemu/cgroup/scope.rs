//! Scopes: groups that systemd makes for processes that are not its own.
//!
//! Owns the words that start a program in one, and those that ask for one for a process that runs. Where systemd
//! is the first process, it alone may make groups, and what it started with a unit ends with that unit; a scope
//! is a unit of its own, so a guest in one outlives the node's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::bounds::CgroupBounds;
use crate::cgroup::CgroupPlaces;

/// The slice that guests' scopes are in, below that of the node's own unit.
const SLICE: &str = "golem-vms.slice";

/// The manager that makes scopes for this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    /// Whether it is the user's own, and where that listens.
    user: Option<PathBuf>,
    /// The unit that the node runs in.
    unit: Option<String>,
}

impl Manager {
    /// The manager that would make scopes here; `None` if systemd is not the first process.
    pub(super) fn find(root: bool, places: &CgroupPlaces, runtime_dir: Option<OsString>) -> Option<Self> {
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let user = match (root, runtime_dir) {
            (true, _) => None,
            (false, Some(folder)) if Path::new(&folder).join("systemd/private").exists() => {
                Some(folder.into())
            }
            (false, _) => return None,
        };
        Some(Self { user, unit: own_unit(places) })
    }

    /// The program `name` of systemd, with the words that lead to this manager.
    fn call(&self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(folder) = &self.user {
            words.extend(["env".to_owned(), format!("XDG_RUNTIME_DIR={}", folder.display())]);
        }
        words.push(name.to_owned());
        if self.user.is_some() {
            words.push("--user".to_owned());
        }
        words
    }

    /// Words that run what follows in a scope `name` with `bounds`, for a guest whose files are in `folder`.
    /// The process that runs them becomes what follows.
    pub(super) fn run(&self, name: &str, bounds: &CgroupBounds, folder: &Path) -> Vec<String> {
        let mut words = self.call("systemd-run");
        words.extend(["--scope", "--quiet", "--collect"].map(str::to_owned));
        words.push(format!("--unit={name}"));
        words.push(format!("--slice={SLICE}"));
        words.push(format!("--description=A guest of golem-provider ({name})"));
        let mut properties = bounds.properties(folder);
        if let Some(unit) = &self.unit {
            // The host goes down in the reverse order: the node, which has guests shut down, before them.
            properties.push(format!("Before={unit}"));
        }
        words.extend(properties.into_iter().map(|property| format!("--property={property}")));
        words.push("--".to_owned());
        words
    }

    /// Words that set `bounds` on the scope `name` that is there, until the host is started anew.
    pub(super) fn set(&self, name: &str, bounds: &CgroupBounds, folder: &Path) -> Vec<String> {
        let mut words = self.call("systemctl");
        words.extend(["set-property", "--runtime"].map(str::to_owned));
        words.push(format!("{name}.scope"));
        words.extend(bounds.properties(folder));
        words
    }

    /// Words that tell what the manager's host is about to do.
    pub(super) fn as_text(&self) -> &'static str {
        if self.user.is_some() { "scopes of the user's systemd" } else { "scopes of systemd" }
    }
}

/// The unit in which the process at `places` is, if it is a service.
fn own_unit(places: &CgroupPlaces) -> Option<String> {
    let place = places.v1.get("name=systemd").or(places.v2.as_ref())?;
    let unit = place.groups().find(|group| group.extension().is_some_and(|word| word == "service"))?;
    unit.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use golem_types::Resources;

    use super::*;
    use crate::cgroup::CgroupPlace;
    use crate::machine::Overhead;

    #[test]
    fn h_04_a_guest_is_in_a_scope_that_ends_after_the_node() {
        let own = CgroupPlace { top: "/c".into(), own: "/c/golem.slice/golem-provider.service".into() };
        let places = CgroupPlaces { v2: Some(own), ..CgroupPlaces::default() };
        let manager = Manager { user: None, unit: own_unit(&places) };
        let bounds =
            CgroupBounds::of(Resources::new(1, 1, 10), Overhead::default(), Path::new("/proc"), None);
        let words = manager.run("golem-vm-0a", &bounds, Path::new("/d")).join(" ");
        assert!(words.starts_with(
            "systemd-run --scope --quiet --collect --unit=golem-vm-0a --slice=golem-vms.slice "
        ));
        assert!(words.ends_with(" --property=Before=golem-provider.service --"), "{words}");
        let user = Manager { user: Some("/run/user/1".into()), unit: None };
        let words = user.set("golem-vm-0a", &bounds, Path::new("/d")).join(" ");
        let start = "env XDG_RUNTIME_DIR=/run/user/1 systemctl --user set-property --runtime golem-vm-0a.scope MemoryMax=";
        assert!(words.starts_with(start), "{words}");
    }
}
