//! The table numbers of ENIs and of balance.

use std::collections::BTreeSet;

use super::{context::Context, error::PolicyError};
use crate::{
    model::{Link, TableId},
    ownership::TABLES,
    policy::{Balance, EniPolicy},
};

/// The table that holds the multipath default route of balance.
pub(super) fn balance_table(cx: &Context<'_>, balance: &Balance) -> TableId {
    let last = cx.policy.table_base.0.saturating_add(TABLES - 1);
    balance.table.unwrap_or(TableId(last))
}

/// The table of each ENI: the one that the policy names, else the base plus the number at the end
/// of the interface's name (eth1: base + 1, ens6: base + 6). That number stays the same when
/// another ENI appears or disappears. If the name has no number or another ENI has that table, the
/// ENI gets the first free table from base + 500 + interface index on.
pub(super) fn eni_tables(
    cx: &Context<'_>,
    chosen: &[(&Link, EniPolicy)],
) -> Result<Vec<TableId>, PolicyError> {
    let base = cx.policy.table_base.0;
    let balance = cx.policy.balance.as_ref();
    let mut taken: BTreeSet<TableId> = balance
        .map(|balance| balance_table(cx, balance))
        .into_iter()
        .collect();
    for (link, wanted) in chosen {
        if let Some(table) = wanted.table
            && !taken.insert(table)
        {
            return Err(PolicyError::TableTwice {
                eni: link.name.clone(),
                table,
            });
        }
    }
    let mut free_table = |link: &Link| {
        let by_name = trailing_number(&link.name)
            .filter(|number| *number < 500)
            .map(|number| TableId(base.wrapping_add(number)));
        let by_index = (500 + link.index.get()..).map(|n| TableId(base.wrapping_add(n)));
        let table = by_name
            .into_iter()
            .chain(by_index)
            .find(|table| !taken.contains(table))
            .unwrap_or(cx.policy.table_base);
        taken.insert(table);
        table
    };
    let tables = chosen
        .iter()
        .map(|(link, wanted)| wanted.table.unwrap_or_else(|| free_table(link)));
    Ok(tables.collect())
}

/// The number at the end of an interface's name.
fn trailing_number(name: &str) -> Option<u32> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().ok()
}
