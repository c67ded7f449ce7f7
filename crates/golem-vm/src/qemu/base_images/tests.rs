use golem_types::ImageName;

use super::*;

/// Something mounted on a folder, unmounted at the end. Needs root, as whole runs of the suite have.
struct Volume(tempfile::TempDir);

impl Volume {
    /// A file system in memory.
    fn mount() -> Self {
        Self::with(&["-t", "tmpfs", "-o", "size=1100m,mode=700", "none"])
    }

    fn with(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount").args(words).arg(folder.path()).status();
        assert!(mounted.unwrap().success());
        Self(folder)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// A data directory whose machines lie on another file system.
struct World {
    data: tempfile::TempDir,
    volume: Volume,
    images: Arc<Images>,
    bases: Bases,
}

/// An image of 3 MiB: some content, zeros, and `last`.
fn image(last: u8) -> Vec<u8> {
    let mut bytes = vec![0; 3 << 20];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[7] = 3;
    bytes[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
    bytes.extend([last; 1000]);
    bytes
}

fn name() -> ImageName {
    "debian-12".parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self::with(|from, to| std::fs::hard_link(from, to))
    }

    fn with(link: Link) -> Self {
        let data = tempfile::tempdir().unwrap();
        let volume = Volume::mount();
        let machines = data.path().join("vms");
        std::os::unix::fs::symlink(volume.0.path(), &machines).unwrap();
        let images = Arc::new(Images::open(data.path()).unwrap());
        let mut bases = Bases::new(machines, Arc::clone(&images));
        bases.store.link = link;
        let world = Self { data, volume, images, bases };
        world.publish(1);
        world
    }

    /// Makes or replaces the image.
    fn publish(&self, last: u8) {
        let file = self.data.path().join("file");
        std::fs::write(&file, image(last)).unwrap();
        self.images.add(&name(), &file).unwrap();
    }

    fn machine(&self, name: &str) -> PathBuf {
        let folder = self.volume.0.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    async fn give(&self, machine: &str) -> io::Result<Metadata> {
        let machine = self.machine(machine);
        let (image, _) = self.images.find(&name()).unwrap();
        self.bases.give(&image, &machine).await?;
        std::fs::metadata(machine.join(BASE_FILE))
    }

    fn bases(&self) -> usize {
        std::fs::read_dir(self.bases.store.folder()).map_or(0, Iterator::count)
    }

    /// Removes a machine as the backend does.
    fn remove(&self, machine: &str) {
        std::fs::remove_dir_all(self.machine(machine)).unwrap();
        self.bases.tidy().unwrap();
    }
}

#[tokio::test]
async fn h_07_machines_of_another_file_system_share_one_copy_that_goes_with_the_last() {
    let world = World::new();
    // Two at once.
    let (a, b) = tokio::join!(world.give("a"), world.give("b"));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.ino(), a.mode() & 0o7777), (b.ino(), 0o444));
    assert_eq!(world.give("b").await.unwrap().nlink(), 3);
    assert_eq!(std::fs::read(world.machine("a").join(BASE_FILE)).unwrap(), image(1));
    assert!(a.blocks() * 512 < 1 << 20, "zeros take no space");
    assert_eq!(std::fs::read_dir(world.machine("a")).unwrap().count(), 1, "nothing unfinished is left");
    assert_eq!(world.give("a").await.unwrap().ino(), a.ino(), "again");

    // H-08: replaced, the machines keep theirs.
    world.publish(2);
    let c = world.give("c").await.unwrap();
    assert_ne!(c.ino(), a.ino());
    assert_eq!(std::fs::read(world.machine("c").join(BASE_FILE)).unwrap(), image(2));
    assert_eq!(std::fs::read(world.machine("b").join(BASE_FILE)).unwrap(), image(1));
    world.remove("a");
    assert_eq!(world.bases(), 2);
    world.remove("b");
    assert_eq!(world.bases(), 1, "the last machine of the old image is gone");
    world.remove("c");
    assert_eq!(world.bases(), 1, "the next machine wants it");
    world.images.remove(&name()).unwrap();
    world.bases.tidy().unwrap();
    assert_eq!(std::fs::read_dir(world.volume.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn h_07_where_links_do_not_work_each_machine_has_a_copy() {
    use rustix::io::Errno;
    let refusals: [Link; 4] = [
        |_, _| Err(Errno::PERM.into()),
        |_, _| Err(Errno::NOTSUP.into()),
        |_, _| Err(Errno::MLINK.into()),
        |_, _| Err(Errno::NOSYS.into()),
    ];
    for link in refusals {
        let world = World::with(link);
        let (a, b) = (world.give("a").await.unwrap(), world.give("b").await.unwrap());
        assert_ne!(a.ino(), b.ino());
        assert_eq!((a.nlink(), world.bases()), (1, 0));
        assert_eq!(std::fs::read(world.machine("b").join(BASE_FILE)).unwrap(), image(1));
    }
}

/// The images in `data`, with one, made of its `file`, and where that is.
fn images_with_one(data: &Path) -> (Arc<Images>, PathBuf) {
    let images = Arc::new(Images::open(data).unwrap());
    let file = data.join("file");
    std::fs::write(&file, image(1)).unwrap();
    images.add(&name(), &file).unwrap();
    let (path, _) = images.find(&name()).unwrap();
    (images, path)
}

#[tokio::test]
async fn h_07_on_one_file_system_a_machine_has_the_image_itself_unless_guests_could_write_it() {
    let data = tempfile::tempdir().unwrap();
    let (images, path) = images_with_one(data.path());
    let bases = Bases::new(data.path().join("vms"), Arc::clone(&images));
    let give = async |machine: &str| {
        let machine = data.path().join("vms").join(machine);
        std::fs::create_dir_all(&machine).unwrap();
        bases.give(&path, &machine).await.unwrap();
        std::fs::symlink_metadata(machine.join(BASE_FILE)).unwrap()
    };
    let inode = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(bases.copy_bytes(&path).unwrap(), None);
    assert_eq!(give("a").await.ino(), inode);
    assert!(!bases.store.folder().exists());
    // Put there by hand: everybody can write it, or guests' users cannot read it, or it is a link to elsewhere.
    for mode in [0o666, 0o600] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(bases.copy_bytes(&path).unwrap().is_some());
        let base = give(&format!("{mode:o}")).await;
        assert!(base.ino() != inode && base.mode() & 0o7777 == 0o444, "{mode:o}");
        bases.store.images.remove(&name()).unwrap();
        bases.tidy().unwrap();
        std::fs::write(&path, image(1)).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    let file = data.path().join("file");
    std::os::unix::fs::symlink(&file, &path).unwrap();
    let base = give("c").await;
    assert!(base.is_file() && base.ino() != std::fs::metadata(&file).unwrap().ino());
}

/// As a unit's `ReadWritePaths=` makes it of one file system.
#[tokio::test]
async fn h_07_two_mounts_of_one_file_system_are_told_apart() {
    let data = tempfile::tempdir().unwrap();
    let (images, path) = images_with_one(data.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let bound = Volume::with(&["--bind", elsewhere.path().to_str().unwrap()]);
    let bases = Bases::new(bound.0.path().to_owned(), images);
    assert!(bases.copy_bytes(&path).unwrap().is_some());
    let machine = bound.0.path().join("a");
    std::fs::create_dir(&machine).unwrap();
    bases.give(&path, &machine).await.unwrap();
    assert_eq!(std::fs::metadata(machine.join(BASE_FILE)).unwrap().nlink(), 2);
    assert_eq!(bases.copy_bytes(&path).unwrap(), None, "it is there now");
}

#[tokio::test]
async fn h_07_what_a_kill_leaves_is_not_trusted() {
    let world = World::new();
    // In the middle of a copy.
    std::fs::write(world.machine("a").join("base.img.new"), b"half of it").unwrap();
    world.give("a").await.unwrap();
    assert_eq!(std::fs::read(world.machine("a").join(BASE_FILE)).unwrap(), image(1));
    // Between the link and the rename.
    let (base, fresh) = (world.machine("a").join(BASE_FILE), world.machine("a").join("base.img.new"));
    std::fs::rename(&base, &fresh).unwrap();
    let inode = std::fs::metadata(&fresh).unwrap().ino();
    assert_eq!(world.give("a").await.unwrap().ino(), inode);
    assert!(!fresh.exists());
    world.remove("a");
    // In the middle of a copy, which another machine makes before the first is asked for again.
    std::fs::write(world.machine("c").join("base.img.new"), b"half of it").unwrap();
    world.give("c").await.unwrap();
    assert_eq!(std::fs::read_dir(world.machine("c")).unwrap().count(), 1);
    world.remove("c");
    // Before the disk, and the machine is removed.
    std::fs::write(world.machine("b").join("base.img.new"), b"half of it").unwrap();
    world.remove("b");
    assert_eq!(world.bases(), 1);
    assert_eq!(std::fs::read_dir(world.volume.0.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn h_07_a_copy_that_nobody_wants_ends_and_leaves_nothing() {
    let world = World::new();
    let (image, _) = world.images.find(&name()).unwrap();
    let target = world.machine("a").join("base.img.new");
    let mut file = File::create(&target).unwrap();
    std::fs::remove_file(&target).unwrap();
    let ended = stream(&mut File::open(&image).unwrap(), &mut file, || true).unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::Interrupted, "its machine was removed");
    world.bases.store.over.store(true, Ordering::Release);
    assert_eq!(world.give("a").await.unwrap_err().kind(), io::ErrorKind::Interrupted, "the node ends");
    assert_eq!((std::fs::read_dir(world.machine("a")).unwrap().count(), world.bases()), (0, 0));
}

#[tokio::test]
async fn h_07_room_for_the_copy_is_looked_for_first() {
    let world = World::new();
    let large = world.data.path().join("large");
    std::fs::write(&large, image(1)).unwrap();
    rustix::fs::fallocate(
        File::options().write(true).open(&large).unwrap(),
        rustix::fs::FallocateFlags::empty(),
        0,
        100 << 20,
    )
    .unwrap();
    let bytes = world.bases.copy_bytes(&large).unwrap().unwrap();
    assert!(bytes >= 100 << 20, "{bytes}");
    let machine = world.machine("a");
    let error = world.bases.give(&large, &machine).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("takes 100 MiB"), "{error}");
    assert_eq!((std::fs::read_dir(&machine).unwrap().count(), world.bases()), (0, 0));
    // What is there already takes nothing more.
    world.give("b").await.unwrap();
    let (image, _) = world.images.find(&name()).unwrap();
    assert_eq!(world.bases.copy_bytes(&image).unwrap(), None);
}
