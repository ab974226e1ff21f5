//! What the kernel refuses, in its own words, and questions about the errno by name.

use rtnetlink::packet_core::ErrorMessage;

/// `NLMSGERR_ATTR_MSG`: the text of an extended ack.
const ATTR_MESSAGE: u16 = 1;

/// A request the kernel did not do.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused, with its errno and, where it gave one, its sentence.
    #[error("{what}: {}{}", errno_text(*.errno), said(.message))]
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
    /// The connection's own task failed.
    #[error("{what}: {cause}")]
    Protocol {
        /// What was asked.
        what: String,
        /// The protocol layer's words.
        cause: String,
    },
    /// No answer in time.
    #[error("{what}: the kernel did not answer within 10 s")]
    Silent {
        /// What was asked.
        what: String,
    },
    /// The table kept changing while it was read.
    #[error("{what}: the table changed during each of 8 reads")]
    Restless {
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

    pub(super) fn protocol(what: &str, cause: &impl ToString) -> Self {
        Self::Protocol {
            what: what.to_owned(),
            cause: cause.to_string(),
        }
    }

    pub(super) fn refused(what: &str, error: &ErrorMessage) -> Self {
        Self::Refused {
            what: what.to_owned(),
            errno: error.code.map_or(0, |code| code.get().saturating_neg()),
            message: extended_ack(error.header.as_ref()),
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

fn errno_text(errno: i32) -> String {
    // "No such process (os error 3)" reads as nonsense for a route: keep the first part.
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn said(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|text| format!(" (the kernel says: {text})"))
        .unwrap_or_default()
}

/// The kernel's sentence in an extended ack.
///
/// With `NETLINK_CAP_ACK` the error carries the header of the request (16 bytes) and then
/// attributes; attribute 1 is the text, NUL-terminated.
fn extended_ack(header: &[u8]) -> Option<String> {
    let mut rest = header.get(16..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        if length < 4 || length > rest.len() {
            return None;
        }
        if kind == ATTR_MESSAGE {
            let text = &rest[4..length];
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_is_found_behind_other_attributes() {
        let mut ack = vec![0; 16];
        ack.extend([8, 0, 2, 0, 1, 2, 3, 4]);
        ack.extend([24, 0, 1, 0]);
        ack.extend(b"Invalid sport range\0");
        assert_eq!(extended_ack(&ack).as_deref(), Some("Invalid sport range"));
    }

    #[test]
    fn a_cut_off_ack_is_no_sentence_and_no_panic() {
        let mut ack = vec![0; 16];
        ack.extend([24, 0, 1, 0, b'x']);
        for length in 0..=ack.len() {
            assert_eq!(extended_ack(&ack[..length]), None);
        }
    }
}
