//! The program that listens on a port.
//!
//! Owns reading it from `/proc`. Tells what this user may see: another user's program is known only
//! to root. Other systems have no such files, and tell nothing.

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
    for process in std::fs::read_dir(proc).ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().any(|file| {
            std::fs::read_link(file.path())
                .is_ok_and(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        });
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
            return Some(format!("{name} (pid {pid})"));
        }
    }
    None
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

    #[test]
    fn what_is_no_table_names_nobody() {
        for line in ["", "sl local_address", "0: 0100007F:1F90 00000000:0000 0A", "0: x:zz y 0A a b c d e"] {
            assert_eq!(listener(line, 0x1F90), None, "{line}");
        }
    }
}
