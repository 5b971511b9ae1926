//! `--survive K`: every loss of K things.
//!
//! Input → output: a cluster and what may be lost → the losses that it does not survive, as text or JSON. All cores plan;
//! on a terminal a bar on stderr says how far they are.

use super::{text, view};
use crate::api::types::{LossView, SurvivalView};
use crate::cli::error::{CliError, Kind};
use crate::cli::render;
use crate::model::Spec;
use crate::state::State;
use crate::whatif::{self, Among, Part, Survival, Terms};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// More than every core that a machine of today has helps nobody.
const MOST_THREADS: usize = 64;
/// The bar is drawn no more often.
const DRAW_EVERY: Duration = Duration::from_millis(100);
const BAR_WIDTH: usize = 30;
/// Losses that come to the same, named in text.
const MOST_NAMED: usize = 8;

#[derive(Debug, Clone, Default, clap::Args)]
pub struct SurviveArgs {
    /// Instead of faults by hand: try every loss of up to so many nodes, racks, links and fencing devices at once
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=8),
          conflicts_with_all = ["node_down", "fail", "device_down", "link_down"])]
    pub survive: Option<u8>,
    /// With `--survive`: only losses of these kinds
    #[arg(long, value_enum, value_delimiter = ',', requires = "survive", value_name = "KIND")]
    pub among: Vec<Lost>,
    /// With `--survive`: the label of nodes that names their rack
    #[arg(long, default_value = "rack", value_name = "LABEL")]
    pub rack_label: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Lost {
    Nodes,
    /// All nodes with one value of the label
    Racks,
    /// The network of the addresses with one number
    Links,
    Devices,
}

impl SurviveArgs {
    pub fn terms(&self) -> Option<Terms> {
        let mut terms = Terms::any(usize::from(self.survive?));
        terms.rack_label.clone_from(&self.rack_label);
        if !self.among.is_empty() {
            let kind = |lost: &Lost| match lost {
                Lost::Nodes => Among::Nodes,
                Lost::Racks => Among::Racks,
                Lost::Links => Among::Links,
                Lost::Devices => Among::Devices,
            };
            terms.among = self.among.iter().map(kind).collect();
        }
        Some(terms)
    }
}

/// Tries every loss.
pub fn survey(spec: &Spec, state: &State, terms: &Terms) -> Result<SurvivalView, CliError> {
    let told = whatif::survey(spec, state, terms, &on_all_cores).map_err(|error| {
        CliError::new(Kind::CouldNotTell, error.to_string())
            .hint("take fewer at once, or only some kinds: `--among nodes`")
    })?;
    Ok(survival(spec, terms, &told))
}

/// Runs jobs on every core.
pub fn on_all_cores(jobs: usize, job: &(dyn Fn(usize) + Sync)) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(jobs.max(1));
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let bar = std::io::stderr().is_terminal().then(|| Mutex::new(Instant::now()));
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= jobs {
            return;
        }
        job(at);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(Ok(mut drawn)) = bar.as_ref().map(Mutex::try_lock)
            && drawn.elapsed() >= DRAW_EVERY
        {
            *drawn = Instant::now();
            // Without stderr nobody waits for the bar.
            let _ = write!(std::io::stderr(), "\r{}", draw(done, jobs));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..cores {
            scope.spawn(work);
        }
        work();
    });
    if bar.is_some() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

fn draw(done: usize, jobs: usize) -> String {
    let full = done * BAR_WIDTH / jobs.max(1);
    format!("[{}{}] {done} of {jobs} tried", "#".repeat(full), "-".repeat(BAR_WIDTH - full))
}

fn survival(spec: &Spec, terms: &Terms, told: &Survival) -> SurvivalView {
    let words = |parts: &Vec<Part>| parts.iter().map(ToString::to_string).collect::<Vec<String>>();
    let homeless = |all: &[whatif::Homeless]| all.iter().map(|one| view::homeless_view(spec, one)).collect();
    SurvivalView {
        survive: terms.losses as u32,
        survives: told.survives(),
        losses: told.losses,
        tried: told.tried,
        homeless_before: homeless(&told.before),
        without_quorum: told
            .without_quorum
            .iter()
            .map(|lost| LossView { lost: words(lost), same: Vec::new(), homeless: Vec::new() })
            .collect(),
        found: told
            .found
            .iter()
            .map(|found| LossView {
                lost: words(&found.lost),
                same: found.same.iter().map(words).collect(),
                homeless: homeless(&found.homeless),
            })
            .collect(),
        ..SurvivalView::default()
    }
}

/// For people.
pub fn picture(view: &SurvivalView) -> String {
    let mut text = String::new();
    if !view.homeless_before.is_empty() {
        text += &format!(
            "{}\n{}\n",
            render::warn("no home, although nothing is lost"),
            text::homeless(&view.homeless_before, "  ")
        );
    }
    if !view.without_quorum.is_empty() {
        text += &format!("{}\n", render::bad("no quorum without"));
        view.without_quorum.iter().for_each(|loss| text += &format!("  {}\n", loss.lost.join(", ")));
        text.push('\n');
    }
    for found in &view.found {
        text += &format!("{} {}\n", render::bad("no home without"), render::strong(&found.lost.join(", ")));
        if !found.same.is_empty() {
            let named: Vec<String> = found.same.iter().take(MOST_NAMED).map(|lost| lost.join(", ")).collect();
            let more = found.same.len().saturating_sub(MOST_NAMED);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            text += &format!("  {}\n", render::faint(&format!("the same without: {}{more}", named.join("; "))));
        }
        text += &text::homeless(&found.homeless, "  ");
        text.push('\n');
    }
    let what = match view.survive {
        1 => "any single loss".to_owned(),
        many => format!("any loss of {many}"),
    };
    text += &match view.survives {
        true => render::good(&format!("survives {what}")),
        false => render::bad(&format!("does not survive {what}")),
    };
    let losses = text::count(view.losses as usize, "loss", "losses");
    text += &render::faint(&format!("  ({losses}, {} planned for; the others come to the same)\n", view.tried));
    text
}
