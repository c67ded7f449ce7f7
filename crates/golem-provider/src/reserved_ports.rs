//! Keeping the system's own connections off the ports of VMs.
//!
//! Owns the entry of the port range in Linux's `ip_local_reserved_ports`. The system takes the
//! local ports of outgoing connections from a range (usually 32768 to 60999) that holds the
//! default SSH ports; while such a connection lives, its port cannot be listened on, and a VM that
//! was paid for could not be reached. Never takes away what others reserved.

use std::io;
use std::ops::Range;
use std::path::Path;

/// Where Linux keeps both ranges.
const FOLDER: &str = "/proc/sys/net/ipv4";

/// Reserves `ports`, or says how the operator can.
pub(crate) fn reserve(ports: &Range<u16>) {
    match reserve_in(Path::new(FOLDER), ports) {
        Ok(None) => {}
        Ok(Some(reserved)) => {
            tracing::info!(%reserved, "kept the system's own connections off the SSH ports")
        }
        Err((error, wanted)) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the system may take SSH ports for its own connections, and their VMs cannot be reached then; \
             fix: sysctl -w net.ipv4.ip_local_reserved_ports={wanted}"
        ),
    }
}

/// Reserves `ports`, and gives the new list if there is one; with an error, the list that should be.
fn reserve_in(folder: &Path, ports: &Range<u16>) -> Result<Option<String>, (io::Error, String)> {
    // Other systems have neither file.
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let Some(own) = read("ip_local_port_range") else { return Ok(None) };
    let reserved = read("ip_local_reserved_ports").unwrap_or_default();
    let Some(wanted) = addition(&own, &reserved, ports) else { return Ok(None) };
    match std::fs::write(folder.join("ip_local_reserved_ports"), &wanted) {
        Ok(()) => Ok(Some(wanted)),
        Err(error) => Err((error, wanted)),
    }
}

/// The list that has to be reserved for `ports` where the system takes its own from `own` and
/// `reserved` is reserved; none when nothing is to be added.
fn addition(own: &str, reserved: &str, ports: &Range<u16>) -> Option<String> {
    let mut bounds = own.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (low, high) = (bounds.next()?, bounds.next()?);
    let endangered = |port: &u16| (low..=high).contains(port);
    let reserved = reserved.trim();
    let held = |port: u16| {
        reserved.split(',').any(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&port))
        })
    };
    if ports.clone().filter(endangered).all(held) {
        return None;
    }
    let ours = format!("{}-{}", ports.start, ports.end - 1);
    Some(if reserved.is_empty() { ours } else { format!("{reserved},{ours}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_endangered_and_not_yet_reserved_is_added() {
        let own = "32768\t60999\n";
        let add = |reserved: &str, ports: Range<u16>| addition(own, reserved, &ports);
        assert_eq!(add("\n", 50800..50900).as_deref(), Some("50800-50899"));
        assert_eq!(add("22,8080-8090\n", 50800..50900).as_deref(), Some("22,8080-8090,50800-50899"));
        assert_eq!(add("50800-50899\n", 50800..50900), None);
        assert_eq!(add("40000,50000-51000", 50800..50900), None);
        assert_eq!(add("50800-50898", 50800..50900).as_deref(), Some("50800-50898,50800-50899"));
        assert_eq!(add("", 20000..20100), None);
        // Half of it is in the system's range.
        assert_eq!(add("", 60990..61010).as_deref(), Some("60990-61009"));
        assert_eq!(addition("nonsense", "", &(50800..50900)), None);
    }

    #[test]
    fn what_cannot_be_reserved_is_told_and_other_systems_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ports = 50800..50900;
        assert!(matches!(reserve_in(folder.path(), &ports), Ok(None)));
        std::fs::write(folder.path().join("ip_local_port_range"), "32768 60999").unwrap();
        std::fs::create_dir(folder.path().join("ip_local_reserved_ports")).unwrap();
        let (_, wanted) = reserve_in(folder.path(), &ports).unwrap_err();
        assert_eq!(wanted, "50800-50899");
        std::fs::remove_dir(folder.path().join("ip_local_reserved_ports")).unwrap();
        assert_eq!(reserve_in(folder.path(), &ports).unwrap().as_deref(), Some("50800-50899"));
        assert!(matches!(reserve_in(folder.path(), &ports), Ok(None)), "once is enough");
    }
}
