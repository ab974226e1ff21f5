//! Errors of netlink requests: the kernel's errno and its explanation, and named questions about
//! the errno.

use super::wire::{Attributes, ERROR, Message, text};

/// `NLMSGERR_ATTR_MSG`: the attribute of an extended ack that holds the kernel's explanation.
const ATTR_MESSAGE: u16 = 1;

/// Why a netlink request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused the request.
    #[error("{what}: {}{}", errno_text(*.errno), kernel_text(.message))]
    Refused {
        /// The request, as an `ip` command where there is one.
        what: String,
        /// The kernel's errno, as a positive number.
        errno: i32,
        /// The kernel's own explanation, from the extended ack, if it gave one.
        message: Option<String>,
    },
    /// The socket could not be opened, written or read.
    #[error("{what}")]
    Io {
        /// The request that could not be sent or answered.
        what: String,
        /// The error of the system call.
        #[source]
        cause: std::io::Error,
    },
    /// The kernel did not answer in time.
    #[error("{what}: the kernel did not answer within 10 s")]
    Timeout {
        /// The request without an answer.
        what: String,
    },
    /// Another program changed the table during each attempt to read it.
    #[error("{what}: gave up after 8 attempts: the table kept changing")]
    DumpInterrupted {
        /// Which table was to be read.
        what: &'static str,
    },
    /// The kernel answered without a route, although it reported no error.
    #[error("{what}: the kernel's answer contains no route")]
    Unexpected {
        /// The route lookup.
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

    /// Returns whether the object to be added exists already (EEXIST).
    pub(crate) fn exists(&self) -> bool {
        self.is(libc::EEXIST)
    }

    /// Returns whether the object to be changed or deleted does not exist: a rule (ENOENT), a route
    /// (ESRCH), an interface (ENODEV).
    pub fn is_gone(&self) -> bool {
        self.is(libc::ENOENT) || self.is(libc::ESRCH) || self.is(libc::ENODEV)
    }

    /// Returns whether this process lacks the privilege for the request (EPERM, EACCES).
    pub fn is_denied(&self) -> bool {
        self.is(libc::EPERM) || self.is(libc::EACCES)
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

/// The kernel's refusal of a request, before it is known which request it was.
#[derive(Debug)]
pub(super) struct KernelRefusal {
    /// The kernel's errno, as a positive number.
    errno: i32,
    /// The kernel's own explanation, if it gave one.
    message: Option<String>,
}

impl KernelRefusal {
    /// Reads the refusal from the message that ends an answer; `None` if the message reports
    /// success. Such a message begins with a negative errno. In an error the request's header
    /// follows (`NETLINK_CAP_ACK`), then the attributes of the extended ack.
    pub fn from_message(message: &Message<'_>) -> Option<Self> {
        let (code, rest) = message.payload.split_first_chunk()?;
        let code = i32::from_ne_bytes(*code);
        if code >= 0 {
            return None;
        }
        let header = if message.kind == ERROR { 16 } else { 0 };
        Some(Self {
            errno: code.saturating_neg(),
            message: rest.get(header..).and_then(extended_ack),
        })
    }

    /// The refusal as the error of this request.
    pub fn into_error(self, what: String) -> NetlinkError {
        NetlinkError::Refused {
            what,
            errno: self.errno,
            message: self.message,
        }
    }
}

/// Finds the kernel's explanation among the attributes of an extended ack.
fn extended_ack(attributes: &[u8]) -> Option<String> {
    Attributes(attributes)
        .find(|(kind, _)| *kind == ATTR_MESSAGE)
        .map(|(_, value)| text(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The explanation in an error message whose extended ack has these attributes.
    fn explanation(attributes: &[u8]) -> Option<String> {
        let payload = [&(-22i32).to_ne_bytes(), [0; 16].as_slice(), attributes].concat();
        let message = Message {
            kind: ERROR,
            flags: 0,
            sequence: 0,
            payload: &payload,
        };
        KernelRefusal::from_message(&message)?.message
    }

    #[test]
    fn the_kernels_explanation_is_found_behind_other_attributes() {
        let mut ack = vec![8, 0, 2, 0, 1, 2, 3, 4];
        ack.extend([24, 0, 1, 0]);
        ack.extend(b"Invalid sport range\0");
        assert_eq!(explanation(&ack).as_deref(), Some("Invalid sport range"));
    }

    #[test]
    fn a_truncated_ack_has_no_explanation_and_does_not_panic() {
        let ack = [24, 0, 1, 0, b'x'];
        for length in 0..=ack.len() {
            assert_eq!(explanation(&ack[..length]), None);
        }
    }
}
