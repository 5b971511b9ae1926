//! Situations written as prose, run on a simulated cluster, with what happened told between the lines.
//!
//! A script begins with a comment that says what is shown. A line is a sentence: of the cluster (`setup`), of what
//! happens or is done (`act`), or of what must be true (`expect`). Indented lines are the story, written by a run:
//! rewritten with `UPDATE_EXPECT=1`, and read by a human before they are committed.
//!
//! ```text
//! # a lost node is fenced before its service starts elsewhere
//! nodes n1 n2 n3
//! resources db
//! db rather on n1
//! begin
//! expect db on n1
//! n1 loses its power
//! within 8 s expect db on n2 or n3
//! ```
//! All checkers watch every script. One script is one seed: the same story every time.

mod act;
mod expect;
mod setup;

use super::build::Builder;
use super::schedule::{Schedule, operations_of};
use super::world::{Sim, Weight};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A cluster is given this long to get where it wants to be, ms.
const SETTLES: u64 = 400_000;
/// How finely `within` looks, ms.
const LOOK: u64 = 50;

/// What a script is at: its cluster is described, then it runs.
pub(super) struct Stage {
    builder: Builder,
    sim: Option<Sim>,
    /// Lines of the story that were shown.
    shown: usize,
    /// When the last thing was done: times are told from there.
    since: u64,
    /// Hosts that are not switched on at the beginning.
    off: Vec<String>,
    /// How often each thing had been started when a script last asked to remember it.
    pub(super) remembered: Remembered,
}

#[derive(Default, Clone)]
pub(super) struct Remembered {
    pub starts: u64,
    pub fences: u64,
}

/// Runs a script. The same text with the story in it, or which line is wrong, and why.
pub fn play(text: &str) -> Result<String, String> {
    let mut stage = Stage::new();
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("  ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        let sentence = line.split_once(" #").map_or(line, |(sentence, _)| sentence).trim();
        if sentence.is_empty() || sentence.starts_with('#') {
            continue;
        }
        let result = stage.say(sentence);
        stage.show(&mut out);
        if let Err(why) = result {
            return Err(format!("line {}: {sentence}: {why}\n\n{out}", number + 1));
        }
    }
    Ok(out)
}

impl Stage {
    fn new() -> Self {
        let mut builder = Builder::new(&[]);
        builder.spec.cluster.fencing.timeout = std::time::Duration::from_secs(20);
        Self { builder, sim: None, shown: 0, since: 0, off: Vec::new(), remembered: Remembered::default() }
    }

    fn say(&mut self, sentence: &str) -> Result<(), String> {
        let words: Vec<&str> = sentence.split_whitespace().collect();
        match words.as_slice() {
            ["begin"] => self.begin(),
            ["begin", "cold"] => self.raise(),
            ["git:", rest @ ..] => {
                // `git: a only on n1 ; b only on n2`: one push.
                for sentence in rest.split(|word| *word == ";") {
                    self.describe(sentence)?;
                }
                self.finish();
                let spec = self.builder.spec.clone();
                let sim = self.running()?;
                sim.spec = spec;
                sim.push();
                self.since = self.now();
                Ok(())
            }
            ["within", number, "s", "expect", rest @ ..] => self.within(number, rest),
            ["expect", rest @ ..] => match expect::holds(self, rest)? {
                None => Ok(()),
                Some(why) => Err(why),
            },
            _ if self.sim.is_none() => self.describe(&words),
            _ => {
                self.since = self.now();
                act::act(self, &words)
            }
        }
    }

    /// The simulated cluster.
    pub(super) fn running(&mut self) -> Result<&mut Sim, String> {
        self.sim.as_mut().ok_or_else(|| "the cluster has not begun".to_owned())
    }

    pub(super) fn now(&self) -> u64 {
        self.sim.as_ref().map_or(0, |sim| sim.now)
    }

    fn describe(&mut self, words: &[&str]) -> Result<(), String> {
        if let ["off", nodes @ ..] = words {
            self.off.extend(nodes.iter().map(|node| (*node).to_owned()));
            return Ok(());
        }
        setup::describe(&mut self.builder, words)
    }

    fn finish(&mut self) {
        for (rank, resource) in self.builder.spec.resources.values_mut().enumerate() {
            let kept: BTreeMap<_, _> = resource.operations.iter().map(|(name, op)| (*name, op.on_fail)).collect();
            operations_of(resource);
            for (name, on_fail) in kept {
                if let Some(operation) = resource.operations.get_mut(&name) {
                    operation.on_fail = on_fail;
                }
            }
            resource.rank = rank as u32;
        }
    }

    /// Switches the machines on.
    fn raise(&mut self) -> Result<(), String> {
        self.finish();
        let schedule = Schedule {
            seed: 1,
            cluster: 1,
            early: false,
            spec: self.builder.spec.clone(),
            levels: BTreeMap::new(),
            faults: Vec::new(),
        };
        let mut sim = Sim::new(&schedule);
        for name in &self.off {
            let host = host(&sim, name)?;
            sim.hosts[host].stays_off = true;
        }
        sim.tell();
        self.sim = Some(sim);
        Ok(())
    }

    /// The same, and waits until everything runs where it is to run. That story is not shown.
    fn begin(&mut self) -> Result<(), String> {
        self.raise()?;
        let settled = self.settle();
        if settled.is_ok() {
            self.shown = self.running()?.story().len();
        }
        settled
    }

    /// Runs until nothing is left to do, and for a moment longer.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let sim = self.running()?;
        let until = sim.now + SETTLES;
        let mut quiet = 0;
        sim.run_until(sim.now + 1_500).map_err(|violation| violation.to_string())?;
        while quiet < 4 {
            sim.run_until(sim.now + 250).map_err(|violation| violation.to_string())?;
            let left = sim.unsettled();
            quiet = if left.is_none() { quiet + 1 } else { 0 };
            if let Some(left) = left.filter(|_| sim.now > until) {
                return Err(format!("it does not come to rest: {left}"));
            }
        }
        Ok(())
    }

    fn within(&mut self, number: &str, words: &[&str]) -> Result<(), String> {
        let begun = self.now();
        let seconds: f64 = number.parse().map_err(|_| format!("`{number}` is no number of seconds"))?;
        let until = self.since + (seconds * 1_000.0) as u64;
        loop {
            let Some(why) = expect::holds(self, words)? else { return Ok(()) };
            let sim = self.running()?;
            if sim.now >= until {
                return Err(format!("{why}, {} s after it began", (sim.now - begun) as f64 / 1_000.0));
            }
            sim.run_until(sim.now + LOOK).map_err(|violation| violation.to_string())?;
        }
    }

    /// What happened since.
    fn show(&mut self, out: &mut String) {
        let Some(sim) = &self.sim else { return };
        for line in &sim.story()[self.shown..] {
            if line.weight == Weight::Told {
                let at = line.at.saturating_sub(self.since) as f64 / 1_000.0;
                writeln!(out, "  {at:>6.1} s  {}", line.text.trim_start_matches("-- ")).expect("a string takes it");
            }
        }
        self.shown = sim.story().len();
    }
}

/// A host by its name.
pub(super) fn host(sim: &Sim, name: &str) -> Result<usize, String> {
    let known = || sim.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = sim.hosts.iter().position(|host| host.name.as_str() == name);
    found.ok_or_else(|| format!("no node `{name}`, only {}", known()))
}

/// `3`, `0.5`: seconds as ms.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    text.parse::<f64>().map(|s| (s * 1_000.0) as u64).map_err(|_| format!("`{text}` is no number of seconds"))
}
