//! Seeds of every test run, and that the simulator is what it says it is.

use super::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seeds of every test run; `make sim` runs more.
const SEEDS: u64 = 3_000;
/// A slow machine runs fewer of them, but never less than a hundredth.
const AT_MOST: Duration = Duration::from_secs(30);

#[test]
fn clusters_stay_safe_under_faults_and_recover_when_they_end() {
    let (next, bad, begun) = (AtomicU64::new(1), AtomicU64::new(u64::MAX), Instant::now());
    let (announced, reloads) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let late = begun.elapsed() > AT_MOST && seed > SEEDS / 100;
                    if seed >= SEEDS || late || bad.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    match run(&Schedule::of(seed)) {
                        Ok(stats) => {
                            announced.fetch_add(stats.announced, Ordering::Relaxed);
                            reloads.fetch_add(stats.reloads, Ordering::Relaxed);
                        }
                        Err(_) => _ = bad.fetch_min(seed, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    let done = next.into_inner().min(SEEDS);
    let bad = bad.into_inner();
    if bad != u64::MAX {
        let violation = run(&Schedule::of(bad)).expect_err("the same seed tells the same story");
        panic!("seed {bad}: {violation}\nagain: hafen sim replay {bad}");
    }
    let (announced, reloads) = (announced.into_inner(), reloads.into_inner());
    assert!(done < 50 || (announced > done / 4 && reloads > 0), "the simulation hardly announces or reloads anything");
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in [1, 77, 4_711] {
        let schedule = Schedule::of(seed);
        let text = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(text(tell(&schedule).0), text(tell(&schedule).0));
    }
}

/// Every situation is played, and its story is the one in its file; `UPDATE_EXPECT=1` writes it.
#[test]
fn every_script_tells_its_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    assert!(!files.is_empty());
    let wrong: Vec<String> = files.iter().filter_map(|file| plays_otherwise(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn plays_otherwise(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    match script::play(&text) {
        Ok(told) if told == text => None,
        Ok(told) if update => {
            std::fs::write(file, told).unwrap();
            None
        }
        Ok(told) => {
            let line = told.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or_default();
            let now = told.lines().nth(line).unwrap_or_default();
            Some(format!("{}:{}: now: {now}", file.display(), line + 1))
        }
        Err(why) => Some(format!("{}: {why}", file.display())),
    }
}

#[test]
fn a_script_whose_expectation_does_not_hold_says_what_is_so_instead() {
    let text = "# wrong\nnodes n1 n2 n3\nresources db\ndb rather on n1\nbegin\nexpect db on n2\n";
    let why = script::play(text).unwrap_err();
    assert!(why.starts_with("line 6: expect db on n2: db runs on [\"n1\"]"), "{why}");
}
