//! What a plan changes, for whom, and whether it touches the session that asks.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    desired::{Desired, RoutedBy},
    explain::{Facts, trace},
    model::{Family, Flow, Group, Host, IfIndex, TunableKind, destination_text},
    plan::{Plan, Step},
};

/// How many objects of each kind a plan adds, changes or deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rules.
    pub rules: usize,
    /// Routes.
    pub routes: usize,
    /// Sysctls, and groups of interfaces.
    pub sysctls: usize,
    /// Programs.
    pub programs: usize,
    /// Entries of the programs' maps, and values that eni-steer saves.
    pub entries: usize,
}

/// What becomes of one ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EniChange {
    /// Its name.
    pub eni: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// The addresses and prefixes that it owns.
    pub addresses: Vec<IpNet>,
    /// The table that their packets use; `None`: main.
    pub table: Option<u32>,
    /// The table that leads to its subnets, where main leads everywhere else.
    pub subnet_table: Option<u32>,
    /// Its gateways.
    pub gateways: Vec<IpAddr>,
    /// Whether its programs count.
    pub counted: bool,
}

/// A connection to this host, as `SSH_CONNECTION` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The other end.
    pub client: IpAddr,
    /// This host's end.
    pub server: IpAddr,
    /// Port of the other end.
    pub client_port: u16,
    /// Port of this end.
    pub server_port: u16,
}

/// The session that runs the command, and by which interface its packets leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Address of the user's machine.
    pub client: IpAddr,
    /// Address of this host that the user is connected to.
    pub server: IpAddr,
    /// The interface by which answers leave before the change; `None`: they do not leave.
    pub before: Option<String>,
    /// Likewise after the change.
    pub after: Option<String>,
    /// Whether that differs; `None`: eni-steer cannot tell, because it does not find a way by which
    /// the answers of this session leave now.
    pub affected: Option<bool>,
}

/// What a plan changes, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many objects change.
    pub counts: Counts,
    /// The ENIs.
    pub enis: Vec<EniChange>,
    /// The session that runs the command, if it is a remote one.
    pub session: Option<Session>,
}

impl Connection {
    /// Reads the value of `SSH_CONNECTION` (ssh(1)): client and port, server and port.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        // An IPv4 address on an IPv6 socket is mapped.
        let mut end = || {
            let address: IpAddr = words.next()?.parse().ok()?;
            Some((address.to_canonical(), words.next()?.parse().ok()?))
        };
        let ((client, client_port), (server, server_port)) = (end()?, end()?);
        Some(Self {
            client,
            server,
            client_port,
            server_port,
        })
    }

    /// Its answers.
    fn flow(&self) -> Flow {
        Flow {
            ip_protocol: Some(6),
            sport: Some(self.server_port),
            dport: Some(self.client_port),
            ..Flow::to(self.client).from(self.server)
        }
    }
}

impl Summary {
    /// The summary of a plan that makes `desired` of `host`.
    pub fn new(
        plan: &Plan,
        desired: &Desired,
        host: &Host,
        connection: Option<Connection>,
    ) -> Self {
        let counted = |eni: IfIndex| {
            let datapath = desired.datapath.as_ref();
            datapath.is_some_and(|datapath| datapath.enis.contains_key(&eni))
        };
        let enis = desired.enis.iter().map(|eni| EniChange {
            eni: eni.name.clone(),
            primary: eni.primary,
            addresses: eni.owned.iter().copied().collect(),
            table: (Family::BOTH.iter().any(|family| eni.has_table(*family))
                && !desired.rules.is_empty())
            .then_some(eni.table.0),
            subnet_table: {
                let on_link = |family: &Family| eni.routing(*family).by == RoutedBy::OnLink;
                (Family::BOTH.iter().any(on_link) && !desired.rules.is_empty())
                    .then_some(eni.table.0)
            },
            gateways: eni.gateways.iter().map(|gateway| gateway.address).collect(),
            counted: counted(eni.index),
        });
        let session = connection.map(|connection| {
            let flow = connection.flow();
            let by = |host: &Host| {
                let walk = trace(host, &Facts::default(), &flow);
                let answer = walk.answers.first()?;
                let index = *answer.interfaces().first()?;
                Some(host.name(index))
            };
            let before = by(host);
            let after = by(&host_after(desired, host));
            Session {
                client: connection.client,
                server: connection.server,
                affected: before.as_ref().map(|before| Some(before) != after.as_ref()),
                before,
                after,
            }
        });
        Self {
            counts: counts(plan),
            enis: enis.collect(),
            session,
        }
    }
}

fn counts(plan: &Plan) -> Counts {
    let mut counts = Counts::default();
    for step in &plan.steps {
        let count = match step {
            Step::Rule { .. } => &mut counts.rules,
            Step::Route { .. } => &mut counts.routes,
            Step::Tunable { .. } => &mut counts.sysctls,
            Step::Program { .. } => &mut counts.programs,
            _ => &mut counts.entries,
        };
        *count += 1;
    }
    counts
}

/// The host's rules, routes and groups once the plan is carried out.
pub fn host_after(desired: &Desired, host: &Host) -> Host {
    let mut after = host.clone();
    let ours = &desired.ownership;
    after.routes.retain(|route| !ours.route(route));
    after.routes.extend(desired.routes.iter().cloned());
    after.rules.retain(|rule| !ours.rule(rule));
    after.rules.extend(desired.rules.iter().cloned());
    after.rules.sort_by_key(|rule| rule.priority);
    after.rules.dedup();
    for (tunable, value) in &desired.tunables {
        if let (TunableKind::Group, Some(link)) =
            (tunable.kind, after.links.get_mut(&tunable.index))
        {
            link.group = Group(*value);
        }
    }
    after
}

impl Summary {
    /// The summary as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let Counts {
            rules,
            routes,
            sysctls,
            programs,
            ..
        } = self.counts;
        let count = |count: usize, noun: &str| match count {
            1 => format!("1 {noun}"),
            _ => format!("{count} {noun}s"),
        };
        let names = self.enis.iter().map(|eni| match eni.primary {
            true => format!("{} primary", eni.eni),
            false => eni.eni.clone(),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let names = match names.is_empty() {
            true => String::new(),
            false => format!(" ({names})"),
        };
        let mut lines = vec![format!(
            "Plan for {}{names}: {}, {}, {}, {}",
            count(self.enis.len(), "ENI"),
            count(rules, "rule"),
            count(routes, "route"),
            count(sysctls, "sysctl"),
            count(programs, "program"),
        )];
        let width = self.enis.iter().map(|eni| eni.eni.len()).max().unwrap_or(0);
        for eni in &self.enis {
            lines.push(format!("  {:<width$}  {}", eni.eni, eni.text()));
        }
        lines.extend(self.session.as_ref().map(Session::text));
        lines
    }
}

impl EniChange {
    fn text(&self) -> String {
        let Some(table) = self.table else {
            let counted = if self.counted { "; counted" } else { "" };
            return match self.subnet_table {
                Some(table) => format!("main, its own subnet by table {table}{counted}"),
                None => format!("unchanged in main{counted}"),
            };
        };
        let mut addresses = self.addresses.iter();
        let shown: Vec<String> = addresses
            .by_ref()
            .take(2)
            .map(|net| destination_text(*net).to_string())
            .collect();
        let more = match addresses.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let gateways: Vec<String> = self.gateways.iter().map(IpAddr::to_string).collect();
        let via = match gateways.is_empty() {
            true => String::new(),
            false => format!(" via {}", gateways.join(", ")),
        };
        format!("{}{more} -> table {table}{via}", shown.join(", "))
    }
}

impl Session {
    fn text(&self) -> String {
        let what = format!("Your SSH session ({} -> {})", self.client, self.server);
        let nowhere = || "no interface".to_owned();
        let before = self.before.clone().unwrap_or_else(nowhere);
        let after = self.after.clone().unwrap_or_else(nowhere);
        match self.affected {
            None => format!(
                "{what}: eni-steer cannot tell whether it is affected. 'apply --confirm 60s' undoes \
                 the change if you lose it."
            ),
            Some(false) => format!("{what} uses {before}: not affected."),
            Some(true) => format!(
                "{what} IS AFFECTED: its answers leave by {before} now, by {after} after the \
                 change. 'apply --confirm 60s' undoes the change if you lose it."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Absence, fake::fake_host, policy::Policy};

    fn two_enis() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
            .route("172.16.20.0/24 dev eth0")
    }

    fn summary(connection: &str) -> Summary {
        let host = two_enis();
        let policy = Policy::default();
        let desired = Desired::for_host(&host, &policy, Absence::Error, 1);
        let desired = desired.unwrap_or_else(|error| panic!("{error}"));
        let plan = Plan::between(&desired, &host);
        Summary::new(&plan, &desired, &host, Connection::parse(connection))
    }

    #[test]
    fn the_summary_names_what_changes_for_whom() {
        let summary = summary("");
        let lines = summary.lines();
        assert!(lines[0].starts_with("Plan for 2 ENIs (eth0"), "{lines:?}");
        assert!(
            lines[0].contains(" rules, ") && lines[0].ends_with("4 programs"),
            "{lines:?}"
        );
        let eth1 = lines.iter().find(|line| line.starts_with("  eth1"));
        let eth1 = eth1.unwrap_or_else(|| panic!("{lines:?}"));
        assert!(
            eth1.starts_with("  eth1  172.16.20.177 -> table 21001 via 172.16.20.253"),
            "{eth1}"
        );
        assert_eq!(summary.session, None);
    }

    #[test]
    fn a_session_is_affected_if_its_answers_leave_by_another_interface_afterwards() {
        let to_eth0 = summary("198.51.100.10 50000 172.16.20.176 22");
        let session = to_eth0.session.clone().expect("there is one");
        assert_eq!(
            (session.before.as_deref(), session.affected),
            (Some("eth0"), Some(false))
        );
        let last = to_eth0.lines().pop().unwrap_or_default();
        assert_eq!(
            last,
            "Your SSH session (198.51.100.10 -> 172.16.20.176) uses eth0: not affected."
        );
        let to_eth1 = summary("::ffff:198.51.100.10 50000 ::ffff:172.16.20.177 22");
        let session = to_eth1.session.clone().expect("there is one");
        assert_eq!(session.before.as_deref(), Some("eth0"));
        assert_eq!(session.after.as_deref(), Some("eth1"));
        assert_eq!(session.affected, Some(true));
        assert!(
            to_eth1
                .lines()
                .pop()
                .unwrap_or_default()
                .contains("IS AFFECTED")
        );
    }

    #[test]
    fn a_session_whose_way_is_unknown_is_not_called_unaffected() {
        // The rules lead nowhere, and the session works all the same.
        let mut host = two_enis().rule("pref 10 unreachable");
        host.routes.clear();
        let policy = Policy::default();
        let (desired, _errors) = Desired::despite_errors(&host, &policy, 1);
        let plan = Plan::between(&desired, &host);
        let connection = Connection::parse("198.51.100.10 50000 172.16.20.177 22");
        let summary = Summary::new(&plan, &desired, &host, connection);
        let session = summary.session.clone().expect("there is one");
        assert_eq!((session.before, session.affected), (None, None));
        let last = summary.lines().pop().unwrap_or_default();
        assert!(last.contains("cannot tell"), "{last}");
        assert!(!last.contains("not affected"), "{last}");
    }

    #[test]
    fn what_is_no_connection_is_none() {
        for text in [
            "",
            "x",
            "198.51.100.10 1",
            "198.51.100.10 1 172.16.20.176 x",
        ] {
            assert_eq!(Connection::parse(text), None, "{text}");
        }
    }
}
