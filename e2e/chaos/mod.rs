//! Chaos: a real cluster under everything at once, and an observer who believes none of it.
//!
//! Input → output: a seed, a number of nodes, a length → [`Report`]. `schedule` says which faults come when, `faults` does them to
//! the lab, `operator` pushes and commands meanwhile, `observer` looks at the truth.
//!
//! What is proved: (i) no limit is exceeded by what truly runs, at any moment; (ii) what was acknowledged to operators is there
//! at the end; and when the faults end, everything is healthy within [`RECOVERY`].
//!
//! The seed decides what is done and when; what comes of it depends on the machine's own timing, so a seed is a hint and not a
//! replay. On a violation the logs are kept, and named.

mod faults;
mod manifests;
mod observer;
mod operator;
mod schedule;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, VIP};
use crate::lab::{Lab, Node};
use faults::Faults;
use observer::{Observer, Seen};
use operator::{Answer, Operator};
use schedule::{Chance, schedule};

/// When the faults have ended everything is healthy within this: a boot, a fence with slow devices, and the agents' own time,
/// on a machine that does other things too.
const RECOVERY: Duration = Duration::from_secs(120);
/// Between two things that operators do.
const OPERATOR_PAUSE: Duration = Duration::from_secs(2);
/// Until the first push has everything running.
const FIRST: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(20);

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub seed: u64,
    pub nodes: usize,
    /// For how long faults come.
    pub length: Duration,
}

/// What came of a run.
pub struct Report {
    pub settings: Settings,
    /// None: everything held.
    pub violation: Option<String>,
    pub faults: BTreeMap<&'static str, usize>,
    pub seen: Seen,
    pub answers: BTreeMap<(&'static str, Answer), usize>,
    pub acknowledged: usize,
    /// From the end of the faults until all was healthy.
    pub recovered_after: Option<Duration>,
    /// Where logs are kept; only after a violation.
    pub kept: Option<PathBuf>,
}

/// Runs once. None where a lab cannot exist.
pub fn run(settings: Settings) -> Option<Report> {
    let lab = Lab::new(settings.nodes)?;
    faults::prepare(&lab);
    let cluster = Cluster::found_in(lab);
    let lab = &cluster.lab;
    lab.note(&format!("chaos {settings:?}"));
    let mut operator = Operator::new(settings.seed, settings.nodes);
    operator.push(lab, lab.node("n1"));
    lab.wait_until(FIRST, "all nodes vote", || {
        let voters = cluster.status("n1").and_then(|status| status["voters"].as_array().map(Vec::len));
        voters == Some(settings.nodes)
    });
    let shared = lab.shared().join("chaos");
    let observer = Observer::start(&shared, &manifests::locks(settings.nodes));
    let addresses = lab.watch_vip(VIP);
    let mut run = Run { settings, cluster: &cluster, observer: &observer, problem: None };
    run.wait_healthy(FIRST, "at first everything runs");
    let faults = run.rain(&mut operator);
    let recovered_after = run.recover(&mut operator);
    let mut problem = run.problem.take();
    let sightings = addresses.finish();
    if !sightings.overlap.is_zero() {
        problem.get_or_insert(format!("two nodes held {VIP} for {:?}", sightings.overlap));
    }
    let seen = observer.finish();
    let violation = seen.violations.first().cloned().or(problem);
    let kept = violation.as_ref().map(|why| keep(lab, settings, why, &seen));
    let (answers, acknowledged) = (operator.answers.clone(), operator.acknowledged());
    Some(Report { settings, violation, faults, seen, answers, acknowledged, recovered_after, kept })
}

struct SetOnDrop<'f>(&'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Run<'r> {
    settings: Settings,
    cluster: &'r Cluster,
    observer: &'r Observer,
    /// The first thing that went wrong and is no violation that the observer saw.
    problem: Option<String>,
}

impl Run<'_> {
    fn over(&self) -> bool {
        self.problem.is_some() || self.observer.violation().is_some()
    }

    /// Faults and operators until the time is up or something is wrong.
    fn rain(&mut self, operator: &mut Operator) -> BTreeMap<&'static str, usize> {
        let Settings { seed, nodes, length } = self.settings;
        let (lab, observer) = (&self.cluster.lab, self.observer);
        let planned = schedule(seed, nodes, manifests::SERVICES.len(), length);
        let mut counts = BTreeMap::new();
        if self.over() {
            return counts;
        }
        let done = AtomicBool::new(false);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let at_work = scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    operator.act(lab);
                    std::thread::sleep(OPERATOR_PAUSE);
                }
            });
            // However this ends, the operator goes home.
            let _end = SetOnDrop(&done);
            let mut faults = Faults::new(lab, observer);
            let mut next = planned.into_iter().peekable();
            while begin.elapsed() < length && observer.violation().is_none() {
                faults.end_those_due();
                while let Some(planned) = next.next_if(|planned| planned.at <= begin.elapsed()) {
                    *counts.entry(planned.fault.kind()).or_default() += 1;
                    faults.begin(planned.fault, planned.lasts);
                }
                std::thread::sleep(TICK);
            }
            done.store(true, Ordering::SeqCst);
            faults.end_all();
            if at_work.join().is_err() {
                lab.note("the operator panicked");
            }
        });
        counts
    }

    /// Everything works again: how long it takes until all is well, and whether all is there.
    fn recover(&mut self, operator: &mut Operator) -> Option<Duration> {
        if self.over() {
            return None;
        }
        let begin = Instant::now();
        let lab = &self.cluster.lab;
        // What is drained or left alone on purpose is no failure: it is looked for first, and ended then.
        let (name, status) =
            self.wait_for(RECOVERY, "a leader, and all nodes online", |run, status| run.all_online(status))?;
        let lost = operator.lost(lab, lab.node(&name), &status);
        if let Some(first) = lost.first() {
            self.problem = Some(format!("an acknowledged write is lost: {first}"));
            return None;
        }
        for node in lab.nodes() {
            node.sh(&format!("hafen undrain {}", node.name()));
        }
        for service in manifests::SERVICES {
            lab.node(&name)
                .sh(&format!("hafen maintenance off --resource {}; hafen move {} --clear", service.name, service.name));
        }
        lab.node(&name).sh("hafen cleanup --all");
        self.wait_healthy(RECOVERY.saturating_sub(begin.elapsed()), "after the faults everything runs again");
        (!self.over()).then(|| begin.elapsed())
    }

    fn wait_healthy(&mut self, limit: Duration, what: &str) {
        let observer = self.observer;
        let locks = manifests::locks(self.settings.nodes);
        self.wait_for(limit, what, |run, status| {
            let resources = status["resources"].as_array().cloned().unwrap_or_default();
            let kept = resources.iter().all(|one| one["verdict"]["verdict"] == "Keep");
            run.all_online(status)
                && kept
                && !resources.is_empty()
                && locks.iter().all(|lock| observer.holder(lock).is_some())
        });
    }

    fn all_online(&self, status: &Value) -> bool {
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let online = nodes.iter().filter(|node| node["membership"] == "Online").count();
        online == self.settings.nodes && !status["leader"].is_null()
    }

    /// Asks every node until `met` holds in the eyes of all; the last one and its status. Past the limit that is the problem.
    fn wait_for(
        &mut self,
        limit: Duration,
        what: &str,
        met: impl Fn(&Self, &Value) -> bool,
    ) -> Option<(String, Value)> {
        let begin = Instant::now();
        let mut last = Value::Null;
        while begin.elapsed() < limit && !self.over() {
            let nodes: Vec<Node<'_>> = self.cluster.lab.nodes();
            let statuses: Vec<Option<Value>> = nodes.iter().map(|node| self.cluster.status(node.name())).collect();
            if statuses.iter().all(|status| status.as_ref().is_some_and(|status| met(self, status))) {
                let name = nodes.last()?.name().to_owned();
                return Some((name, statuses.into_iter().flatten().last()?));
            }
            last = statuses.into_iter().flatten().next_back().unwrap_or(Value::Null);
            std::thread::sleep(Duration::from_millis(200));
        }
        if !self.over() {
            let held: Vec<String> = manifests::locks(self.settings.nodes)
                .into_iter()
                .filter(|lock| self.observer.holder(lock).is_none())
                .collect();
            self.problem = Some(format!("not within {limit:?}: {what}; nobody holds {held:?}"));
            self.cluster.lab.note(&format!("the last status: {last}"));
        }
        None
    }
}

/// Copies what tells the story to where it stays.
fn keep(lab: &Lab, settings: Settings, why: &str, seen: &Seen) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hafen-chaos.{}.{}", settings.seed, std::process::id()));
    let _ = std::fs::create_dir_all(&dir);
    let write = |name: &str, text: String| {
        let _ = std::fs::write(dir.join(name), text);
    };
    write("violation", format!("{why}\n"));
    write("records", seen.records.join("\n") + "\n");
    write("lab.log", lab.events().join("\n") + "\n");
    for node in lab.nodes() {
        write(&format!("{}.log", node.name()), node.logs());
        let events = node.sh("hafen events -n 5000; hafen status").stdout;
        write(&format!("{}.events", node.name()), events);
        // For `hafen plan --state` and the like.
        let _ = std::fs::create_dir_all(dir.join(node.name()));
        node.sh("hafen status --export /srv/shared/state.export");
        let _ = std::fs::copy(lab.shared().join("state.export"), dir.join(node.name()).join("state"));
    }
    dir
}

impl Report {
    /// Everything in lines for people.
    pub fn text(&self) -> String {
        let Settings { seed, nodes, length } = self.settings;
        let mut text = format!("chaos: {nodes} nodes, {} s, seed {seed}\n", length.as_secs());
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
        text += &format!("  faults      {} ({})\n", self.faults.values().sum::<usize>(), faults.join(", "));
        let count = |wanted| -> usize { self.answers.iter().filter(|((_, a), _)| *a == wanted).map(|(_, c)| c).sum() };
        let pushes = self.answers.get(&("push", Answer::Done)).copied().unwrap_or(0);
        text += &format!(
            "  operators   {} acknowledged ({pushes} pushes), {} refused, {} without an answer\n",
            self.acknowledged,
            count(Answer::Refused),
            count(Answer::Unknown)
        );
        let moved: usize = self.seen.failovers.values().sum();
        text += &format!("  services    {} starts, {moved} times on another node\n", self.seen.starts);
        if let Some((lock, outage)) = self.seen.longest_outage.iter().max_by_key(|(_, outage)| **outage) {
            text += &format!(
                "  outage      longest {:.1} s ({lock}; drains, maintenance and lost quorums included)\n",
                outage.as_secs_f64()
            );
        }
        if let Some(after) = self.recovered_after {
            text += &format!("  recovered   {:.1} s after the last fault\n", after.as_secs_f64());
        }
        match &self.violation {
            None => text += "  no limit exceeded, no acknowledged write lost\n",
            Some(violation) => text += &format!("  VIOLATION   {violation}\n"),
        }
        if let Some(kept) = &self.kept {
            text += &format!("  logs in {}; again: make chaos SEED={seed} NODES={nodes}\n", kept.display());
            text += &timeline(kept);
        }
        text
    }
}

/// The end of the story: what the lab did, with what the services wrote.
fn timeline(kept: &Path) -> String {
    const LINES: usize = 60;
    let text = std::fs::read_to_string(kept.join("lab.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("operator at")).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("    {line}\n")).collect()
}

/// A seed that was not used before.
#[allow(dead_code, reason = "the test has its own")]
pub fn fresh_seed() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Chance::new(since_1970.as_nanos() as u64).next() % 1_000_000
}
