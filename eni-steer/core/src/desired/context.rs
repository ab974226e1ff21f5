//! What every decision of this module reads.

use crate::{model::Host, policy::Policy};

/// What eni-steer does about an ENI that the policy names and that is missing, down or without an
/// address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// eni-steer refuses the policy. Right for a command that a person typed.
    #[default]
    Error,
    /// eni-steer leaves the ENI out until it comes back. Right for a daemon.
    Wait,
}

/// The host, the policy, and what to do about a missing ENI.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) host: &'a Host,
    pub(super) policy: &'a Policy,
    pub(super) absence: Absence,
}
