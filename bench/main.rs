//! `make bench-plan`: how long planning takes, from small clusters to large ones.
//!
//! Prints two tables. The first has `plan::assign` and `plan::order` by themselves over a range of resources and nodes, the
//! fastest of some rounds, with the time per pair of resource and node: where that stays level, nothing is quadratic. The
//! second has the whole command on a CIB file, beside `crm_simulate -R` on the same file where that is installed.
//!
//! `cib NODES RESOURCES` writes such a CIB; `one NODES RESOURCES` measures one size (each size in a process of its own, for
//! its peak memory); `loop NODES RESOURCES SECONDS` plans again and again, for a profiler.

mod cib;
mod cluster;
mod measure;

use cluster::{Cluster, cluster};
use hafen::plan::{assign, order};
use hafen::state::{Assignment, State};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Nodes and resources of the first table: first one grows, then the other, then both.
const SIZES: &[(usize, usize)] = &[
    (16, 100),
    (16, 200),
    (16, 500),
    (16, 1000),
    (16, 2000),
    (16, 5000),
    (16, 10_000),
    (4, 1000),
    (8, 1000),
    (32, 1000),
    (64, 1000),
    (4, 100),
    (32, 2000),
    (32, 5000),
    (64, 10_000),
];
/// Sizes at which the whole command is measured.
const WHOLE: &[(usize, usize)] = &[(8, 200), (16, 1000), (32, 2000)];
/// Rounds of one size: enough to find an undisturbed one, and no more than a moment.
const ROUNDS: usize = 15;
const LONG_ENOUGH: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| words.get(place).and_then(|word| word.parse::<usize>().ok());
    match (words.first().map(String::as_str), number(1), number(2), number(3)) {
        (None, ..) => table(),
        (Some("cib"), Some(nodes), Some(resources), _) => print!("{}", cib::cib(&cluster(nodes, resources))),
        (Some("one"), Some(nodes), Some(resources), _) => println!("{}", one(nodes, resources)),
        (Some("loop"), Some(nodes), Some(resources), Some(seconds)) => repeat(nodes, resources, seconds),
        (Some(_), ..) => {
            eprintln!("usage: plan_bench [cib NODES RESOURCES | one NODES RESOURCES | loop NODES RESOURCES SECONDS]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn table() {
    println!("load average {}", measure::load());
    println!(
        "{:>5} {:>9} {:>9} {:>6} {:>10} {:>10} {:>10} {:>12} {:>9}",
        "nodes", "resources", "instances", "steps", "assign ms", "order ms", "both ms", "ns per pair", "peak MiB"
    );
    for (nodes, resources) in SIZES {
        match measure::run_self(&["one", &nodes.to_string(), &resources.to_string()]) {
            Ok(line) => println!("{line}"),
            Err(why) => println!("{nodes:>5} {resources:>9} {why}"),
        }
    }
    println!();
    measure::whole(WHOLE);
}

/// One row of the first table.
fn one(nodes: usize, resources: usize) -> String {
    let Cluster { spec, state } = cluster(nodes, resources);
    let begun = Instant::now();
    let (mut assigning, mut ordering) = (Vec::new(), Vec::new());
    let mut steps = 0;
    while assigning.len() < ROUNDS && (assigning.len() < 3 || begun.elapsed() < LONG_ENOUGH) {
        let start = Instant::now();
        let assignment = assign(&spec, &state);
        assigning.push(start.elapsed());
        let mut committed = state.clone();
        commit(&mut committed, assignment.changes(&state));
        assert_eq!(assignment.fence.len(), 1, "the silent node is to be fenced");
        let start = Instant::now();
        let graph = order(&spec, &committed);
        ordering.push(start.elapsed());
        steps = graph.steps().count();
    }
    let (assigning, ordering) = (fastest(&assigning), fastest(&ordering));
    let both = assigning + ordering;
    let per_pair = both.as_nanos() as f64 / (nodes * resources) as f64;
    format!(
        "{nodes:>5} {resources:>9} {:>9} {steps:>6} {:>10.2} {:>10.2} {:>10.2} {per_pair:>12.0} {:>9.0}",
        state.assignment.len(),
        milliseconds(assigning),
        milliseconds(ordering),
        milliseconds(both),
        measure::peak_mib("self").unwrap_or(0.0)
    )
}

fn repeat(nodes: usize, resources: usize, seconds: usize) {
    let Cluster { spec, state } = cluster(nodes, resources);
    let mut committed = state.clone();
    commit(&mut committed, assign(&spec, &state).changes(&state));
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(seconds as u64) {
        std::hint::black_box((assign(&spec, &state), order(&spec, &committed)));
        rounds += 1;
    }
    println!("{rounds} rounds, {:.2} ms each", milliseconds(begun.elapsed()) / f64::from(rounds));
}

fn commit(state: &mut State, changes: Vec<hafen::state::AssignChange>) {
    for change in changes {
        match change.to {
            Some(to) => {
                let committed = Assignment { to, index: state.index, since_ms: state.now_ms };
                state.assignment.insert(change.instance, committed);
            }
            None => _ = state.assignment.remove(&change.instance),
        }
    }
}

/// The round that was least disturbed by whatever else the machine does.
fn fastest(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
