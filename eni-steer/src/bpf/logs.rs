//! The programs' own log lines, for developers: users get events.

use std::io;

use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use super::error::BpfError;

/// Forwards what a program with this kernel id logs to the `log` crate's logger, until the task
/// is dropped. The program must have been loaded with a log level above 0, and finding its
/// buffer needs CAP_SYS_ADMIN.
pub async fn forward_logs(program: u32) -> Result<(), BpfError> {
    let failed =
        |cause: io::Error| BpfError::io(format!("read the log of program {program}"), cause);
    let logger =
        EbpfLogger::init_from_id(program).map_err(|cause| failed(io::Error::other(cause)))?;
    // SAFETY: the logger owns its ring buffer's descriptor, always answers with it, and is
    // dropped with the AsyncFd.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.map_err(|cause| failed(cause.into()))?;
    loop {
        let mut ready = logger.readable_mut().await.map_err(failed)?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
