//! `make chaos`: real clusters under every fault that a machine of namespaces can have, for as long as one likes.
//!
//! Runs of fresh seeds, one behind the other, with 3 and 5 nodes in turn, until the time is up; stops at the first violation.

mod chaos;
#[allow(dead_code)]
mod cluster;
mod lab;

use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: chaos [--minutes N] [--seed N] [--nodes 3|5]    (as root)";
/// Length of one run: long enough for what comes of what came before, short enough that its logs can be read.
const ONE_RUN: Duration = Duration::from_secs(15 * 60);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match act(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn act(args: &[String]) -> Result<ExitCode, String> {
    let (mut minutes, mut seed, mut nodes) = (15.0, None, None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let bad = |_| format!("`{value}` is no number");
        match word.as_str() {
            "--minutes" => minutes = value.parse::<f64>().map_err(|_| format!("`{value}` is no number"))?,
            "--seed" => seed = Some(value.parse::<u64>().map_err(bad)?),
            "--nodes" => nodes = Some(value.parse::<usize>().map_err(bad)?),
            _ => return Err(format!("unknown option `{word}`")),
        }
    }
    if let Some(wrong) = nodes.filter(|nodes| !(2..=lab::NODES_MAX).contains(nodes)) {
        return Err(format!("{wrong} nodes: 2 to {} can be had", lab::NODES_MAX));
    }
    let total = Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    for number in 0.. {
        let left = total.saturating_sub(begin.elapsed());
        if number > 0 && left < Duration::from_secs(60) {
            break;
        }
        let nodes = nodes.unwrap_or(if number % 2 == 0 { 3 } else { 5 });
        let seed = seed.map_or_else(chaos::fresh_seed, |seed| seed + number);
        eprintln!("seed {seed}, {nodes} nodes …");
        let settings = chaos::Settings { seed, nodes, length: ONE_RUN.min(left) };
        let report = chaos::run(settings).ok_or("no lab can be made here")?;
        print!("{}", report.text());
        if report.violation.is_some() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
