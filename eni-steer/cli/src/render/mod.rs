//! Prints reports as text or JSON. Both read the same report and decide nothing.

mod config;
mod counters;
mod doctor;
mod escape;
mod explain;
mod paint;
mod plan;
mod status;
mod table;
mod text;
mod verify;

use std::io::{self, IsTerminal, Write};

use eni_steer_core::report::{Origin, Report, WithHeader};

pub use config::{CheckedReport, ConfigReport, config};
pub use counters::counters;
pub use doctor::{code, doctor};
pub use escape::{Escaped, escaped};
pub use explain::{explain, live};
pub use paint::stdout;
pub use plan::{Detail, plan};
pub use status::{StatusView, status};
pub use table::bytes;
pub use verify::verify;

/// Clears the terminal for a report that is shown again and again; does nothing if stdout is not one.
pub fn clear_terminal(out: &mut impl Write) -> io::Result<()> {
    if io::stdout().is_terminal() {
        // Home, and clear what follows.
        write!(out, "\x1b[H\x1b[J")?;
        out.flush()?;
    }
    Ok(())
}

/// Prints a report as JSON, with the header that every report has. `exit`: the exit code of the
/// command.
pub fn json<T: Report>(
    origin: Origin,
    report: &T,
    exit: u8,
    out: &mut impl Write,
) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &WithHeader::new(origin, report, exit))?;
    writeln!(out)
}
