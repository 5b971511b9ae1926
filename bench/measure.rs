//! Times and peak memory of processes.

use super::{cib::cib, cluster::cluster};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run of crm_simulate that takes longer is ended: the table says so.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a running process is asked for its peak memory; the last answer counts.
const GLANCE: Duration = Duration::from_millis(1);

pub struct Run {
    pub wall: Duration,
    pub peak_mib: f64,
    pub end: End,
}

#[derive(PartialEq, Eq)]
pub enum End {
    Well,
    Failed,
    OutOfPatience,
}

/// The highest memory of a process so far, in MiB.
pub fn peak_mib(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The machine's load average.
pub fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// This program with other words; its output.
pub fn run_self(words: &[&str]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).args(words).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()),
    }
}

/// The second table: whole commands, files read included.
pub fn whole(sizes: &[(usize, usize)]) {
    println!("load average {}", load());
    println!(
        "{:>5} {:>9} {:>7} {:>10} {:>9} {:>15} {:>9} {:>8}",
        "nodes", "resources", "CIB MB", "hafen ms", "peak MiB", "crm_simulate ms", "peak MiB", "ratio"
    );
    for (nodes, resources) in sizes {
        let text = cib(&cluster(*nodes, *resources));
        let file = std::env::temp_dir().join(format!("hafen-bench-{}-{nodes}x{resources}.xml", std::process::id()));
        if let Err(error) = std::fs::write(&file, &text) {
            println!("failed to write `{}`: {error}", file.display());
            return;
        }
        let ours = hafen().and_then(|hafen| best(5, || planner(&hafen, &file)));
        let theirs = best(if resources * nodes > 20_000 { 1 } else { 3 }, || simulator(&file));
        _ = std::fs::remove_file(&file);
        let ratio = match (&ours, &theirs) {
            (Some(ours), Some(theirs)) if ours.end == End::Well && theirs.end == End::Well => {
                format!("{:.0}", theirs.wall.as_secs_f64() / ours.wall.as_secs_f64())
            }
            (Some(_) | None, Some(_) | None) => "-".into(),
        };
        println!(
            "{nodes:>5} {resources:>9} {:>7.1} {}      {} {ratio:>8}",
            text.len() as f64 / 1e6,
            cells(ours.as_ref()),
            cells(theirs.as_ref())
        );
    }
}

fn cells(run: Option<&Run>) -> String {
    match run {
        None => format!("{:>10} {:>9}", "-", "-"),
        Some(Run { end: End::Failed, .. }) => format!("{:>10} {:>9}", "failed", "-"),
        Some(Run { end: End::OutOfPatience, .. }) => format!("{:>10} {:>9}", "too long", "-"),
        Some(run) => format!("{:>10.1} {:>9.0}", run.wall.as_secs_f64() * 1000.0, run.peak_mib),
    }
}

fn hafen() -> Option<PathBuf> {
    // This program lies in `examples` beside it.
    let program = std::env::current_exe().ok()?.parent()?.parent()?.join("hafen");
    program.exists().then_some(program)
}

fn planner(hafen: &Path, file: &Path) -> Option<Run> {
    let mut command = Command::new(hafen);
    run(command.args(["plan", "-o", "transition", "--cib"]).arg(file))
}

/// None: not installed.
fn simulator(file: &Path) -> Option<Run> {
    let mut command = Command::new("crm_simulate");
    run(command.arg("-x").arg(file).arg("-R").env("LC_ALL", "C").env("CIB_shadow_dir", std::env::temp_dir()))
}

/// The fastest of some runs.
fn best(runs: usize, mut run: impl FnMut() -> Option<Run>) -> Option<Run> {
    (0..runs).filter_map(|_| run()).min_by_key(|run| run.wall)
}

/// None: it could not be started.
fn run(command: &mut Command) -> Option<Run> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let process = child.id().to_string();
    let mut peak = 0.0;
    let mut patient = true;
    loop {
        peak = peak_mib(&process).unwrap_or(peak);
        match child.try_wait() {
            Ok(Some(status)) => {
                let end = match (patient, status.success()) {
                    (false, _) => End::OutOfPatience,
                    (true, true) => End::Well,
                    (true, false) => End::Failed,
                };
                return Some(Run { wall: begun.elapsed(), peak_mib: peak, end });
            }
            Ok(None) if begun.elapsed() > PATIENCE => {
                patient = false;
                _ = child.kill();
            }
            Ok(None) => std::thread::sleep(GLANCE),
            Err(_) => return None,
        }
    }
}
