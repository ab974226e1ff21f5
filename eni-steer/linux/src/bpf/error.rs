//! Errors of programs, maps and pins.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};

use crate::{
    netlink::NetlinkError,
    own_dir::OwnDirError,
    run_files::{self, VERIFIER_LOG},
};

/// Which operation failed, and on which object. The cause is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel refuses for lack of a privilege (EPERM or EACCES).
    #[error("{what}: not permitted")]
    MissingPrivilege {
        /// The operation that failed.
        what: String,
        /// The error of the system call.
        #[source]
        cause: io::Error,
    },
    /// The kernel lacks a feature.
    #[error("{what}: this kernel does not support it")]
    KernelTooOld {
        /// The operation that failed.
        what: String,
        /// The error of the system call.
        #[source]
        cause: io::Error,
    },
    /// No bpffs is mounted, and eni-steer did not or could not mount one.
    #[error("no BPF file system (bpffs) is mounted at {path}")]
    BpffsMissing {
        /// Where the bpffs should be mounted.
        path: PathBuf,
        /// Why eni-steer could not mount it, if it tried.
        #[source]
        cause: Option<io::Error>,
    },
    /// There is no bpffs where one should be mounted, but a directory with something in it.
    #[error("{path} is not empty and no BPF file system (bpffs), so eni-steer mounts none there")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A directory for pins is not eni-steer's, or cannot be used.
    #[error(transparent)]
    Directory(OwnDirError),
    /// A pinned object differs from what this version of eni-steer pins there.
    #[error("{pin} does not fit this version of eni-steer: {what}")]
    LayoutMismatch {
        /// Path of the pin.
        pin: PathBuf,
        /// The difference.
        what: String,
    },
    /// A map has no room for another entry.
    #[error("the BPF map of {what} is full ({capacity} entries)")]
    Full {
        /// What the map contains.
        what: &'static str,
        /// How many entries the map can hold.
        capacity: u32,
    },
    /// The maps have no row for an interface, so it cannot own anything or have a program.
    #[error("interface {ifindex} is not in the BPF map of managed ENIs")]
    UnknownEni {
        /// Index of the interface.
        ifindex: u32,
    },
    /// An object of another program occupies the place that eni-steer needs.
    #[error("{what} of interface {ifindex} is occupied by {by}, which eni-steer did not create")]
    Taken {
        /// The place that eni-steer needs.
        what: &'static str,
        /// Index of the interface.
        ifindex: u32,
        /// The object of the other program.
        by: String,
    },
    /// The kernel refuses an eBPF program.
    #[error("cannot load program {program}{}", log_text(.log.as_deref()))]
    Load {
        /// Name of the program.
        program: &'static str,
        /// The file with the verifier's whole log, once it is written
        /// (`BpfError::keep_verifier_log`).
        log: Option<PathBuf>,
        /// The error of aya, which contains the verifier's log.
        #[source]
        cause: Box<ProgramError>,
    },
    /// aya cannot use the object with the eBPF programs that this binary contains.
    #[error("cannot use the eBPF object inside the eni-steer binary")]
    Object(#[source] Box<EbpfError>),
    /// A map could not be created, read or written.
    #[error("{what}")]
    Map {
        /// The operation that failed.
        what: String,
        /// The error of aya.
        #[source]
        cause: Box<MapError>,
    },
    /// A file operation or system call failed.
    #[error("{what}")]
    Io {
        /// The operation that failed.
        what: String,
        /// The error of the system call.
        #[source]
        cause: io::Error,
    },
    /// A netlink request failed, for a qdisc or a filter.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl From<OwnDirError> for BpfError {
    fn from(error: OwnDirError) -> Self {
        match error {
            OwnDirError::Io { verb, path, cause } => {
                Self::io(format!("{verb} {}", path.display()), cause)
            }
            other => Self::Directory(other),
        }
    }
}

impl BpfError {
    /// Returns whether the operation failed because its interface or object no longer exists.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Io { cause, .. } => cause.raw_os_error() == Some(libc::ENODEV),
            Self::Netlink(error) => error.is_gone(),
            _ => false,
        }
    }

    /// The error of a system call. A missing privilege becomes [`BpfError::MissingPrivilege`].
    pub(super) fn io(what: impl Into<String>, cause: io::Error) -> Self {
        let what = what.into();
        match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::MissingPrivilege { what, cause },
            _ => Self::Io { what, cause },
        }
    }

    /// The error of an operation on a map.
    pub(super) fn map(what: impl Into<String>, cause: impl Into<MapError>) -> Self {
        let what = what.into();
        match errno(cause.into()) {
            Ok(cause) => Self::io(what, cause),
            Err(cause) => Self::Map {
                what,
                cause: Box::new(cause),
            },
        }
    }

    /// The error of pinning a map at a path.
    pub(super) fn pin(path: &Path, cause: PinError) -> Self {
        let what = format!("pin {}", path.display());
        match cause {
            PinError::SyscallError(error) => Self::io(what, error.io_error),
            other => Self::io(what, io::Error::other(other)),
        }
    }

    /// The error of loading a program.
    pub(super) fn load(program: &'static str, cause: ProgramError) -> Self {
        if let ProgramError::LoadError { io_error, .. } = &cause
            && matches!(io_error.raw_os_error(), Some(libc::EPERM))
        {
            // Without CAP_BPF the verifier did not run and there is no log.
            return Self::MissingPrivilege {
                what: format!("load program {program}"),
                cause: io::Error::from_raw_os_error(libc::EPERM),
            };
        }
        Self::Load {
            program,
            log: None,
            cause: Box::new(cause),
        }
    }

    /// Writes the verifier's whole log to `verifier-<program>.log` in a directory, and names the
    /// file in the error. Returns errors without such a log unchanged, and also one whose log
    /// cannot be written.
    #[must_use]
    pub(crate) fn keep_verifier_log(self, directory: &Path) -> Self {
        let Self::Load {
            program,
            log: None,
            cause,
        } = self
        else {
            return self;
        };
        let text = match &*cause {
            ProgramError::LoadError { verifier_log, .. } => verifier_log.to_string(),
            _ => String::new(),
        };
        let path = directory.join(format!("{VERIFIER_LOG}{program}.log"));
        let log = if text.trim().is_empty() {
            None
        } else {
            match run_files::replace(directory, &path, text.as_bytes()) {
                Ok(()) => Some(path),
                Err(error) => {
                    tracing::warn!("cannot write {}: {error}", path.display());
                    None
                }
            }
        };
        Self::Load {
            program,
            log,
            cause,
        }
    }

    /// What the user can do about the error, if there is a general answer.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingPrivilege { .. } => Some(
                "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
                 in the initial user namespace"
                    .to_owned(),
            ),
            Self::KernelTooOld { .. } => Some(
                "eni-steer needs Linux 5.10 or later. TCX needs Linux 6.6: on an older kernel set \
                 attach = \"clsact\""
                    .to_owned(),
            ),
            Self::BpffsMissing { path, .. } => {
                Some(format!("mount one: mount -t bpf bpf {}", path.display()))
            }
            Self::NotEmpty { .. } => Some(
                "name the mount point of a bpffs, or an empty directory, with --bpffs".to_owned(),
            ),
            Self::Directory(error) => error.hint(),
            Self::LayoutMismatch { .. } => Some(
                "another version of eni-steer created it, or another program changed it: use that \
                 version, or run `eni-steer remove` and then `eni-steer apply` (counters start \
                 at zero)"
                    .to_owned(),
            ),
            Self::Full { .. } => Some(
                "raise the limit in the configuration, then run `eni-steer remove` and \
                 `eni-steer apply`"
                    .to_owned(),
            ),
            Self::Taken { .. } => Some(
                "remove that object, or set attach = \"tcx\", which does not need its place"
                    .to_owned(),
            ),
            Self::UnknownEni { .. }
            | Self::Load { .. }
            | Self::Object(_)
            | Self::Map { .. }
            | Self::Io { .. }
            | Self::Netlink(_) => None,
        }
    }

    /// Returns whether the operation failed because a privilege or a feature of the kernel is
    /// missing.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::MissingPrivilege { .. }
            | Self::KernelTooOld { .. }
            | Self::BpffsMissing { .. } => true,
            Self::Netlink(error) => error.is_denied(),
            Self::LayoutMismatch { .. }
            | Self::NotEmpty { .. }
            | Self::Directory(_)
            | Self::Full { .. }
            | Self::UnknownEni { .. }
            | Self::Taken { .. }
            | Self::Load { .. }
            | Self::Object(_)
            | Self::Map { .. }
            | Self::Io { .. } => false,
        }
    }
}

fn log_text(log: Option<&Path>) -> String {
    log.map(|path| format!("; the verifier's whole log is in {}", path.display()))
        .unwrap_or_default()
}

/// The error of the system call inside aya's error; aya's error if no system call failed.
fn errno(error: MapError) -> Result<io::Error, MapError> {
    match error {
        MapError::CreateError { io_error, .. } => Ok(io_error),
        MapError::SyscallError(error) => Ok(error.io_error),
        MapError::PinError {
            error: PinError::SyscallError(error),
            ..
        } => Ok(error.io_error),
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aya_obj::VerifierLog;

    use super::*;

    fn refused(log: &str) -> BpfError {
        let cause = ProgramError::LoadError {
            io_error: io::Error::from_raw_os_error(libc::EINVAL),
            verifier_log: VerifierLog::new(log.to_owned()),
        };
        BpfError::load("eni_egress", cause)
    }

    #[test]
    fn the_error_names_the_file_with_the_whole_log_of_the_verifier() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = "R1 invalid mem access\n".repeat(3000);
        let error = refused(&log).keep_verifier_log(directory.path());
        let path = directory.path().join("verifier-eni_egress.log");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(&path).expect("it is there").trim_end(),
            log.trim_end()
        );
    }

    #[test]
    fn without_a_log_no_file_is_named_or_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = refused("").keep_verifier_log(directory.path());
        assert_eq!(error.to_string(), "cannot load program eni_egress");
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    }
}
