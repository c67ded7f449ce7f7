//! Downloads from a publisher on loopback that can be cut off, lie and change its mind.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// What the publisher has and does.
#[derive(Default)]
struct Publisher {
    image: Vec<u8>,
    list: String,
    /// Cut every answer off after this many bytes of the file.
    cut_after: Option<usize>,
    /// Answer without regard to what was asked for.
    ignores_ranges: bool,
    /// Where each request for the file asked to begin.
    asked: Vec<usize>,
}

type Shared = Arc<Mutex<Publisher>>;

/// An empty qcow2 disk of 1 GiB with something behind its header, so that it takes a while.
fn image() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    bytes[..104].fill(0);
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A publisher of `image()`, how to reach it, and what keeps it running.
async fn publish(change: impl FnOnce(&mut Publisher)) -> (Shared, Source, JoinSet<()>) {
    let image = image();
    let list = format!("{} *other.img\n{} *disk.img\n", "0".repeat(64), hex(&Sha256::digest(&image)));
    let mut publisher = Publisher { image, list, ..Publisher::default() };
    change(&mut publisher);
    let publisher = Arc::new(Mutex::new(publisher));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = format!("http://{}/release", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let shared = Arc::clone(&publisher);
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                request.extend(byte);
            }
            let answer = answer(&shared, &String::from_utf8(request).unwrap());
            let _ = stream.write_all(&answer).await;
        }
    });
    let source = Source { folder, file: "disk.img".to_owned(), checksums: "SHA256SUMS".to_owned() };
    (publisher, source, tasks)
}

fn answer(shared: &Shared, request: &str) -> Vec<u8> {
    let mut publisher = shared.lock().unwrap();
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n")
            .into_bytes()
    };
    if request.starts_with("GET /release/SHA256SUMS ") {
        return [head("200 OK", publisher.list.len(), ""), publisher.list.clone().into_bytes()].concat();
    }
    if !request.starts_with("GET /release/disk.img ") {
        return head("404 Not Found", 0, "");
    }
    let range = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let start = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    publisher.asked.push(start);
    let whole = publisher.image.len();
    let start = if publisher.ignores_ranges { 0 } else { start };
    if start >= whole {
        return head("416 Range Not Satisfiable", 0, "");
    }
    let more = format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1);
    let head = match range {
        Some(_) if !publisher.ignores_ranges => head("206 Partial Content", whole - start, &more),
        _ => head("200 OK", whole, ""),
    };
    let end = publisher.cut_after.map_or(whole, |count| whole.min(start + count));
    [head, publisher.image[start..end].to_vec()].concat()
}

fn name() -> ImageName {
    "24.04".parse().unwrap()
}

fn files(images: &Images) -> Vec<String> {
    // There is none before something is fetched.
    let entries = std::fs::read_dir(&images.folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_image_is_downloaded_verified_and_offered() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (_, source, _tasks) = publish(|_| {}).await;
    let mut seen = Vec::new();
    let pulled = images.pull_from(&name(), &source, |progress| seen.push(progress)).await.unwrap();
    assert_eq!((pulled.image.bytes, pulled.is_new), (Some(3_000_000), true));
    assert_eq!(seen.first(), Some(&DownloadProgress { done: 0, total: Some(3_000_000) }));
    assert_eq!(seen.last(), Some(&DownloadProgress { done: 3_000_000, total: Some(3_000_000) }));
    assert!(seen.is_sorted_by_key(|progress| progress.done));
    assert_eq!(std::fs::read(images.find(&name()).unwrap().0).unwrap(), image());
    assert_eq!(files(&images), ["24.04.checksum", "24.04.img"]);
}

#[tokio::test]
async fn h_08_an_image_that_is_here_is_replaced_when_its_publisher_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (publisher, source, _tasks) = publish(|_| {}).await;
    images.pull_from(&name(), &source, |_| {}).await.unwrap();
    let asked = || publisher.lock().unwrap().asked.len();
    let before = asked();
    let again = images.pull_from(&name(), &source, |_| {}).await.unwrap();
    assert!(!again.is_new && asked() == before, "the newest is here already");
    assert_eq!(images.downloaded().len(), 1);
    let base = folder.path().join("base.img");
    std::fs::hard_link(images.find(&name()).unwrap().0, &base).unwrap();

    let mut newer = image();
    newer[2_999_999] ^= 1;
    {
        let mut publisher = publisher.lock().unwrap();
        publisher.list = format!("{} *disk.img\n", hex(&Sha256::digest(&newer)));
        publisher.image = newer.clone();
    }
    let pulled = images.pull_from(&name(), &source, |_| {}).await.unwrap();
    assert!(pulled.is_new);
    assert_eq!(std::fs::read(images.find(&name()).unwrap().0).unwrap(), newer);
    assert_eq!(std::fs::read(&base).unwrap(), image(), "a machine keeps what it started from");

    // One that does not match leaves what was here, and so does an operator's own.
    publisher.lock().unwrap().list = format!("{} *disk.img\n", "0".repeat(64));
    assert!(matches!(images.pull_from(&name(), &source, |_| {}).await, Err(PullError::Mismatch { .. })));
    assert_eq!(std::fs::read(images.find(&name()).unwrap().0).unwrap(), newer);
    images.add(&name(), &base).unwrap();
    assert_eq!(images.downloaded(), []);
    assert_eq!(files(&images), ["24.04.img"]);
}

#[tokio::test]
async fn a_download_that_is_cut_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (publisher, source, _tasks) = publish(|publisher| publisher.cut_after = Some(1_000_000)).await;
    images.pull_from(&name(), &source, |_| {}).await.unwrap();
    let asked = publisher.lock().unwrap().asked.clone();
    assert!(asked.len() >= 3 && asked.is_sorted() && asked[0] == 0 && asked[1] > 0, "{asked:?}");
}

#[tokio::test]
async fn what_an_earlier_process_fetched_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (publisher, source, _tasks) = publish(|_| {}).await;
    let checksum = hex(&Sha256::digest(image()));
    let part = images.folder.join(format!("24.04.{}.part", &checksum[..16]));
    images.make_folder().unwrap();
    std::fs::write(&part, &image()[..2_000_000]).unwrap();
    // Part of a version that the publisher has replaced since.
    std::fs::write(images.folder.join("24.04.0123456789abcdef.part"), b"old").unwrap();
    images.pull_from(&name(), &source, |_| {}).await.unwrap();
    assert_eq!(publisher.lock().unwrap().asked, [2_000_000]);
    assert_eq!(files(&images), ["24.04.checksum", "24.04.img"]);
}

#[tokio::test]
async fn a_publisher_that_cannot_resume_sends_the_whole_again() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (_, source, _tasks) = publish(|publisher| publisher.ignores_ranges = true).await;
    let checksum = hex(&Sha256::digest(image()));
    images.make_folder().unwrap();
    std::fs::write(images.folder.join(format!("24.04.{}.part", &checksum[..16])), b"something").unwrap();
    images.pull_from(&name(), &source, |_| {}).await.unwrap();
    assert_eq!(std::fs::read(images.find(&name()).unwrap().0).unwrap(), image());
}

#[tokio::test]
async fn what_does_not_match_its_checksum_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (_, source, _tasks) = publish(|publisher| publisher.image[1_000_000] ^= 1).await;
    let refused = images.pull_from(&name(), &source, |_| {}).await;
    assert!(matches!(refused, Err(PullError::Mismatch { .. })), "{refused:?}");
    assert!(images.find(&name()).is_none() && files(&images).is_empty());
}

#[tokio::test]
async fn a_file_that_its_publisher_does_not_list_is_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (publisher, source, _tasks) = publish(|publisher| publisher.list.clear()).await;
    let refused = images.pull_from(&name(), &source, |_| {}).await;
    assert!(matches!(refused, Err(PullError::NotListed { .. })), "{refused:?}");
    assert!(publisher.lock().unwrap().asked.is_empty() && files(&images).is_empty());
}

#[tokio::test]
async fn two_downloads_of_one_image_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let (_, source, _tasks) = publish(|_| {}).await;
    let checksum = hex(&Sha256::digest(image()));
    let _other = Part::open(&images, &name(), &checksum).unwrap();
    let refused = images.pull_from(&name(), &source, |_| {}).await;
    assert!(matches!(refused, Err(PullError::UnderWay(_))), "{refused:?}");
}

#[tokio::test]
async fn names_outside_the_catalogue_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = Images::open(folder.path()).unwrap();
    let refused = images.pull(&"my-own".parse().unwrap(), |_| {}).await;
    assert!(matches!(refused, Err(PullError::Unknown(_))), "{refused:?}");
}

#[test]
fn both_forms_of_lists_are_read() {
    let (short, long) = ("a".repeat(64), "B".repeat(128));
    let list = format!("{short} *disk.img\n{long}  disk.qcow2\nnonsense\n{} *short.img\n", "c".repeat(63));
    assert_eq!(find_checksum(&list, "disk.img"), Some(short));
    assert_eq!(find_checksum(&list, "disk.qcow2"), Some(long.to_ascii_lowercase()));
    assert_eq!(find_checksum(&list, "short.img"), None);
    assert_eq!(find_checksum(&list, "img"), None);
}
