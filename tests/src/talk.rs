//! Traffic of every kind between the client and the host.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::{Lab, Seen, UdpServer, ping, tcp_transfer, udp_exchange};

/// How many questions of each kind are asked.
const QUESTIONS: u16 = 3;
const BRIEFLY: Duration = Duration::from_millis(2);

/// Makes the client ping an address of the host, ask it by UDP, and fetch a file from it by TCP;
/// panics unless everything is answered. Returns what left by each ENI meanwhile.
#[track_caller]
pub fn talk(lab: &Lab, address: IpAddr) -> Vec<Seen> {
    let seen = || -> Vec<Seen> { (0..lab.enis().len()).map(|i| lab.router_seen(i)).collect() };
    let before = seen();
    let pinged = ping(&lab.client, None, address, QUESTIONS, BRIEFLY);
    assert!(pinged.all_answered(), "ping {address}: {pinged:?}");
    let there = SocketAddr::new(address, 7000);
    let server = UdpServer::echo(&lab.host, there);
    let asked = udp_exchange(&lab.client, None, there, QUESTIONS, BRIEFLY);
    drop(server);
    assert!(asked.all_answered(), "UDP to {address}: {asked:?}");
    let fetched = tcp_transfer(&lab.host, there, &lab.client, there, 100_000);
    assert!(fetched.complete, "TCP from {address}: {fetched:?}");
    let since = seen().into_iter().zip(before);
    since.map(|(now, before)| now.since(before)).collect()
}

/// Does the same as [`talk`], and expects that every answer left by this ENI and none by another.
#[track_caller]
pub fn expect_symmetry(lab: &Lab, eni: usize, address: IpAddr) {
    let seen = talk(lab, address);
    for (index, seen) in seen.iter().enumerate() {
        assert_eq!(seen.wrong.packets, 0, "{address} by eth{index}: {seen:?}");
        if index != eni {
            assert_eq!(seen.right.packets, 0, "{address} by eth{index}: {seen:?}");
        }
    }
    // Ping and UDP send one packet per answer, TCP at least SYN, data and FIN.
    let least = 2 * u64::from(QUESTIONS) + 3;
    assert!(
        seen[eni].right.packets >= least,
        "{address} by eth{eni}: {seen:?}"
    );
}
