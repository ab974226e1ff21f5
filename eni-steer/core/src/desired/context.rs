//! What every decision of this module reads.

use super::error::PolicyError;
use crate::{model::Host, policy::Policy};

/// What eni-steer does about an interface that the policy names and that is missing or cannot be
/// an ENI now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// eni-steer refuses the policy. Right for names that a person typed in this command.
    #[default]
    Error,
    /// eni-steer serves the other ENIs and says which one it leaves out. Right for a configuration,
    /// which also holds when an ENI is detached for a while, and for a daemon.
    Wait,
}

/// The host, the policy, and what to do about a missing ENI.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) host: &'a Host,
    pub(super) policy: &'a Policy,
    pub(super) absence: Absence,
}

impl Context<'_> {
    /// Leaves out what an error is about, and records it; or refuses the policy, if a person typed
    /// the names of its ENIs.
    pub(super) fn leave_out(
        &self,
        error: PolicyError,
        unserved: &mut Vec<PolicyError>,
    ) -> Result<(), PolicyError> {
        match self.absence {
            Absence::Error => Err(error),
            Absence::Wait => {
                unserved.push(error);
                Ok(())
            }
        }
    }
}
