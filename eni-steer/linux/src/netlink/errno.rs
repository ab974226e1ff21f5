//! What the kernel refuses, in its own words, and questions about the errno by name.

use super::wire::{Attributes, Message, text};

/// `NLMSGERR_ATTR_MSG`: the text of an extended ack.
const ATTR_MESSAGE: u16 = 1;

/// A request the kernel did not do.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused, with its errno and, where it gave one, its sentence.
    #[error("{what}: {}{}", errno_text(*.errno), kernel_text(.message))]
    Refused {
        /// What was asked.
        what: String,
        /// Positive errno.
        errno: i32,
        /// Text of the extended ack.
        message: Option<String>,
    },
    /// The socket failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// No answer in time.
    #[error("{what}: the kernel did not answer within 10 s")]
    Timeout {
        /// What was asked.
        what: String,
    },
    /// The table kept changing while it was read.
    #[error("{what}: gave up after 8 attempts: the table kept changing")]
    DumpInterrupted {
        /// What was asked.
        what: &'static str,
    },
    /// An answer that does not fit the question.
    #[error("{what}: unexpected answer from the kernel")]
    Unexpected {
        /// What was asked.
        what: String,
    },
}

impl NetlinkError {
    pub(super) fn io(what: &str, cause: std::io::Error) -> Self {
        Self::Io {
            what: what.to_owned(),
            cause,
        }
    }

    fn is(&self, wanted: i32) -> bool {
        matches!(self, Self::Refused { errno, .. } if *errno == wanted)
    }

    /// What was to be added is there already (EEXIST).
    pub fn exists(&self) -> bool {
        self.is(libc::EEXIST)
    }

    /// What was to be removed is gone: a rule (ENOENT), a route (ESRCH), an interface (ENODEV).
    pub fn is_gone(&self) -> bool {
        self.is(libc::ENOENT) || self.is(libc::ESRCH) || self.is(libc::ENODEV)
    }

    /// The privilege is missing (EPERM, EACCES).
    pub fn is_denied(&self) -> bool {
        self.is(libc::EPERM) || self.is(libc::EACCES)
    }

    /// The positive errno, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

fn errno_text(errno: i32) -> &'static str {
    nix::errno::Errno::from_raw(errno).desc()
}

fn kernel_text(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|text| format!(" (the kernel says: {text})"))
        .unwrap_or_default()
}

/// What the kernel says where it does not do what it was asked for.
#[derive(Debug)]
pub(super) struct KernelRefusal {
    /// Positive errno.
    errno: i32,
    /// Text of the extended ack.
    message: Option<String>,
}

impl KernelRefusal {
    /// What a message that ends an answer says, if it is no success: an errno that is negative;
    /// behind it, in an error, the request's header (`NETLINK_CAP_ACK`); then attributes.
    pub fn of(message: &Message<'_>) -> Option<Self> {
        let (code, rest) = message.payload.split_first_chunk()?;
        let code = i32::from_ne_bytes(*code);
        if code >= 0 {
            return None;
        }
        let header = if message.kind == super::ERROR { 16 } else { 0 };
        Some(Self {
            errno: code.saturating_neg(),
            message: rest.get(header..).and_then(extended_ack),
        })
    }

    /// The error of a request.
    pub fn of_request(self, what: String) -> NetlinkError {
        NetlinkError::Refused {
            what,
            errno: self.errno,
            message: self.message,
        }
    }
}

/// The kernel's sentence among the attributes of an extended ack.
fn extended_ack(attributes: &[u8]) -> Option<String> {
    Attributes(attributes)
        .find(|(kind, _)| *kind == ATTR_MESSAGE)
        .map(|(_, value)| text(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with these attributes.
    fn answer(attributes: &[u8]) -> Option<String> {
        let payload = [&(-22i32).to_ne_bytes(), [0; 16].as_slice(), attributes].concat();
        let message = Message {
            kind: super::super::ERROR,
            flags: 0,
            sequence: 0,
            payload: &payload,
        };
        KernelRefusal::of(&message)?.message
    }

    #[test]
    fn the_kernels_sentence_is_found_behind_other_attributes() {
        let mut ack = vec![8, 0, 2, 0, 1, 2, 3, 4];
        ack.extend([24, 0, 1, 0]);
        ack.extend(b"Invalid sport range\0");
        assert_eq!(answer(&ack).as_deref(), Some("Invalid sport range"));
    }

    #[test]
    fn a_cut_off_ack_is_no_sentence_and_no_panic() {
        let ack = [24, 0, 1, 0, b'x'];
        for length in 0..=ack.len() {
            assert_eq!(answer(&ack[..length]), None);
        }
    }
}
