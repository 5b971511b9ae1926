//! `hafen sim`: simulated clusters, for who changes hafen and for who wants to see what it promises.

use super::error::{CliError, Exit};
use crate::sim::{self, Schedule, Verdict, Weight};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Simulated clusters under faults: replay a seed, run many, play a script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen sim replay 4711                the story of one seed
  hafen sim replay 4711 --only 2,5     with these of its faults alone
  hafen sim run --seeds 10000          seeds 1 to 10000, on all processors
  hafen sim script FILE                a situation written as prose")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Tell the story of a seed; where it breaks a promise, also which of its faults that takes
    Replay {
        seed: u64,
        /// Only these faults of the schedule, counted from 0
        #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
        only: Option<Vec<usize>>,
        /// Every proposal, probe and refusal, too
        #[arg(short, long)]
        verbose: bool,
    },
    /// Run many seeds; the first that breaks a promise is shrunk and told
    Run {
        /// How many
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first one: what was run before need not be run again
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Threads; as many as there are processors if not given
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Look for every fault that is planted in the code, and say who found it
    #[cfg(feature = "mutants")]
    Mutants {
        /// Seeds to look among
        #[arg(long, default_value_t = sim::mutants::WITHIN)]
        seeds: u64,
    },
    /// Play scripts, and print them with what happens
    Script {
        /// Files, as those in src/sim/cases
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    match &args.what {
        What::Replay { seed, only, verbose } => replay(*seed, only.as_deref(), *verbose),
        What::Run { seeds, from, jobs } => many(*seeds, *from, *jobs),
        What::Script { files } => script(files),
        #[cfg(feature = "mutants")]
        What::Mutants { seeds } => mutants(*seeds),
    }
}

fn replay(seed: u64, only: Option<&[usize]>, verbose: bool) -> Result<Exit, CliError> {
    let whole = Schedule::of(seed);
    let schedule = only.map_or_else(|| whole.clone(), |kept| whole.keeping(kept));
    let mut text = String::new();
    let head = format!("seed {seed}: {} nodes, {} faults\n", whole.spec.nodes.len(), whole.faults.len());
    text.push_str(&head);
    for (number, planned) in whole.faults.iter().enumerate() {
        let left_out = if only.is_some_and(|kept| !kept.contains(&number)) { "  (left out)" } else { "" };
        let at = planned.at as f64 / 1_000.0;
        text.push_str(&format!("  {number}: at {at:.1} s {}{left_out}\n", planned.fault));
    }
    let (lines, verdict) = sim::tell(&schedule);
    let least = if verbose { Weight::Detail } else { Weight::Aside };
    for line in lines.iter().filter(|line| line.weight >= least) {
        let aside = if line.weight == Weight::Told { "" } else { "    " };
        text.push_str(&format!("{:>8.3} s  {aside}{}\n", line.at as f64 / 1_000.0, line.text));
    }
    super::render::print(&text)?;
    Ok(match verdict {
        Ok(stats) => {
            eprintln!("nothing is broken: {} entries, {} s simulated", stats.entries, stats.simulated_ms / 1_000);
            Exit::Ok
        }
        Err(violation) => {
            eprintln!("{violation}");
            if only.is_none() {
                tell_shrunk(&schedule, &violation);
            }
            Exit::No
        }
    })
}

fn tell_shrunk(schedule: &Schedule, violation: &sim::Violation) {
    let kept = sim::shrink(schedule, violation.invariant);
    let only: Vec<String> = kept.iter().map(ToString::to_string).collect();
    eprintln!("{} of its {} faults do the same:", kept.len(), schedule.faults.len());
    eprintln!("  hafen sim replay {} --only {}", schedule.seed, only.join(","));
}

fn many(seeds: u64, from: u64, jobs: Option<usize>) -> Result<Exit, CliError> {
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1);
    let end = from.saturating_add(seeds);
    let (next, done, bad) = (AtomicU64::new(from), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let (faults, entries, fences) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while bad.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    match outcome(seed) {
                        Ok(stats) => {
                            faults.fetch_add(stats.faults, Ordering::Relaxed);
                            entries.fetch_add(stats.entries, Ordering::Relaxed);
                            fences.fetch_add(stats.fences, Ordering::Relaxed);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => _ = bad.fetch_min(seed, Ordering::Relaxed),
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut told = Instant::now();
            while next.load(Ordering::Relaxed) < end && bad.load(Ordering::Relaxed) == u64::MAX {
                std::thread::sleep(Duration::from_millis(100));
                if told.elapsed() >= Duration::from_secs(10) {
                    told = Instant::now();
                    let done = done.load(Ordering::Relaxed);
                    let rate = done as f64 / begun.elapsed().as_secs_f64();
                    eprintln!("{done} of {seeds} seeds, {rate:.0} a second");
                }
            }
        });
    });
    let seconds = begun.elapsed().as_secs_f64();
    let done = done.into_inner();
    let text = format!(
        "{done} schedules from seed {from} in {seconds:.0} s ({:.0} a second and thread): {} faults, {} entries, {} \
         fencing attempts\n",
        done as f64 / seconds / jobs as f64,
        faults.into_inner(),
        entries.into_inner(),
        fences.into_inner()
    );
    super::render::print(&text)?;
    let bad = bad.into_inner();
    if bad == u64::MAX {
        return Ok(Exit::Ok);
    }
    let schedule = Schedule::of(bad);
    match outcome(bad) {
        Ok(_) => eprintln!("seed {bad} failed, but not again: the simulation is not deterministic"),
        Err(Some(violation)) => {
            eprintln!("seed {bad}: {violation}");
            tell_shrunk(&schedule, &violation);
        }
        Err(None) => eprintln!("seed {bad} panicked: hafen sim replay {bad}"),
    }
    Ok(Exit::No)
}

/// What becomes of a seed; `Err(None)`: the code panicked.
fn outcome(seed: u64) -> Result<sim::Stats, Option<sim::Violation>> {
    let verdict: std::thread::Result<Verdict> = std::panic::catch_unwind(|| sim::run(&Schedule::of(seed)));
    verdict.map_err(|_| None)?.map_err(Some)
}

fn script(files: &[PathBuf]) -> Result<Exit, CliError> {
    let mut exit = Exit::Ok;
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::usage(format!("cannot read {}: {error}", file.display())))?;
        match sim::script::play(&text) {
            Ok(told) => super::render::print(&told)?,
            Err(why) => {
                eprintln!("{}: {why}", file.display());
                exit = Exit::No;
            }
        }
    }
    Ok(exit)
}

/// The code as it is passes the seeds; a planted fault that the right checker does not find among them is a hole in the
/// checkers.
#[cfg(feature = "mutants")]
fn mutants(seeds: u64) -> Result<Exit, CliError> {
    let mut exit = many(seeds, 1, None)?;
    if exit != Exit::Ok {
        return Ok(exit);
    }
    for (fault, expected) in sim::mutants::FOUND_BY {
        let line = match sim::mutants::look_for(*fault, expected, seeds) {
            Some(found) if found.right => format!("{fault:?}: seed {}, {}", found.seed, found.invariant),
            Some(found) => {
                exit = Exit::No;
                format!(
                    "{fault:?}: seed {}, but {} and none of {expected:?}: {}",
                    found.seed, found.invariant, found.what
                )
            }
            None => {
                exit = Exit::No;
                format!("{fault:?}: NOT FOUND within {seeds} seeds")
            }
        };
        super::render::print(&(line + "\n"))?;
    }
    Ok(exit)
}
