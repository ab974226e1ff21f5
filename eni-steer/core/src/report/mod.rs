//! Reports: what the commands say, as values put together by pure functions. Text and JSON
//! render them; metrics, views and exports read the same values.

mod counters;
mod daemon;
mod plan;
mod status;
mod verify;

pub use counters::{CountersReport, Unlisted};
pub use daemon::DaemonReport;
pub use plan::{PlanReport, StepReport};
pub use status::{EniStatus, StatusReport};
pub use verify::{
    Counted, EXIT_DRIFT, EXIT_TRAFFIC, EXIT_UNKNOWN, VerifyReport, owned_addresses, traffic,
};
