//! Reads and sets sysctls of the calling thread's network namespace. `/proc/sys/net` shows the
//! namespace of the thread, whichever namespace mounted /proc (proc_sys(5), net_namespaces(7)).

use std::{fs, io, path::PathBuf};

use eni_steer_core::model::TunableKind;

/// A sysctl could not be read.
pub(crate) struct SysctlError {
    /// The file of the sysctl.
    pub path: PathBuf,
    /// The error of the system call, or that the content is not a number.
    pub cause: io::Error,
}

/// The file of a sysctl; `None` if the tunable is not a sysctl.
fn path(interface: &str, kind: TunableKind) -> Option<PathBuf> {
    Some(
        ["/proc/sys/net/ipv4/conf", interface, kind.sysctl()?]
            .iter()
            .collect(),
    )
}

/// Reads a sysctl; `None` if the interface does not exist.
pub(crate) fn read(interface: &str, kind: TunableKind) -> Result<Option<u32>, SysctlError> {
    let Some(path) = path(interface, kind) else {
        return Ok(None);
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(SysctlError { path, cause }),
    };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(SysctlError {
            path,
            cause: io::Error::new(io::ErrorKind::InvalidData, error),
        }),
    }
}

/// Sets a sysctl. The error names the file.
pub(crate) fn write(interface: &str, kind: TunableKind, value: u32) -> io::Result<()> {
    let Some(path) = path(interface, kind) else {
        return Ok(());
    };
    fs::write(&path, value.to_string())
        .map_err(|cause| io::Error::new(cause.kind(), format!("{}: {cause}", path.display())))
}
