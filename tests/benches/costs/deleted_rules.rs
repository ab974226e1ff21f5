//! Replies while another program deletes eni-steer's rules ten times per second: how many leave
//! by the wrong ENI, and how many connections break.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eni_steer_tests::{Kept, Lab, NetNs, Shape, Steer, UdpServer, run};

use crate::Benchmark;
use crate::report::Finding;

pub const BENCHMARK: Benchmark = Benchmark {
    name: "deleted-rules",
    about: "10,000 replies a second for 10 s in steer mode while our rules are deleted every 100 ms",
    measure,
};

const TIME: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(100);
/// UDP questions per second, which are sent in groups.
const RATE: u32 = 10_000;
const GROUP: u32 = 10;
/// TCP connections that exchange data all the time.
const CONNECTIONS: usize = 20;
/// A connection that receives nothing for this long counts as broken.
const BROKEN: Duration = Duration::from_secs(3);

fn measure() -> Vec<Finding> {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let args = ["run", "--eni", "eth0", "--eni", "eth1", "--mode", "steer"];
    let kept = Kept::on(lab, Steer::new(), &args);
    let lab = &kept.lab;
    let there = SocketAddr::new(lab.eni(1).v4().into(), 7000);
    let server = UdpServer::echo(&lab.host, there);
    let before = (lab.router_seen(0), lab.router_seen(1));
    let over = AtomicBool::new(false);
    let (deleted, (asked, answered), talks) = std::thread::scope(|scope| {
        let talking: Vec<_> = connections(lab, there, &over, scope);
        let asking = scope.spawn(|| ask(&lab.client, there));
        let deleted = delete_rules(&lab.host);
        let asked = asking.join().expect("the asker does not panic");
        over.store(true, Ordering::Release);
        let talks = talking.into_iter();
        let talks: Vec<_> = talks
            .map(|talk| talk.join().expect("a talker does not panic"))
            .collect();
        (deleted, asked, talks)
    });
    drop(server);
    let wrong = lab.router_seen(0).since(before.0).wrong.packets;
    let right = lab.router_seen(1).since(before.1).right.packets;
    let broken = talks.iter().filter(|talk| talk.is_none()).count();
    let exchanged: u64 = talks.iter().flatten().sum();
    vec![
        Finding::new("rules deleted", deleted as f64, "").at_least(1.0),
        Finding::new(
            "UDP questions a second",
            asked as f64 / TIME.as_secs_f64(),
            "",
        )
        .at_least(0.95 * f64::from(RATE)),
        Finding::new("UDP questions not answered", (asked - answered) as f64, ""),
        Finding::new("packets that left by the right ENI", right as f64, ""),
        Finding::new("packets that left by the wrong ENI", wrong as f64, "").at_most(0.0),
        Finding::new("TCP connections", CONNECTIONS as f64, ""),
        Finding::new("TCP exchanges on them", exchanged as f64, ""),
        Finding::new("TCP connections broken", broken as f64, "").at_most(0.0),
    ]
}

/// Deletes every rule of eni-steer's; returns how many it deleted.
fn delete_rules(host: &NetNs) -> u64 {
    let began = Instant::now();
    let mut deleted = 0;
    let mut next = began;
    while began.elapsed() < TIME {
        for family in ["-4", "-6"] {
            while run(host, "ip", [family, "rule", "del", "protocol", "229"]).success() {
                deleted += 1;
            }
        }
        next += EVERY;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    deleted
}

/// Asks at this rate; returns how many questions were sent and how many answers came.
fn ask(client: &NetNs, to: SocketAddr) -> (u64, u64) {
    let socket = client.run(|| UdpSocket::bind("0.0.0.0:0").expect("a free port"));
    socket.connect(to).expect("a route");
    let listener = socket.try_clone().expect("a descriptor");
    listener
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    std::thread::scope(|scope| {
        let listening = scope.spawn(move || {
            let mut answered = 0;
            // It is over when nothing comes any more.
            while listener.recv(&mut [0; 16]).is_ok() {
                answered += 1;
            }
            answered
        });
        let began = Instant::now();
        let (mut asked, mut groups) = (0, 0);
        while began.elapsed() < TIME {
            for _ in 0..GROUP {
                asked += u64::from(socket.send(b"question").is_ok());
            }
            groups += 1;
            let next = Duration::from_secs(1) * GROUP / RATE * groups;
            std::thread::sleep(next.saturating_sub(began.elapsed()));
        }
        (
            asked,
            listening.join().expect("the listener does not panic"),
        )
    })
}

/// Opens the connections; each returns how many exchanges it had, or nothing if it broke.
fn connections<'scope>(
    lab: &Lab,
    there: SocketAddr,
    over: &'scope AtomicBool,
    scope: &'scope std::thread::Scope<'scope, '_>,
) -> Vec<std::thread::ScopedJoinHandle<'scope, Option<u64>>> {
    let listener = lab
        .host
        .run(|| TcpListener::bind(there).expect("a free port"));
    let mut talks = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = lab
            .client
            .run(|| TcpStream::connect_timeout(&there, BROKEN).expect("a connection"));
        let (server, _) = listener.accept().expect("a connection");
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("an option");
            stream.set_read_timeout(Some(BROKEN)).expect("a timeout");
        }
        scope.spawn(move || echo(server));
        talks.push(scope.spawn(move || talk(client, over)));
    }
    talks
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn talk(mut stream: TcpStream, over: &AtomicBool) -> Option<u64> {
    let mut exchanges = 0;
    while !over.load(Ordering::Acquire) {
        stream.write_all(b"question").ok()?;
        stream.read_exact(&mut [0; 8]).ok()?;
        exchanges += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(exchanges)
}
