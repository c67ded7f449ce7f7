//! Commands that run as a guest's user and never as more.

/// The words after which a command runs as the guest's user `uid`, in no group but its own and `group`,
/// for good.
pub(super) fn become_guest(uid: u32, group: Option<u32>) -> Vec<String> {
    become_user(uid, group, &["--inh-caps=-all", "--bounding-set=-all"])
}

/// As [`become_guest`], for a command that makes a user namespace first thing: until then it keeps
/// `CAP_SYS_ADMIN`, because hosts that forbid those to plain users (`kernel.unprivileged_userns_clone=0`,
/// Ubuntu's AppArmor) allow them to whoever has it. Making the namespace takes it away.
pub(super) fn become_guest_with_namespace(uid: u32, group: Option<u32>) -> Vec<String> {
    let only =
        ["--inh-caps=-all,+sys_admin", "--ambient-caps=-all,+sys_admin", "--bounding-set=-all,+sys_admin"];
    become_user(uid, group, &only)
}

fn become_user(uid: u32, group: Option<u32>, capabilities: &[&str]) -> Vec<String> {
    let uid = uid.to_string();
    let groups = group.map_or_else(|| "--clear-groups".to_owned(), |group| format!("--groups={group}"));
    ["setpriv", "--reuid", &uid, "--regid", &uid, &groups, "--no-new-privs"]
        .iter()
        .chain(capabilities)
        .map(ToString::to_string)
        .collect()
}
