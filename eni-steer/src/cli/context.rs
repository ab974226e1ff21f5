//! What most commands begin with: the policy in force, the host, and what it should have.

use crate::{
    bpf,
    desired::Desired,
    model::Mode,
    netlink::Netlink,
    observe::{Observed, Places, State, observe},
    policy::{EniPolicy, Policy, Selector},
};

use super::{
    args::{Global, PolicyArgs, Switch},
    failure::{Exit, Failure},
};

/// The host, the policy and what follows from both.
pub(super) struct Context {
    pub netlink: Netlink,
    pub places: Places,
    pub state: State,
    pub seen: Observed,
    pub policy: Policy,
}

impl Global {
    pub(super) fn places(&self) -> Places {
        Places {
            bpffs: self.bpffs.clone(),
            run: self.run_dir.clone(),
            ..Places::default()
        }
    }
}

impl Context {
    /// Reads the host and the policy in force: flags over what was applied last.
    pub(super) async fn new(global: &Global, args: &PolicyArgs) -> Result<Self, Failure> {
        require_privilege()?;
        let places = global.places();
        let (state, policy) = policy_in_force(global, args)?;
        let netlink = Netlink::open()?;
        let seen = observe(&netlink, &places).await?;
        Ok(Self {
            netlink,
            places,
            state,
            seen,
            policy,
        })
    }

    /// What the host should have.
    pub(super) fn desired(&self) -> Result<Desired, Failure> {
        Ok(Desired::for_host(&self.seen, &self.policy, bpf::BUILD)?)
    }

    /// Observes again.
    pub(super) async fn look_again(&self) -> Result<Observed, Failure> {
        Ok(observe(&self.netlink, &self.places).await?)
    }
}

/// What is ours is told by the protocol number: with another one, what is installed would be
/// nobody's, and stay for ever.
fn same_protocol(state: &State, policy: &Policy) -> Result<(), Failure> {
    match &state.policy {
        Some(applied) if applied.ownership.protocol != policy.ownership.protocol => {
            Err(Failure::usage(
                format!(
                    "protocol {} is not the one in force ({})",
                    policy.ownership.protocol, applied.ownership.protocol
                ),
                "run 'eni-steer remove' first, then apply with the new number",
            ))
        }
        _ => Ok(()),
    }
}

/// The policy in force, and the state it was read with: flags over what was applied last.
pub(super) fn policy_in_force(
    global: &Global,
    args: &PolicyArgs,
) -> Result<(State, Policy), Failure> {
    let state = State::read(&global.places())?;
    let mut policy = state.policy.clone().unwrap_or_default();
    args.put_into(&mut policy)?;
    policy.log_level = program_log_level(global.verbose, policy.log_level);
    same_protocol(&state, &policy)?;
    Ok((state, policy))
}

/// aya-log counts from 1 (error) to 5 (trace); the programs' own lines are debug and trace.
fn program_log_level(verbose: u8, known: u32) -> u32 {
    match verbose {
        0 => known,
        1 => 3,
        2 => 4,
        _ => 5,
    }
}

/// Root, or the capabilities that root is needed for: every command reads pins that only
/// root may read.
pub(super) fn require_privilege() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unsupported,
        anyhow::anyhow!(
            "eni-steer needs root: it reads and writes routing, bpf programs and their pins"
        ),
        "run it with sudo (capabilities used: CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON)",
    ))
}

impl PolicyArgs {
    /// Puts what the flags name over a policy.
    fn put_into(&self, policy: &mut Policy) -> Result<(), Failure> {
        if !self.eni.is_empty() {
            let earlier = std::mem::take(&mut policy.enis);
            for name in &self.eni {
                let select = Selector::from(name.as_str());
                let known = earlier.iter().find(|eni| eni.select == select).cloned();
                policy
                    .enis
                    .push(known.unwrap_or_else(|| EniPolicy::new(select)));
            }
        }
        for (select, gateway) in &self.gateway {
            let eni = named(policy, select)?;
            let same = |other: &crate::policy::GatewayChoice| family(other) == family(gateway);
            eni.gateways.retain(|other| !same(other));
            eni.gateways.push(*gateway);
        }
        for (select, table) in &self.table {
            named(policy, select)?.table = Some(*table);
        }
        for (select, address) in &self.address {
            let eni = named(policy, select)?;
            if !eni.addresses.contains(address) {
                eni.addresses.push(*address);
            }
        }
        for (select, prefix) in &self.prefix {
            let eni = named(policy, select)?;
            if !eni.prefixes.contains(prefix) {
                eni.prefixes.push(*prefix);
            }
        }
        for (select, mode) in &self.mode {
            match select {
                Some(select) => named(policy, select)?.mode = Some(*mode),
                None => set_mode(policy, *mode),
            }
        }
        for (switch, field) in [
            (self.rules, &mut policy.rules),
            (self.programs, &mut policy.programs),
            (self.sysctls, &mut policy.sysctls),
        ] {
            if let Some(switch) = switch {
                *field = switch == Switch::On;
            }
        }
        if let Some(primary) = self.primary {
            policy.primary = primary;
        }
        if let Some(attach) = self.attach {
            policy.attach = attach.into();
        }
        for net in &self.exempt {
            if !policy.exempt.contains(net) {
                policy.exempt.push(*net);
            }
        }
        if self.exempt_mark.is_some() {
            policy.settings.exempt_mark = self.exempt_mark;
        }
        if let Some(base) = self.table_base {
            policy.table_base = base;
        }
        if let Some((first, last)) = self.band {
            policy.ownership.first = first;
            policy.ownership.last = last;
        }
        if let Some(protocol) = self.protocol {
            policy.ownership.protocol = protocol;
        }
        if let Some(group) = self.group {
            policy.ownership.group = group;
        }
        Ok(())
    }
}

/// A mode for all replaces those of single ENIs.
fn set_mode(policy: &mut Policy, mode: Mode) {
    policy.mode = mode;
    for eni in &mut policy.enis {
        eni.mode = None;
    }
}

fn family(choice: &crate::policy::GatewayChoice) -> bool {
    matches!(choice, crate::policy::GatewayChoice::Address(address) if address.is_ipv6())
}

/// The ENI a flag speaks of. Where ENIs are found, not named, a flag that speaks of one
/// would name it and so leave the others out: that is asked back.
fn named<'a>(policy: &'a mut Policy, select: &Selector) -> Result<&'a mut EniPolicy, Failure> {
    let known: Vec<String> = policy
        .enis
        .iter()
        .map(|eni| eni.select.to_string())
        .collect();
    policy
        .enis
        .iter_mut()
        .find(|eni| eni.select == *select)
        .ok_or_else(|| {
            let hint = if known.is_empty() {
                format!("name the ENIs first: --eni {select} --eni ...")
            } else {
                format!(
                    "the ENIs named are {}; add --eni {select}",
                    known.join(", ")
                )
            };
            Failure::usage(
                format!("a flag speaks of {select}, which is no ENI of this policy"),
                hint,
            )
        })
}
