//! `hafen simulate`: what if. What becomes of a cluster when things fail, without one.
//!
//! Input → output: manifests, a state or the healthy one, and what fails → the story and its end, on stdout as text or
//! JSON. Exit codes: 0 everything keeps its home; 1 something loses it, or the quorum is lost; 2 something cannot be read.
//!
//! What happens is decided by `whatif`; here it is only asked for and shown. Not to be confused with `hafen sim`, which
//! tries hafen itself.

mod faults;
mod manifests;
mod outages;
mod suite;
mod survive;
#[cfg(test)]
mod tests;
mod text;
mod view;

pub use survive::on_all_cores;

use super::error::{CliError, Exit};
use super::offline::{Elsewhere, Lines};
use super::render;
use crate::model::Spec;
use crate::state::State;
use crate::whatif::{self, Play};
use std::path::{Path, PathBuf};

/// Show what would become of a cluster when things fail
///
/// Without `--state` every node is there at first, everything runs where it should, and agents and devices do what they are
/// asked. What happens is worked out by the planner that the cluster itself would ask; nothing is touched. Exits 0 if
/// everything keeps a home (or ends as expected), 1 if not or if the quorum is lost, 2 if something cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen simulate --node-down n1
  hafen simulate manifests/ --node-down n1 --device-down pdu-n1
  hafen simulate --fail db:monitor@n1 --state state.json
  hafen simulate --link-down 0 -o json
  hafen simulate --survive 2
  hafen simulate --survive 1 --among nodes,racks --rack-label room
  hafen simulate --suite scenarios/ -o junit > scenarios.xml
  hafen simulate --outages")]
pub struct Args {
    /// A folder of manifests, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    faults: faults::FaultArgs,
    #[command(flatten)]
    survive: survive::SurviveArgs,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Instead of faults by hand: try every Scenario below this folder, and compare how it ends with what it expects
    #[arg(long, value_name = "DIR", conflicts_with_all = ["survive", "node_down", "fail", "device_down", "link_down"])]
    suite: Option<PathBuf>,
    /// Instead of faults by hand: how long every service is down at worst, when it fails or its node is lost
    #[arg(long, conflicts_with_all = ["suite", "survive", "node_down", "fail", "device_down", "link_down"])]
    outages: bool,
    /// Form of the result
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people
    Text,
    /// The API's own document
    Json,
    /// With `--suite`: a JUnit report, a test case for each scenario
    Junit,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    if args.output == Form::Junit && args.suite.is_none() {
        return Err(CliError::usage("`-o junit` needs `--suite`"));
    }
    if let Some(folder) = &args.suite {
        return suite(args, folder);
    }
    if args.outages {
        return outages(args);
    }
    let (spec, state) = read(args)?;
    if let Some(terms) = args.survive.terms() {
        let view = survive::survey(&spec, &state, &terms)?;
        print(args, &view, || survive::picture(&view))?;
        return Ok(yes(view.survives));
    }
    let faults = args.faults.of(&spec)?;
    if faults.is_empty() {
        return Err(CliError::usage("nothing is to fail")
            .hint("such as `hafen simulate --node-down n1`")
            .hint("`hafen simulate --survive 1` tries every loss"));
    }
    let before = whatif::Homes::now(&state);
    let mut play = Play::new(&spec, state);
    let told = play.step(&faults);
    let view = view::simulation(&spec, &[told], &before, &play.end());
    print(args, &view, || text::simulation(&view))?;
    Ok(yes(view.quorum.kept && view.homeless.is_empty()))
}

fn suite(args: &Args, folder: &Path) -> Result<Exit, CliError> {
    let (spec, scenarios) = suite::read(&args.path, folder)?;
    let (spec, state) = match args.elsewhere.read(&args.path, Lines::Told)? {
        Some(read) => read,
        None => {
            let state = whatif::healthy(&spec);
            (spec, state)
        }
    };
    let view = suite::play(&spec, &state, &scenarios);
    match args.output {
        Form::Junit => render::print(&suite::junit(&view))?,
        Form::Text | Form::Json => print(args, &view, || suite::picture(&view))?,
    }
    Ok(yes(view.failed == 0))
}

fn outages(args: &Args) -> Result<Exit, CliError> {
    let spec = match args.elsewhere.read(&args.path, Lines::Told)? {
        Some((spec, _)) => spec,
        None => manifests::read(&args.path)?,
    };
    let view = outages::view(&spec);
    print(args, &view, || outages::picture(&view))?;
    Ok(yes(view.outages.iter().all(|outage| outage.allowed)))
}

fn print(args: &Args, view: &impl serde::Serialize, picture: impl FnOnce() -> String) -> Result<(), CliError> {
    match args.output {
        Form::Json => render::print_json(view),
        Form::Text | Form::Junit => render::print(&picture()),
    }
}

fn yes(yes: bool) -> Exit {
    if yes { Exit::Ok } else { Exit::No }
}

/// The manifests, and the cluster to which it happens.
fn read(args: &Args) -> Result<(Spec, State), CliError> {
    if let Some(read) = args.elsewhere.read(&args.path, Lines::Told)? {
        return Ok(read);
    }
    let spec = manifests::read(&args.path)?;
    let state = whatif::healthy(&spec);
    Ok((spec, state))
}
