//! Commands that remove other programs' rules and routes. eni-steer only prints them.

use crate::model::{Host, Route, Rule};

/// The commands that remove these rules and routes. Rules come first, so that no rule looks up an
/// empty table in between.
pub(super) fn removal_commands<'a>(
    host: &Host,
    rules: impl IntoIterator<Item = &'a Rule>,
    routes: impl IntoIterator<Item = &'a Route>,
) -> Vec<String> {
    let rule = |rule: &Rule| format!("ip {} rule del {rule}", rule.family);
    let route = |route: &Route| {
        let text = route.describe(host);
        format!("ip {} route del {text}", route.family())
    };
    rules
        .into_iter()
        .map(rule)
        .chain(routes.into_iter().map(route))
        .collect()
}
