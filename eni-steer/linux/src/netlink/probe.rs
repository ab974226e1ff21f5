//! Do next hops answer? The kernel asks them by ARP or neighbour discovery, as it would before a
//! packet; this file starts the question where nothing is known, and waits for the answer.
//!
//! Relied on: `neigh_event_send` and `neigh_update` in net/core/neighbour.c. An entry that is
//! `REACHABLE` was confirmed within `base_reachable_time` (15 to 45 s); a `STALE` one is set to
//! `PROBE`, which asks at once.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use eni_steer_core::model::{IfIndex, Reachability};
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{NeighbourFlags, NeighbourState},
    },
};

use super::{Netlink, NetlinkError, Request, neighbour::message, wire::Message};

/// How often the table is read while questions are open.
const INTERVAL: Duration = Duration::from_millis(50);

impl Netlink {
    /// Whether each of these next hops answers. Where nothing is known, the kernel asks, and this
    /// waits until every question is answered or `patience` is over: three requests a second apart
    /// by default (`net.ipv4.neigh.*.mcast_solicit` and `retrans_time_ms`).
    ///
    /// # Errors
    /// The neighbour table could not be read.
    pub fn probe_neighbours(
        &self,
        hops: &[(IfIndex, IpAddr)],
        patience: Duration,
    ) -> Result<Vec<Reachability>, NetlinkError> {
        let began = Instant::now();
        self.ask(hops, &self.states(hops)?);
        loop {
            let states = self.states(hops)?;
            let known: Vec<Reachability> = states.iter().map(|state| judge(*state)).collect();
            let open = states.iter().any(|state| is_open(*state));
            if !open || began.elapsed() >= patience {
                return Ok(known);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Starts the question where nothing recent is known. A refusal leaves the state unknown.
    fn ask(&self, hops: &[(IfIndex, IpAddr)], states: &[Option<NeighbourState>]) {
        let requests = hops.iter().zip(states);
        let requests: Vec<Request> = requests
            .filter_map(|((on, ip), state)| match state {
                None | Some(NeighbourState::Failed | NeighbourState::None) => {
                    let mut entry = message(*on, *ip);
                    entry.header.flags = NeighbourFlags::Use;
                    let entry = RouteNetlinkMessage::NewNeighbour(entry);
                    Some(Request::new(entry, NLM_F_CREATE))
                }
                Some(NeighbourState::Stale | NeighbourState::Delay) => {
                    let mut entry = message(*on, *ip);
                    entry.header.state = NeighbourState::Probe;
                    let entry = RouteNetlinkMessage::NewNeighbour(entry);
                    Some(Request::new(entry, NLM_F_REPLACE))
                }
                Some(_) => None,
            })
            .collect();
        let answers = self.change_all(requests, |_| "ip neigh replace".to_owned());
        for refused in answers.into_iter().filter_map(Result::err) {
            tracing::debug!("cannot probe a neighbour: {refused}");
        }
    }

    /// The state of each entry; `None`: there is none.
    fn states(
        &self,
        hops: &[(IfIndex, IpAddr)],
    ) -> Result<Vec<Option<NeighbourState>>, NetlinkError> {
        let get = |(on, ip): &(IfIndex, IpAddr)| {
            Request::new(RouteNetlinkMessage::GetNeighbour(message(*on, *ip)), 0)
        };
        let what = |at: usize| {
            let (on, ip) = hops[at];
            format!("ip neigh get {ip} dev #{on}")
        };
        let answers = self.ask_all(hops.iter().map(get).collect(), what, state_of);
        let states = answers.into_iter().map(|answer| match answer {
            Ok(found) => Ok(found.into_iter().next()),
            // There is no entry yet, or the interface is gone.
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        });
        states.collect()
    }
}

fn judge(state: Option<NeighbourState>) -> Reachability {
    match state {
        Some(NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp) => {
            Reachability::Reachable
        }
        Some(NeighbourState::Failed) => Reachability::Failed,
        _ => Reachability::Unknown,
    }
}

/// Whether the kernel has not come to an answer yet.
fn is_open(state: Option<NeighbourState>) -> bool {
    !matches!(
        state,
        Some(
            NeighbourState::Reachable
                | NeighbourState::Permanent
                | NeighbourState::Noarp
                | NeighbourState::Failed
        )
    )
}

fn state_of(answer: &Message<'_>) -> Option<NeighbourState> {
    match answer.parse()? {
        RouteNetlinkMessage::NewNeighbour(found) => Some(found.header.state),
        _ => None,
    }
}
