//! `make bench-plan`: how long planning takes, from small clusters to large ones.
//!
//! Prints two tables. The first has `plan::assign` and `plan::order` by themselves over a range of resources and nodes, the
//! fastest of some rounds, with the time per pair of resource and node: where that stays level, nothing is quadratic. The
//! second has the whole command on a CIB file, beside `crm_simulate -R` on the same file where that is installed.
//!
//! `cib NODES RESOURCES` writes such a CIB; `one NODES RESOURCES` measures one size (each size in a process of its own, for
//! its peak memory); `loop NODES RESOURCES SECONDS` plans again and again, for a profiler; `survive NODES RESOURCES LOSSES`
//! tries every loss (the bar: 32 nodes, 500 resources, 2 lost within 10 s on two cores).

mod cib;
mod cluster;
mod measure;

use cluster::{Cluster, cluster};
use hafen::plan::{assign, order};
use hafen::whatif;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        (Some("survive"), Some(nodes), Some(resources), Some(losses)) => {
            println!("{}", survive(nodes, resources, losses))
        }
        (Some(_), ..) => {
            eprintln!(
                "usage: plan_bench [cib NODES RESOURCES | one NODES RESOURCES | loop NODES RESOURCES SECONDS | \
                 survive NODES RESOURCES LOSSES]"
            );
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
        assignment.commit(&mut committed);
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

/// Every loss of so many, on all cores.
fn survive(nodes: usize, resources: usize, losses: usize) -> String {
    let Cluster { spec, .. } = cluster(nodes, resources);
    let begun = Instant::now();
    let state = whatif::healthy(&spec);
    let placed = begun.elapsed();
    let begun = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let on_all_cores = |jobs: usize, job: &(dyn Fn(usize) + Sync)| {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    loop {
                        match next.fetch_add(1, Ordering::Relaxed) {
                            at if at < jobs => job(at),
                            _ => return,
                        }
                    }
                });
            }
        });
    };
    match whatif::survey(&spec, &state, &whatif::Terms::any(losses), &on_all_cores) {
        Ok(told) => format!(
            "{nodes} nodes, {resources} resources, {losses} lost: {} losses, {} planned, {} told; a healthy cluster {:.2} s, \
             the losses {:.2} s on {cores} cores",
            told.losses,
            told.tried,
            told.found.len() + told.without_quorum.len(),
            placed.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        ),
        Err(error) => error.to_string(),
    }
}

fn repeat(nodes: usize, resources: usize, seconds: usize) {
    let Cluster { spec, state } = cluster(nodes, resources);
    let mut committed = state.clone();
    assign(&spec, &state).commit(&mut committed);
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(seconds as u64) {
        std::hint::black_box((assign(&spec, &state), order(&spec, &committed)));
        rounds += 1;
    }
    println!("{rounds} rounds, {:.2} ms each", milliseconds(begun.elapsed()) / f64::from(rounds));
}

/// The round that was least disturbed by whatever else the machine does.
fn fastest(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
