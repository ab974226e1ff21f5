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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, Priority, Protocol};

    fn owner(priority: u32, action: RuleAction) -> Option<&'static str> {
        probable_owner(&Rule::new(
            Family::V4,
            Priority(priority),
            Protocol(0),
            action,
        ))
    }

    fn of(priority: u32, table: u32) -> Option<&'static str> {
        owner(priority, RuleAction::Table(TableId(table)))
    }

    #[test]
    fn each_tool_is_known_by_the_numbers_it_documents() {
        let known = [
            (0, 255, KERNEL),
            (32766, 254, KERNEL),
            (32767, 253, KERNEL),
            (5210, 254, "Tailscale"),
            (5230, 254, "Tailscale"),
            (5250, 254, "Tailscale"),
            (5270, 52, "Tailscale"),
            (1, 52, "Tailscale"),
            (105, 7120, "NetBird"),
            (110, 7120, "NetBird"),
            (1, 0x6d6f_6c65, "Mullvad"),
            (1, 51820, "wg-quick"),
            (1, 51839, "wg-quick"),
            (512, 2, "Amazon VPC CNI"),
            (1024, 2, "Amazon VPC CNI"),
            (1535, 2, "Amazon VPC CNI"),
            (1536, 2, "Amazon VPC CNI"),
            (600, 2, "Terway"),
            (2048, 2, "Terway"),
            (9, 2004, "Cilium"),
            (20, 2004, "Cilium"),
            (109, 2004, "Cilium"),
            (112, 2004, "Cilium"),
            (99, 2, "Calico"),
            (70, 2, "GKE netd"),
            (76, 2, "GKE netd"),
            (10001, 10001, "amazon-ec2-net-utils"),
            (30200, 30200, "nm-cloud-setup"),
            (30499, 30200, "nm-cloud-setup"),
            (1, 9999, "VMware guest tools"),
            (1, 10998, "VMware guest tools"),
            (2000, 7, "OVN-Kubernetes"),
            (5000, 7, "OVN-Kubernetes"),
            (6000, 7, "OVN-Kubernetes"),
            (1, 100, "cloud-init"),
            (1, 199, "cloud-init"),
        ];
        for (priority, table, tool) in known {
            assert_eq!(of(priority, table), Some(tool), "{priority} {table}");
        }
        assert_eq!(owner(1000, RuleAction::L3mdev), Some("the kernel (VRF)"));
    }

    #[test]
    fn what_a_person_added_has_no_tool() {
        for (priority, table) in [
            (1, 255),
            (100, 254),
            (32765, 254),
            (105, 254),
            (10001, 254),
            (1, 10999),
            (1000, 254),
            (1, 99),
            (1, 200),
            (1, 51840),
            (77, 77),
            (30500, 77),
        ] {
            assert_eq!(of(priority, table), None, "{priority} {table}");
        }
        assert_eq!(owner(1000, RuleAction::Prohibit), None);
        let mut half = Rule::new(
            Family::V4,
            Priority(77),
            Protocol(0),
            RuleAction::Table(TableId::MAIN),
        );
        half.suppress_prefix_length = Some(0);
        assert_eq!(probable_owner(&half), Some("wg-quick"));
        half.suppress_prefix_length = Some(1);
        assert_eq!(probable_owner(&half), None);
    }
}
