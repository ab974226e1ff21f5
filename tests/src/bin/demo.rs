//! The story of the textbook with real packets: find the asymmetry, cure it with rules, hold it
//! with eBPF, prove it with counters, and remove everything again. Each step prints its numbers
//! and checks them; the exit code is 0 only if every check succeeded.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use eni_steer_tests::{
    Exchange, Lab, Seen, Shape, Steer, TcpTransfer, diff, dump, ping, require_root, run_ok,
};

/// How many pings each step sends.
const PINGS: u16 = 5;
/// How many bytes the DNATed flow transfers.
const BYTES: u64 = 2_000_000;
/// How long `verify --window` observes the traffic.
const WINDOW: &str = "800ms";

/// Tells the story and records which checks failed.
struct Story {
    lab: Lab,
    steer: Steer,
    wrong: Vec<String>,
}

fn main() -> ExitCode {
    require_root();
    let began = Instant::now();
    let lab = Lab::builder(Shape::SameSubnet)
        .container()
        .drop_wrong_source()
        .build();
    let mut story = Story {
        lab,
        steer: Steer::new(),
        wrong: Vec::new(),
    };
    println!(
        "A cloud host with two network interfaces (ENIs) on one subnet, in network namespaces:"
    );
    println!(
        "eth0 172.16.20.176 has the default route, eth1 172.16.20.177 has none. The cloud drops"
    );
    println!(
        "what leaves by an ENI with a source that is not that ENI's. A client far away pings eth1."
    );
    let before = dump(&story.lab.host);
    let pins = story.steer.bpffs().pins();

    story.asymmetry();
    story.rules();
    story.container();
    story.foreign_rule();
    story.dnat();
    story.remove(&before, &pins);

    println!("\n{} s", began.elapsed().as_secs());
    if story.wrong.is_empty() {
        println!("demo: every step showed what it says");
        return ExitCode::SUCCESS;
    }
    for wrong in &story.wrong {
        eprintln!("error: {wrong}");
    }
    ExitCode::FAILURE
}

impl Story {
    fn asymmetry(&mut self) {
        title(1, "the asymmetry: in by eth1, out by eth0");
        self.told(&["apply", "--eni", "eth0", "--eni", "eth1", "--rules", "off"]);
        let (pings, seen, code, output) = self.watched_pings();
        self.say_pings(&pings, seen);
        self.check(
            code == Some(4) && output.contains("1 asymmetric"),
            "verify calls it asymmetric",
        );
        self.check(pings.received == 0, "the cloud drops every reply");
        self.check(
            seen.wrong.packets == u64::from(PINGS),
            "every reply left by eth0",
        );
        self.matrix(&["eth1 5", "eth0 5", "asymmetric"]);
    }

    fn rules(&mut self) {
        title(
            2,
            "the cure: a table for each ENI, rules by source, and main first for the rest",
        );
        let code = self.shown(&["plan", "--rules", "on"]);
        self.check(code == Some(3), "the plan is not empty");
        self.quiet(&["apply", "--rules", "on"]);
        let (pings, seen, code, _) = self.watched_pings();
        self.say_pings(&pings, seen);
        self.check(
            code == Some(0),
            "verify finds the policy in place and the traffic symmetric",
        );
        self.check(pings.received == pings.sent, "every ping is answered");
        self.check(
            seen.wrong.packets == 0,
            "nothing left by eth0 with eth1's source",
        );
    }

    fn container(&mut self) {
        title(3, "a container on the host connects to eth1's address");
        let kept = self.container_transfer();
        println!("with eni-steer's rules: {}", answer(kept));
        // The same with the textbook's single rule, on another host.
        let other = Lab::builder(Shape::SameSubnet).container().build();
        other.textbook_cure(1);
        let broken = from_container(&other);
        println!("with the textbook's single rule: {}", answer(broken));
        self.check(kept, "the container gets its answer");
        self.check(!broken, "the textbook's rule alone breaks the container");
    }

    fn foreign_rule(&mut self) {
        title(
            4,
            "someone adds a rule before ours: ip rule add pref 100 lookup main",
        );
        self.ip(&["rule", "add", "pref", "100", "lookup", "main"]);
        let (lost, seen, code, output) = self.watched_pings();
        self.say_pings(&lost, seen);
        self.check(
            code == Some(4) && output.contains("CAUSE 1  ip -4 rule pref 100 "),
            "verify names the rule that wins",
        );
        self.check(lost.received == 0, "in count mode the replies go wrong");
        let eth1 = self.lab.eni(1).v4().to_string();
        let code = self.shown(&["explain", &eth1]);
        self.check(code == Some(3), "explain shows the rule that wins");
        let code = self.shown(&["doctor"]);
        self.check(matches!(code, Some(3 | 4)), "doctor finds it too");
        self.quiet(&["apply", "--mode", "steer"]);
        println!("$ eni-steer apply --mode steer");
        let (kept, seen, code, output) = self.watched_pings();
        self.say_pings(&kept, seen);
        self.check(
            kept.received == kept.sent,
            "in steer mode the client loses nothing",
        );
        self.check(
            seen.wrong.packets == 0,
            "in steer mode nothing leaves by eth0",
        );
        self.check(
            code == Some(4) && output.contains("1 steered"),
            "verify still calls it wrong, because the rules do not work",
        );
        let steered = self.fate("steered");
        println!("packets steered so far: {steered}");
        self.check(steered >= u64::from(PINGS), "the replies were steered");
        self.ip(&["rule", "del", "pref", "100"]);
    }

    fn dnat(&mut self) {
        title(
            5,
            "a DNATed flow: client -> 172.16.20.177:8080 -> container:80, 2 MB back",
        );
        let container = self.lab.container_v4();
        for statement in [
            "add table ip demo".to_owned(),
            "add chain ip demo pre { type nat hook prerouting priority dstnat; }".to_owned(),
            format!(
                "add rule ip demo pre ip daddr {} tcp dport 8080 dnat to {container}:80",
                self.lab.eni(1).v4()
            ),
        ] {
            run_ok(&self.lab.host, "nft", [statement]);
        }
        self.quiet(&["apply", "--mode", "count"]);
        let before = self.lab.router_seen(0);
        let complete = self.dnat_transfer(Duration::from_secs(2));
        let wrong = self.lab.router_seen(0).since(before).wrong.packets;
        println!(
            "rules alone: {wrong} packets left by eth0, transfer {}",
            word(complete)
        );
        self.check(
            wrong > 0 && !complete,
            "rules alone can not help a DNATed reply",
        );
        self.quiet(&["apply", "--mode", "steer"]);
        let (before0, before1) = (self.lab.router_seen(0), self.lab.router_seen(1));
        let complete = self.dnat_transfer(Duration::from_secs(10));
        let wrong = self.lab.router_seen(0).since(before0).wrong.packets;
        let right = self.lab.router_seen(1).since(before1).right;
        println!(
            "steer mode: {wrong} packets left by eth0, {} packets and {} bytes by eth1, transfer {}",
            right.packets,
            right.bytes,
            word(complete)
        );
        self.check(
            complete && wrong == 0,
            "in steer mode all of it leaves by eth1",
        );
        self.check(right.bytes >= BYTES, "eth1 carried the whole transfer");
        run_ok(&self.lab.host, "nft", ["delete table ip demo".to_owned()]);
    }

    fn remove(&mut self, before: &str, pins: &[String]) {
        title(6, "eni-steer remove: everything is as it was");
        let code = self.shown(&["remove"]);
        self.check(code == Some(0), "remove succeeds");
        let after = dump(&self.lab.host);
        let difference = diff(before, &after);
        if !difference.is_empty() {
            println!("{difference}");
        }
        self.check(
            difference.is_empty(),
            "rules, routes, groups, sysctls and qdiscs are exactly as before",
        );
        self.check(self.steer.bpffs().pins() == pins, "no pin is left");
        println!(
            "{} lines of rules, routes, links, sysctls, qdiscs: no difference",
            before.lines().count()
        );
    }

    /// Pings while `verify --window` runs; prints the report of `verify`.
    /// Pings eth1 while `verify` watches. Returns what became of the pings, what the cloud saw on
    /// eth0, and what `verify` ended with and printed.
    fn watched_pings(&mut self) -> (Exchange, Seen, Option<i32>, String) {
        let (host, eth1) = (&self.lab.host, self.lab.eni(1).v4());
        let before = self.lab.router_seen(0);
        let mut verify = self
            .steer
            .call(&["verify", "--window", WINDOW])
            .start_in_background(host);
        std::thread::sleep(Duration::from_millis(250));
        let pings = ping(
            &self.lab.client,
            None,
            IpAddr::V4(eth1),
            PINGS,
            Duration::from_millis(10),
        );
        let status = verify.wait(Duration::from_secs(10));
        println!("$ eni-steer verify --window {WINDOW}");
        let output = verify.output();
        print!("{}", indented(&output));
        let seen = self.lab.router_seen(0).since(before);
        (pings, seen, status.code(), output)
    }

    fn say_pings(&self, pings: &Exchange, seen: Seen) {
        println!(
            "client: {} pings sent, {} answered; the cloud saw {} packets on eth0 with eth1's source",
            pings.sent, pings.received, seen.wrong.packets
        );
    }

    /// Prints the row of eth1's address in `status` and checks that it contains `parts`.
    fn matrix(&mut self, parts: &[&str]) {
        let status = self.steer.ok(&self.lab, &["status"]);
        let row = status
            .lines()
            .find(|line| line.starts_with("172.16.20.177"))
            .unwrap_or_default();
        println!(
            "$ eni-steer status | grep ^172.16.20.177\n{}",
            indented(row)
        );
        for part in parts {
            self.check(row.contains(part), &format!("the table shows {part}"));
        }
    }

    fn container_transfer(&self) -> bool {
        from_container(&self.lab)
    }

    fn dnat_transfer(&self, patience: Duration) -> bool {
        let listen = SocketAddr::new(self.lab.container_v4().into(), 80);
        let to = SocketAddr::new(self.lab.eni(1).v4().into(), 8080);
        let transfer = TcpTransfer::of(BYTES).timeout(patience);
        transfer
            .run(self.lab.container(), listen, &self.lab.client, to)
            .complete
    }

    fn fate(&self, name: &str) -> u64 {
        let report = self.steer.json(&self.lab, &["counters"]);
        report["enis"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|eni| eni["fates"][name]["packets"].as_u64())
            .sum()
    }

    fn ip(&self, args: &[&str]) {
        println!("$ ip {}", args.join(" "));
        run_ok(&self.lab.host, "ip", args);
    }

    /// Runs the command; prints it and its output.
    fn shown(&self, args: &[&str]) -> Option<i32> {
        println!("$ eni-steer {}", args.join(" "));
        let output = self.steer.run(&self.lab, args);
        print!("{}{}", indented(&output.stdout), indented(&output.stderr));
        output.code()
    }

    /// Runs the command; prints only the command line.
    fn told(&mut self, args: &[&str]) {
        println!("$ eni-steer {}", args.join(" "));
        self.quiet(args);
    }

    fn quiet(&mut self, args: &[&str]) {
        let output = self.steer.run(&self.lab, args);
        if !output.success() {
            print!("{}", indented(&output.stderr));
        }
        self.check(
            output.success(),
            &format!("eni-steer {} succeeds", args.join(" ")),
        );
    }

    fn check(&mut self, holds: bool, promise: &str) {
        if holds {
            println!("  [ok] {promise}");
        } else {
            println!("  [NOT SO] {promise}");
            self.wrong.push(format!("not so: {promise}"));
        }
    }
}

/// A container asks a server on eth1's address of the same host. Returns whether it gets an
/// answer.
fn from_container(lab: &Lab) -> bool {
    let server = SocketAddr::new(lab.eni(1).v4().into(), 9000);
    let transfer = TcpTransfer::of(1000).timeout(Duration::from_secs(1));
    transfer
        .run(&lab.host, server, lab.container(), server)
        .complete
}

fn title(number: u32, text: &str) {
    println!("\n{number}. {text}");
}

fn answer(got: bool) -> &'static str {
    if got {
        "it gets its answer"
    } else {
        "no answer"
    }
}

fn word(complete: bool) -> &'static str {
    if complete { "complete" } else { "broken off" }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
