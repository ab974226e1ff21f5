//! Which tables real lookups of a source used: what `explain --live` has seen.

use serde::Serialize;

use crate::model::TableId;

/// Lookups of a source in some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Live {
    /// How long they were watched.
    pub seconds: u64,
    /// By table and answer, the most frequent first.
    pub lookups: Vec<Lookups>,
    /// Lookups that found no room to be recorded.
    pub lost: u64,
}

/// Lookups in one table with one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lookups {
    /// The table.
    pub table: TableId,
    /// How many.
    pub count: u64,
    /// What the table answered: an interface, or that it has no route.
    pub answer: String,
}
