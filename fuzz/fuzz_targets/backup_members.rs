//! What is encrypted in a backup, as whoever knows its passphrase may write it. Seeds: `fuzz/seeds/backup_members`.
#![no_main]

use golem_host::backup::check_members;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut names = Vec::new();
    let mut length = 0;
    let checked = check_members(bytes, &mut |member, content| {
        length += std::io::copy(content, &mut std::io::sink())?;
        names.push(member.name.clone());
        Ok(())
    });
    assert!(length <= bytes.len() as u64);
    for name in &names {
        assert!(
            !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | "..")),
            "{name:?}"
        );
    }
    if let Ok(manifest) = checked {
        assert_eq!(manifest.members.len(), names.len());
    }
});
