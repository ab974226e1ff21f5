//! A host that receives packets by one ENI, and something that counts them there.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::Duration;

use eni_steer_tests::packets::Packet;
use eni_steer_tests::{
    Background, Call, LiveFrames, NetNs, Steer, TcxProgram, eventually, nft, run_ok, write_sysctl,
};
use nix::sys::socket::{setsockopt, sockopt};

use crate::programs::{FAR4, OWN4, ip};
use crate::samples::Samples;

/// What counts the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Nothing.
    Nothing,
    /// A TCX program that does nothing.
    EmptyProgram,
    /// eni-steer in mode `count`.
    EniSteer,
    /// nftables: a set of sources with counters.
    Nftables,
    /// tcpdump, writing to /dev/null.
    Tcpdump,
}

/// A set with room for as many elements as eni-steer has sources by default, and more.
const NFTABLES: &str = "
table netdev count {
    set sources { type ipv4_addr; size 131072; flags dynamic; }
    chain in {
        type filter hook ingress device eth0 priority 0; policy accept;
        update @sources { ip saddr counter }
    }
}
";

/// Packets received at a time; a pause follows.
const BURST: u32 = 8000;
const PAUSE: Duration = Duration::from_millis(2);

/// A namespace with a cable from far0 to eth0, and a socket whose receive buffer is full: a
/// packet goes all the way up and is dropped there.
pub struct Receiver {
    ns: NetNs,
    counting: Counting,
    frames: LiveFrames,
    steer: Option<Steer>,
    _program: Option<OwnedFd>,
    _socket: UdpSocket,
}

impl Receiver {
    /// Makes a host whose packets have this many random bits in their sources; see
    /// [`LiveFrames`].
    pub fn new(counting: Counting, bits: u32) -> Self {
        let ns = NetNs::new("host");
        for conf in ["all", "default"] {
            write_sysctl(&ns, &format!("net/ipv4/conf/{conf}/rp_filter"), 0);
        }
        write_sysctl(&ns, "net/ipv6/conf/default/disable_ipv6", 1);
        let packet = Packet::udp(ip(FAR4), ip(OWN4), 64 - 42);
        let [a, b, c, d, e, f] = packet.to;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        for line in [
            format!("link add eth0 address {mac} type veth peer far0"),
            format!("address add {OWN4}/24 dev eth0"),
            "link set lo up".to_owned(),
            "link set far0 up".to_owned(),
            "link set eth0 up".to_owned(),
            "route add default via 172.16.20.253 dev eth0".to_owned(),
        ] {
            run_ok(&ns, "ip", line.split_whitespace());
        }
        let socket = ns.run(|| UdpSocket::bind((ip(OWN4), 2000)).expect("a free port"));
        setsockopt(&socket, sockopt::RcvBuf, &0).expect("any size is taken");
        let mut steer = None;
        let mut program = None;
        match counting {
            Counting::Nothing | Counting::Tcpdump => {}
            Counting::EmptyProgram => program = Some(TcxProgram::pass().attach(&ns, "eth0", true)),
            Counting::Nftables => nft(&ns, NFTABLES),
            Counting::EniSteer => {
                let installed = Steer::new();
                let args = ["apply", "--eni", "eth0", "--rules", "off"];
                drop(installed.call(&args).run(&ns).expect_success());
                steer = Some(installed);
            }
        }
        Self {
            frames: LiveFrames::new(&ns, "eth0", &packet.bytes(), bits),
            ns,
            counting,
            steer,
            _program: program,
            _socket: socket,
        }
    }

    /// Receives packets in bursts that tcpdump's ring can hold; returns the nanoseconds per
    /// packet.
    pub fn receive(&mut self, packets: u32) -> f64 {
        self.receive_and_tell(packets).0
    }

    /// Does the same, and also returns the nanoseconds per packet of tcpdump's own process.
    pub fn receive_and_tell(&mut self, packets: u32) -> (f64, f64) {
        // While tcpdump runs, every packet of the machine gets a time stamp, so it runs no longer
        // than needed.
        let tcpdump = (self.counting == Counting::Tcpdump).then(|| tcpdump(&self.ns));
        let on_cpu = || tcpdump.as_ref().map_or(0, |process| on_cpu(process.pid()));
        let before = on_cpu();
        let mut bursts = Samples::default();
        for _ in 0..packets / BURST {
            bursts.push(f64::from(self.frames.receive(BURST)));
            std::thread::sleep(PAUSE);
        }
        let packets = f64::from(packets / BURST * BURST);
        let process = (on_cpu() - before) as f64 / packets;
        (bursts.median(), process)
    }

    /// Returns eni-steer's own report of its counters.
    pub fn counters(&self) -> serde_json::Value {
        let steer = self.steer.as_ref().expect("eni-steer counts");
        let call = steer.call(&["counters", "--all", "-j"]);
        let call = call.timeout(Duration::from_secs(60));
        call.run(&self.ns).expect_success().json()
    }

    /// Returns eni-steer's own report of its memory.
    pub fn status(&self) -> serde_json::Value {
        let steer = self.steer.as_ref().expect("eni-steer counts");
        steer.call(&["status", "-j"]).run(&self.ns).json()
    }
}

/// Starts tcpdump as a person would, and waits until it listens.
fn tcpdump(ns: &NetNs) -> Background {
    let call = Call::new("tcpdump").args(["-i", "eth0", "-w", "/dev/null"]);
    let tcpdump = call.start_in_background(ns);
    let listens = eventually(Duration::from_secs(10), || {
        tcpdump.output().contains("listening on")
    });
    assert!(listens, "{}", tcpdump.output());
    tcpdump
}

/// Returns the nanoseconds that a process has run on a CPU
/// (Documentation/scheduler/sched-stats.rst).
fn on_cpu(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it runs");
    let first = stat.split(' ').next().and_then(|ns| ns.parse().ok());
    first.unwrap_or_else(|| panic!("no time in {stat}"))
}
