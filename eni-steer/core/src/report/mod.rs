//! Reports: what the commands say, as values put together by pure functions. Text and JSON
//! render them; metrics, views and exports read the same values.

mod counters;
mod daemon;
mod explain;
mod plan;
mod status;
mod verify;

pub use counters::{CountersReport, Unlisted};
pub use daemon::DaemonReport;
pub use explain::{
    Counted, ExplainInput, ExplainReport, ExplainVerdict, Fix, KernelAnswer, RuleRow, Way,
};
pub use plan::{PlanReport, StepReport};
pub use status::{EniStatus, StatusReport};
pub use verify::{VerifyReport, owners_of_counters};
