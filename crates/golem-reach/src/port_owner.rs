//! The program that listens on a port.
//!
//! Owns reading it from `/proc`. Tells what this user may see: another user's program is known only
//! to root. Other systems have no such files, and tell nothing.

use std::collections::BTreeSet;
use std::path::Path;

/// Where Linux tells of processes.
const PROC: &str = "/proc";

/// State of a socket that listens, in the kernel's tables.
const LISTENS: &str = "0A";

/// The program that listens on `port`, as `name (pid 42)`, if it can be seen.
pub async fn port_owner(port: u16) -> Option<String> {
    tokio::task::spawn_blocking(move || port_owner_in(Path::new(PROC), port)).await.ok().flatten()
}

fn port_owner_in(proc: &Path, port: u16) -> Option<String> {
    let inodes: Vec<String> = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(proc.join("net").join(table)).ok())
        .flat_map(|table| table.lines().filter_map(|line| listener(line, port)).collect::<Vec<_>>())
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let pids = std::fs::read_dir(proc).ok()?.flatten();
    let pids = pids.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let files = std::fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
    };
    let holders: BTreeSet<u32> = pids.filter(holds).collect();
    // A child has its parent's sockets, if only until it is another program.
    let is_first = |pid: &&u32| parent(proc, **pid).is_none_or(|parent| !holders.contains(&parent));
    let pid = holders.iter().find(is_first)?;
    let name = std::fs::read_to_string(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    Some(format!("{name} (pid {pid})"))
}

fn parent(proc: &Path, pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(proc.join(pid.to_string()).join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The `socket:[inode]` link that stands for a row of `/proc/net/tcp`, if that socket listens on `port`.
fn listener(line: &str, port: u16) -> Option<String> {
    let mut words = line.split_whitespace();
    let (_, local_port) = words.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(local_port, 16) != Ok(port) || words.nth(1)? != LISTENS {
        return None;
    }
    Some(format!("socket:[{}]", words.nth(5)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s_252_the_program_that_holds_a_port_is_named() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let named = port_owner(port).await.unwrap();
        assert!(named.ends_with(&format!("(pid {})", std::process::id())), "{named}");
        let over_ipv6 = std::net::TcpListener::bind("[::1]:0").unwrap();
        assert_eq!(port_owner(over_ipv6.local_addr().unwrap().port()).await, Some(named));
        drop(held);
        assert_eq!(port_owner(port).await, None);
    }

    /// Whichever of them `/proc` lists first.
    #[test]
    fn of_a_parent_and_its_children_the_parent_is_named() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("net")).unwrap();
        let row = "0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1";
        std::fs::write(proc.path().join("net/tcp"), row).unwrap();
        for (pid, parent) in [(7, 40), (40, 1), (41, 40), (9, 7)] {
            let files = proc.path().join(pid.to_string()).join("fd");
            std::fs::create_dir_all(&files).unwrap();
            std::os::unix::fs::symlink("socket:[77]", files.join("3")).unwrap();
            std::fs::write(files.with_file_name("status"), format!("Name:\tx\nPPid:\t{parent}\n")).unwrap();
            std::fs::write(files.with_file_name("comm"), format!("p{pid}\n")).unwrap();
        }
        assert_eq!(port_owner_in(proc.path(), 0x1F90).as_deref(), Some("p40 (pid 40)"));
    }

    #[test]
    fn what_is_no_table_names_nobody() {
        for line in ["", "sl local_address", "0: 0100007F:1F90 00000000:0000 0A", "0: x:zz y 0A a b c d e"] {
            assert_eq!(listener(line, 0x1F90), None, "{line}");
        }
    }
}
