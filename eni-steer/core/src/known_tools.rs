//! Which well-known tool probably installed a rule, judged by the priorities and tables that the
//! tools document or hard-code. The name helps the reader; eni-steer never changes or deletes
//! anything because of it.

use crate::model::{Rule, RuleAction, TableId};

/// Owner of the rules that every new network namespace has.
pub const KERNEL: &str = "the kernel";

/// The tool that probably installed another program's rule; `None`: unknown.
pub(crate) fn probable_owner(rule: &Rule) -> Option<&'static str> {
    let table = match rule.action {
        RuleAction::Table(table) => Some(table),
        _ => None,
    };
    let priority = rule.priority.0;
    match (priority, table) {
        (0, Some(TableId::LOCAL))
        | (32766, Some(TableId::MAIN))
        | (32767, Some(TableId::DEFAULT)) => Some(KERNEL),
        (1000, None) if rule.action == RuleAction::L3mdev => Some("the kernel (VRF)"),
        (5210 | 5230 | 5250 | 5270, _) | (_, Some(TableId(52))) => Some("Tailscale"),
        (105 | 110, Some(TableId(7120))) => Some("NetBird"),
        (_, Some(TableId(0x6d6f_6c65))) => Some("Mullvad"),
        (_, Some(TableId(51820..=51839))) => Some("wg-quick"),
        (_, Some(TableId::MAIN)) if rule.suppress_prefix_length == Some(0) => Some("wg-quick"),
        (512 | 1024 | 1535 | 1536, _) => Some("Amazon VPC CNI"),
        (600 | 2048, _) => Some("Terway"),
        (9 | 20 | 109..=112, _) => Some("Cilium"),
        (99, _) => Some("Calico"),
        (70..=76, _) => Some("GKE netd"),
        (10000..=10999, Some(TableId(10000..=10999))) => Some("amazon-ec2-net-utils"),
        (30200..=30499, _) => Some("nm-cloud-setup"),
        (_, Some(TableId(9999..=10998))) => Some("VMware guest tools"),
        (2000 | 5000 | 6000, _) => Some("OVN-Kubernetes"),
        (_, Some(TableId(100..=199))) => Some("cloud-init"),
        _ => None,
    }
}
