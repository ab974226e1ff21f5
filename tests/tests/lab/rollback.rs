//! A failed step leaves the host as it was: each step of each plan fails once.

use crate::common::{Inside, inside, policy};
use eni_steer_core::{
    apply::{Executor, Report, apply},
    desired::Desired,
    model::{AttachKind, Family, Hop, Mode, PortRange},
    plan::{Plan, Step},
    policy::{Policy, PrimaryPolicy, Sizes},
};
use eni_steer_linux::executor::{LinuxExecutor, StepError};
use eni_steer_linux::observe::observe_changes;
use eni_steer_tests::{
    DefaultRoute, Feature, Lab, Shape, Steer, assert_unchanged, requires, run_ok,
};

/// The host, except that one step is refused.
struct Refusing {
    host: LinuxExecutor,
    /// How many steps to do before the refusal.
    left: usize,
    /// Whether a step was refused.
    refused: bool,
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown when a test fails")]
enum Refusal {
    Injected,
    Host(StepError),
}

impl Executor for Refusing {
    type Error = Refusal;

    fn step(&mut self, step: &Step) -> Result<(), Refusal> {
        let answers = self.steps(std::slice::from_ref(step));
        answers.into_iter().collect()
    }

    /// Takes the batched path of production: what stands before the refused step goes to the host
    /// in one batch, and as the kernel goes on behind a request that it refuses, so does this.
    fn steps(&mut self, steps: &[Step]) -> Vec<Result<(), Refusal>> {
        let host = |this: &mut Self, steps: &[Step]| -> Vec<Result<(), Refusal>> {
            let answers = this.host.steps(steps).into_iter();
            answers
                .map(|answer| answer.map_err(Refusal::Host))
                .collect()
        };
        if self.refused || self.left >= steps.len() {
            let answers = host(self, steps);
            self.left = self.left.saturating_sub(answers.len());
            return answers;
        }
        if self.left > 0 {
            let answers = host(self, &steps[..self.left]);
            self.left -= answers.len().min(self.left);
            return answers;
        }
        self.refused = true;
        let mut answers = vec![Err(Refusal::Injected)];
        let kind = std::mem::discriminant(&steps[0]);
        let alike = |step: &&Step| std::mem::discriminant(*step) == kind;
        let behind = steps[1..].iter().take_while(alike).count();
        if behind > 0 {
            answers.extend(host(self, &steps[1..=behind]));
        }
        answers
    }
}

/// The target: a policy, or nothing of eni-steer's.
type Towards<'a> = Option<&'a Policy>;

fn desired(inside: &Inside, towards: Towards<'_>) -> Desired {
    match towards {
        Some(policy) => inside.desired(policy),
        None => Desired::empty(Policy::default().ownership),
    }
}

/// Applies with step `at` refused; returns the steps of the plan as lines.
fn refuse(
    lab: &Lab,
    steer: &Steer,
    towards: Towards<'_>,
    at: usize,
) -> (Vec<String>, Report<Refusal>) {
    inside(lab, || {
        let inside = Inside::look(steer);
        let plan = Plan::between(&desired(&inside, towards), &inside.host);
        let lines = plan
            .steps
            .iter()
            .map(|step| step.describe(&inside.host))
            .collect();
        let sizes = towards.map(|policy| policy.sizes).unwrap_or_default();
        let host = LinuxExecutor::new(inside.netlink, inside.paths, &inside.host, &sizes);
        let host = host.expect("a host");
        let mut kernel = Refusing {
            host,
            left: at,
            refused: false,
        };
        (lines, apply(&plan, &mut kernel))
    })
}

/// Removes what can not come back and makes no difference: a program that was detached and
/// attached again has a new id, and a rule comes after others of its priority (eni-steer's rules
/// of one priority have sources of one length, so a packet matches at most one).
fn comparable(world: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = Vec::new();
        let mut all = line.split_whitespace();
        while let Some(word) = all.next() {
            words.push(word);
            if ["program", "id", "tag", "load_time", "btf_id"].contains(&word) {
                all.next();
            }
        }
        words.join(" ")
    };
    let mut sections: Vec<Vec<String>> = Vec::new();
    for line in world.lines().map(line) {
        if line.starts_with("== ") {
            sections.push(Vec::new());
        }
        sections
            .last_mut()
            .expect("a heading comes first")
            .push(line);
    }
    for section in sections
        .iter_mut()
        .filter(|lines| lines[0].ends_with(" rule"))
    {
        let priority = |line: &String| -> Option<u32> { line.split(':').next()?.parse().ok() };
        section[1..].sort_by_key(|line| (priority(line), line.clone()));
    }
    sections.concat().join("\n")
}

/// Returns the contents of the maps and the saved state, as the library reads them.
fn told(lab: &Lab, steer: &Steer) -> String {
    inside(lab, || {
        let seen = Inside::look(steer).host;
        format!("{:#?}\n{:#?}", seen.datapath, seen.saved)
    })
}

/// Refuses each step of the plan towards a policy, one after another, and then none.
fn refuse_each(lab: &Lab, steer: &Steer, towards: Towards<'_>) {
    let before = (comparable(&steer.world(lab)), told(lab, steer));
    for at in 0.. {
        let (lines, report) = refuse(lab, steer, towards, at);
        assert!(lines.len() > 4, "the plan has steps to refuse: {lines:?}");
        let Some((_, error)) = &report.failed else {
            assert_eq!(at, lines.len(), "every step was refused once");
            break;
        };
        let what = format!("step {at}, {}", lines[at]);
        assert!(matches!(error, Refusal::Injected), "{what}: {error:?}");
        assert!(report.left.is_empty(), "{what}: {:?}", report.left);
        // Steps of the same batch behind the refused one may have been done and are undone too.
        assert!(report.undone.len() >= at, "{what}: {}", report.undone.len());
        println!("refused: {}", lines[at]);
        assert_unchanged(&before.0, &comparable(&steer.world(lab)));
        assert_unchanged(&before.1, &told(lab, steer));
    }
}

fn everything(attach: AttachKind, mode: Mode) -> Policy {
    Policy {
        attach: Some(attach),
        mode,
        primary: PrimaryPolicy::Full,
        // Small maps: they are made and removed a hundred times, and the kernel clears all of
        // their memory each time.
        sizes: Sizes {
            addresses: 64,
            sources_bytes: 64 << 10,
        },
        // The verifier takes its time with each program, so one ENI is enough the second time.
        ..policy(match attach {
            AttachKind::Tcx => &["eth0", "eth1"],
            AttachKind::Clsact => &["eth0"],
        })
    }
}

/// A host on which other programs have installed things too.
fn shared_host(attach: AttachKind) -> (Lab, Steer) {
    // If only eth0 is managed, main's default route has to leave by it.
    let default_route = match attach {
        AttachKind::Tcx => DefaultRoute::AllWithMetric(200),
        AttachKind::Clsact => DefaultRoute::Eth0,
    };
    let lab = Lab::builder(Shape::SameSubnet)
        .rp_filter(1)
        .default_route(default_route)
        .build();
    for rule in ["5210 fwmark 0x80000/0xff0000 lookup main", "5270 lookup 52"] {
        let words = format!("rule add pref {rule}");
        run_ok(&lab.host, "ip", words.split(' '));
    }
    for eni in ["eth0", "eth1"] {
        run_ok(&lab.host, "tc", ["qdisc", "add", "dev", eni, "clsact"]);
    }
    (lab, Steer::new())
}

/// Applies, and nothing is refused.
fn settle(lab: &Lab, steer: &Steer, towards: Towards<'_>) {
    let (_, report) = refuse(lab, steer, towards, usize::MAX);
    assert!(report.is_complete(), "{:?}", report.failed);
}

fn a_failed_first_apply_leaves_the_host_as_it_was(attach: AttachKind) {
    let (lab, steer) = shared_host(attach);
    let _report = lab.on_failure_print();
    let nothing = steer.world(&lab);
    refuse_each(&lab, &steer, Some(&everything(attach, Mode::Count)));
    settle(&lab, &steer, None);
    assert_unchanged(&nothing, &steer.world(&lab));
}

fn a_failed_change_leaves_the_host_as_it_was(attach: AttachKind) {
    let (lab, steer) = shared_host(attach);
    let _report = lab.on_failure_print();
    settle(&lab, &steer, Some(&everything(attach, Mode::Count)));
    let mut other = everything(attach, Mode::Steer);
    other.table_base = eni_steer_core::model::TableId(30000);
    other
        .exempt
        .push("198.51.100.0/24".parse().expect("a prefix"));
    refuse_each(&lab, &steer, Some(&other));
}

fn a_failed_remove_leaves_the_host_as_it_was(attach: AttachKind) {
    let (lab, steer) = shared_host(attach);
    let _report = lab.on_failure_print();
    let nothing = steer.world(&lab);
    settle(&lab, &steer, Some(&everything(attach, Mode::Steer)));
    refuse_each(&lab, &steer, None);
    assert_unchanged(&nothing, &steer.world(&lab));
}

#[test]
fn a_failed_first_apply_leaves_the_host_as_it_was_with_tcx() {
    requires(Feature::Tcx);
    a_failed_first_apply_leaves_the_host_as_it_was(AttachKind::Tcx);
}

#[test]
fn a_failed_first_apply_leaves_the_host_as_it_was_with_clsact() {
    a_failed_first_apply_leaves_the_host_as_it_was(AttachKind::Clsact);
}

#[test]
fn a_failed_change_leaves_the_host_as_it_was_with_tcx() {
    requires(Feature::Tcx);
    a_failed_change_leaves_the_host_as_it_was(AttachKind::Tcx);
}

#[test]
fn a_failed_change_leaves_the_host_as_it_was_with_clsact() {
    a_failed_change_leaves_the_host_as_it_was(AttachKind::Clsact);
}

#[test]
fn a_failed_remove_leaves_the_host_as_it_was_with_tcx() {
    requires(Feature::Tcx);
    a_failed_remove_leaves_the_host_as_it_was(AttachKind::Tcx);
}

#[test]
fn a_failed_remove_leaves_the_host_as_it_was_with_clsact() {
    a_failed_remove_leaves_the_host_as_it_was(AttachKind::Clsact);
}

/// A real failure: a filter of another program is where eni-steer's filter of the last hook must
/// be.
#[test]
fn what_was_done_before_a_real_failure_is_undone() {
    let (lab, steer) = shared_host(AttachKind::Tcx);
    let _report = lab.on_failure_print();
    let add = ["filter", "add", "dev", "eth1", "egress", "prio", "229"];
    let filter = ["handle", "0x229", "bpf", "bytecode", "1,6 0 0 0"];
    run_ok(&lab.host, "tc", add.into_iter().chain(filter));
    let apply = ["apply", "--eni", "eth0", "--eni", "eth1", "--attach"];
    let clsact = [&apply[..], &["clsact"]].concat();
    let told = steer.refuses(&lab, &clsact, 1, &["step failed", "eth1 egress"]);
    let undone = told
        .split_once("; eni-steer undid the ")
        .and_then(|(_, rest)| rest.split(' ').next());
    let undone: usize = undone
        .and_then(|n| n.parse().ok())
        .expect("how many were undone");
    assert!(undone > 10, "{told}");
    assert!(told.contains("is occupied by a bpf filter"), "{told}");
    // Without that filter the same command succeeds.
    let del = ["filter", "del", "dev", "eth1", "egress", "prio", "229"];
    run_ok(&lab.host, "tc", del);
    steer.ok(&lab, &clsact);
}

/// A real failure: of many routes, or rules, in one request the kernel refuses one.
#[test]
fn what_was_done_beside_a_refused_request_is_undone() {
    let (lab, steer) = shared_host(AttachKind::Tcx);
    let _report = lab.on_failure_print();
    let rules_only = Policy {
        programs: false,
        ..policy(&["eth0", "eth1"])
    };
    let before = comparable(&steer.world(&lab));
    for (kind, sentence) in [
        ("route", "Nexthop has invalid gateway"),
        ("rule", "Invalid sport range"),
    ] {
        let (report, bad) = inside(&lab, || {
            let inside = Inside::look(&steer);
            let mut plan = Plan::between(&inside.desired(&rules_only), &inside.host);
            let at = plan.steps.iter().rposition(|step| match step {
                Step::Route { .. } => kind == "route",
                Step::Rule { change } => {
                    kind == "rule" && change.to.as_ref().is_some_and(|rule| rule.from.is_some())
                }
                _ => false,
            });
            let at = at.expect("there is such a step");
            let many = (0..200).map(|number| one_of_many(&plan.steps[at], number, number == 120));
            let many: Vec<Step> = many.collect();
            let bad = many[120].clone();
            plan.steps.splice(at..at, many);
            let host = LinuxExecutor::new(
                inside.netlink,
                inside.paths,
                &inside.host,
                &rules_only.sizes,
            );
            let mut host = host.expect("a host");
            (apply(&plan, &mut host), bad)
        });
        let (failed, error) = report.failed.expect("the kernel refuses one");
        assert_eq!(failed, bad);
        let error = error.to_string();
        assert!(error.contains(sentence), "{error}");
        assert!(error.contains("198.18.120."), "{error}");
        assert!(report.done.is_empty(), "{:?}", report.done);
        assert!(report.left.is_empty(), "{:?}", report.left);
        assert!(report.undone.len() > 120, "{}", report.undone.len());
        assert_unchanged(&before, &comparable(&steer.world(&lab)));
    }
}

/// Returns a route or rule like this one with another prefix, or one that the kernel refuses.
fn one_of_many(step: &Step, number: u8, bad: bool) -> Step {
    let net = |length| {
        format!("198.18.{number}.0/{length}")
            .parse()
            .expect("a prefix")
    };
    let mut step = step.clone();
    match &mut step {
        Step::Route { change } => {
            let route = change.to.as_mut().expect("it adds");
            route.destination = net(24);
            // A gateway that is not on any link.
            let gateway = bad.then(|| "203.0.113.1".parse().expect("an address"));
            let eni = route.hops[0].out;
            route.hops = vec![Hop::new(eni, gateway)];
            route.scope = if bad { 0 } else { 253 };
            (route.metric, route.source) = (0, None);
        }
        Step::Rule { change } => {
            let rule = change.to.as_mut().expect("it adds");
            rule.family = Family::V4;
            rule.from = Some(net(32));
            rule.sport = bad.then_some(PortRange { start: 9, end: 3 });
        }
        other => panic!("{other:?}"),
    }
    step
}

/// apply reads the host again afterwards, so it notices a step that was not done.
#[test]
fn a_step_that_was_not_done_is_seen_when_apply_looks_again() {
    let (lab, steer) = shared_host(AttachKind::Tcx);
    let _report = lab.on_failure_print();
    let rules_only = Policy {
        programs: false,
        ..policy(&["eth0", "eth1"])
    };
    // The others depend on earlier steps.
    let stands_alone = |step: &Step| match step {
        Step::Tunable { .. } | Step::Rule { .. } => true,
        Step::Route { change } => {
            let route = change.to.as_ref().expect("it adds");
            route.is_default()
        }
        _ => false,
    };
    let steps = inside(&lab, || {
        let inside = Inside::look(&steer);
        let desired = inside.desired(&rules_only);
        let plan = Plan::between(&desired, &inside.host);
        let alone: Vec<Step> = plan
            .steps
            .iter()
            .filter(|s| stands_alone(s))
            .cloned()
            .collect();
        for left_out in &alone {
            let mut rest = plan.clone();
            rest.steps.retain(|step| step != left_out);
            let Inside { netlink, paths, .. } = Inside::look(&steer);
            let host = LinuxExecutor::new(
                netlink.clone(),
                paths.clone(),
                &inside.host,
                &rules_only.sizes,
            );
            let mut host = host.expect("a host");
            let report = apply(&rest, &mut host);
            assert!(report.is_complete(), "{:?}", report.failed);
            let ours = desired.ownership.protocol;
            let now = observe_changes(&netlink, &paths, ours);
            let left = Plan::between(&desired, &now.expect("the host can be read"));
            assert_eq!(left.steps, std::slice::from_ref(left_out));
            let undo = apply(&rest.revert(), &mut host);
            assert!(undo.is_complete(), "{:?}", undo.failed);
        }
        alone.len()
    });
    assert!(steps > 8, "{steps}");
}
