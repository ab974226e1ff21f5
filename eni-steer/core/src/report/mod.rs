//! Reports: what the commands show, as values that pure functions put together. The command renders
//! them as text and as JSON, so both always agree.

mod counters;
mod daemon;
mod explain;
mod header;
mod plan;
mod status;
mod summary;
mod verify;

pub use counters::{CountersReport, Unlisted};
pub use daemon::DaemonReport;
pub use explain::{
    ExplainInput, ExplainReport, ExplainVerdict, Fix, KernelAnswer, PassageCounts, RuleRow, Way,
};
pub use header::{ErrorReport, Header, Origin, Report, SCHEMA, WithHeader};
pub use plan::{Carried, ChangeReport, PlanReport, StepReport};
pub use status::{EniStatus, Headline, StatusInputs, StatusReport};
pub use summary::{Connection, Counts, EniChange, Session, Summary, host_after};
pub use verify::{Counted, EXIT_DRIFT, EXIT_TRAFFIC, EXIT_UNKNOWN, VerifyReport, traffic};
