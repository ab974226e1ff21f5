//! Reads and writes network sysctls of a namespace. /proc/sys/net shows those of the task that
//! looks, so a thread inside the namespace does it.

use crate::NetNs;

/// Reads `net.<key>`, written with dots or slashes: `net.ipv4.conf.eth0.rp_filter`.
#[track_caller]
pub fn read_sysctl(ns: &NetNs, key: &str) -> String {
    let path = path_of(key);
    match ns.run(|| std::fs::read_to_string(&path)) {
        Ok(value) => value.trim_end().to_owned(),
        Err(e) => panic!("can not read {path} in {}: {e}", ns.name()),
    }
}

/// Writes `net.<key>`.
#[track_caller]
pub fn write_sysctl(ns: &NetNs, key: &str, value: impl ToString) {
    write_all(ns, &[(key, value.to_string().as_str())]);
}

/// Writes several sysctls in the order given.
#[track_caller]
pub(crate) fn write_all(ns: &NetNs, settings: &[(&str, &str)]) {
    ns.run(|| {
        for (key, value) in settings {
            let path = path_of(key);
            if let Err(e) = std::fs::write(&path, value) {
                panic!("can not write {value} to {path} in {}: {e}", ns.name());
            }
        }
    });
}

/// Returns the path of a sysctl. Only network sysctls belong to a namespace; others would change
/// the machine.
#[track_caller]
fn path_of(key: &str) -> String {
    let path = if key.contains('/') {
        key.to_owned()
    } else {
        key.replace('.', "/")
    };
    assert!(
        path.starts_with("net/") && !path.contains(".."),
        "{key} is not a network sysctl"
    );
    format!("/proc/sys/{path}")
}
