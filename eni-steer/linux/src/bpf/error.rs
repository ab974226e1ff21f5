//! What can go wrong between this process and the kernel's BPF side.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use crate::{
    netlink::NetlinkError,
    run_files::{self, VERIFIER_LOG},
};

/// A step that failed: what was tried, on which object. Causes are in the chain.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// EPERM or EACCES.
    #[error("{what}: not permitted")]
    MissingPrivilege {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// The kernel lacks something the programs need.
    #[error("{what}: this kernel can not do it")]
    KernelTooOld {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// There is no bpffs, and none can be mounted.
    #[error("no bpffs at {path}")]
    BpffsMissing {
        /// Where it should be.
        path: PathBuf,
        /// Why it could not be mounted, if that was tried.
        #[source]
        cause: Option<io::Error>,
    },
    /// A pin that is not what this version makes.
    #[error("{pin} does not fit this version of eni-steer: {what}")]
    LayoutMismatch {
        /// The pin.
        pin: PathBuf,
        /// What differs.
        what: String,
    },
    /// A table has no room.
    #[error("the table of {what} is full ({capacity} entries)")]
    Full {
        /// What it holds.
        what: &'static str,
        /// Its size.
        capacity: u32,
    },
    /// An interface that the maps do not know.
    #[error("interface {ifindex} has not been taken in")]
    UnknownEni {
        /// Its index.
        ifindex: u32,
    },
    /// Somebody else's object stands where ours must be.
    #[error("{what} of interface {ifindex} is taken: {by}")]
    Taken {
        /// The place.
        what: &'static str,
        /// Interface index.
        ifindex: u32,
        /// Whose object stands there.
        by: String,
    },
    /// The kernel refuses a program of this binary.
    #[error("cannot load program {program}{}", log_text(.log.as_deref()))]
    Load {
        /// Its name.
        program: &'static str,
        /// The file that holds the verifier's whole log, once it is written
        /// ([`BpfError::keep_verifier_log`]).
        log: Option<PathBuf>,
        /// aya's error, with the verifier's log.
        #[source]
        cause: Box<ProgramError>,
    },
    /// The object in this binary can not be used.
    #[error("can not load the BPF object")]
    Object(#[source] Box<EbpfError>),
    /// A map operation failed.
    #[error("{what}")]
    Map {
        /// What was tried.
        what: String,
        /// aya's error.
        #[source]
        cause: Box<MapError>,
    },
    /// A file operation or system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// Netlink.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl BpfError {
    /// Whether the interface it is about has gone.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Io { cause, .. } => cause.raw_os_error() == Some(libc::ENODEV),
            Self::Netlink(error) => error.is_gone(),
            _ => false,
        }
    }

    /// Sorts an errno: missing privilege is a kind of its own.
    pub(super) fn io(what: impl Into<String>, cause: io::Error) -> Self {
        let what = what.into();
        match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::MissingPrivilege { what, cause },
            _ => Self::Io { what, cause },
        }
    }

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

    pub(super) fn load(program: &'static str, cause: ProgramError) -> Self {
        if let ProgramError::LoadError { io_error, .. } = &cause
            && matches!(io_error.raw_os_error(), Some(libc::EPERM))
        {
            // Without CAP_BPF there is no verifier log either.
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
    /// file in the error. Other errors, and one without a log, stay as they are; so does one whose
    /// log cannot be written.
    #[must_use]
    pub fn keep_verifier_log(self, directory: &Path) -> Self {
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

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingPrivilege { .. } => Some(
                "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
                 in the initial user namespace"
                    .to_owned(),
            ),
            Self::KernelTooOld { .. } => Some(
                "eni-steer needs Linux 5.10 or later; TCX needs 6.6: attach = \"clsact\" does not"
                    .to_owned(),
            ),
            Self::BpffsMissing { path, .. } => {
                Some(format!("mount one: mount -t bpf bpf {}", path.display()))
            }
            Self::LayoutMismatch { .. } => Some(
                "it was made by another version: use that version, or `eni-steer remove` \
                 and apply again (counters start from zero)"
                    .to_owned(),
            ),
            Self::Full { .. } => {
                Some("raise the limit in the configuration, then remove and apply".to_owned())
            }
            Self::Taken { .. } => {
                Some("remove it, or choose the other way with attach = \"tcx\"".to_owned())
            }
            Self::UnknownEni { .. }
            | Self::Load { .. }
            | Self::Object(_)
            | Self::Map { .. }
            | Self::Io { .. }
            | Self::Netlink(_) => None,
        }
    }

    /// Whether a privilege or kernel support is missing, rather than something being wrong.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::MissingPrivilege { .. }
            | Self::KernelTooOld { .. }
            | Self::BpffsMissing { .. } => true,
            Self::Netlink(error) => error.is_denied(),
            Self::LayoutMismatch { .. }
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

/// The errno inside aya's error, if it is one of a system call.
fn errno(error: MapError) -> Result<io::Error, MapError> {
    match error {
        MapError::CreateError { io_error, .. } => Ok(io_error),
        MapError::SyscallError(error) => Ok(error.io_error),
        MapError::PinError {
            error: aya::pin::PinError::SyscallError(error),
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
    fn the_error_names_the_file_that_holds_the_whole_log_of_the_verifier() {
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
