//! Prints reports as text or JSON. Both read the same report and decide nothing.

mod config;
mod counters;
mod escape;
mod explain;
mod plan;
mod status;
mod table;
mod verify;

use std::io::{self, Write};

use serde::Serialize;

pub use config::{ConfigReport, config};
pub use counters::counters;
pub use escape::{Escaped, escaped};
pub use explain::{explain, live};
pub use plan::{Detail, plan};
pub use status::{StatusView, status};
pub use verify::verify;

/// Version of the JSON reports. Within a version, keys are added but never removed or renamed.
pub const SCHEMA: u32 = 1;

/// Prints a report as JSON, with the version of the schema beside its keys.
pub fn json<T: Serialize>(report: &T, out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        schema: u32,
        #[serde(flatten)]
        report: &'a T,
    }
    serde_json::to_writer_pretty(
        &mut *out,
        &Versioned {
            schema: SCHEMA,
            report,
        },
    )?;
    writeln!(out)
}
