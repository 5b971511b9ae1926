//! Whole clusters of real nodes in a simulated world, one seed deciding everything.
//!
//! `sim` is the world: hosts, agents, log, heartbeats, fence devices. `faults` breaks it, `check` says what must hold in
//! it. A seed that fails tells its story and how to see it again.

mod check;
mod faults;
mod sim;

use sim::Sim;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seeds of every test run. More with `HAFEN_SIM_SEEDS`, one alone with `HAFEN_SIM_SEED`.
const SEEDS: u64 = 2_000;
/// A slow machine runs fewer of them, but never less than a hundredth.
const AT_MOST: Duration = Duration::from_secs(20);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn replay(seed: u64) {
    let mut sim = Sim::new(seed);
    sim.tell();
    let result = sim.run();
    let story = sim.story().join("\n");
    match result {
        Ok(()) => println!("{story}\nseed {seed}: nothing is wrong"),
        Err(why) => panic!(
            "{story}\nseed {seed}: {why}\nagain: HAFEN_SIM_SEED={seed} cargo test --lib reconcile::tests -- --nocapture"
        ),
    }
}

#[test]
fn clusters_stay_safe_under_faults_and_recover_when_they_end() {
    if let Some(seed) = number("HAFEN_SIM_SEED") {
        return replay(seed);
    }
    let first = number("HAFEN_SIM_FROM").unwrap_or(1);
    let wanted = number("HAFEN_SIM_SEEDS");
    let last = first + wanted.unwrap_or(SEEDS);
    let (next, bad, begun) = (AtomicU64::new(first), AtomicU64::new(u64::MAX), Instant::now());
    let (announced, reloads) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = wanted.is_none() && begun.elapsed() > AT_MOST && seed > first + SEEDS / 100;
                    if seed >= last || late || bad.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    let mut sim = Sim::new(seed);
                    let result = sim.run();
                    announced.fetch_add(sim.checks.announced, Ordering::Relaxed);
                    reloads.fetch_add(sim.checks.reloads, Ordering::Relaxed);
                    if result.is_err() {
                        bad.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let done = next.load(Ordering::Relaxed).min(last) - first;
    println!("{done} seeds, {:.0} a second", done as f64 / begun.elapsed().as_secs_f64());
    let (announced, reloads) = (announced.into_inner(), reloads.into_inner());
    println!("{announced} operations after a notice, {reloads} reloads");
    let bad = bad.load(Ordering::Relaxed);
    if bad != u64::MAX {
        replay(bad);
        panic!("seed {bad} failed, but not when it was told: the simulation is not deterministic");
    }
    assert!(done < 50 || (announced > done && reloads > 0), "the simulation hardly announces or reloads anything");
}
