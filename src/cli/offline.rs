//! Plans without a daemon: for manifests and a State document, or for a CIB.
//!
//! Input → output: a spec and a state → what [`plan::transition`] makes of them, as JSON for comparison or as the view that
//! the daemon would give, on stdout. Exit codes: 0 planned; 2 something cannot be read.
//!
//! Deliberately absent: dangers and refusals. They are of a push, and nothing is pushed.

use super::error::{CliError, Exit, Kind};
use super::{cib, files, render};
use crate::api::types::{DiffView, Impact, OutageView, PlanView, PlannedAction, Unplaced};
use crate::api::{differences, planned};
use crate::manifest::{self, Purpose, SourceFile};
use crate::model::{self, AgentCatalogue, NodeId, Reason, Severity, Spec};
use crate::plan::{self, Action, Op, Verdict};
use crate::state::{State, StateDocument};
use std::path::{Path, PathBuf};

/// Another cluster than the one that runs here.
#[derive(Debug, clap::Args)]
pub struct Elsewhere {
    /// Of the cluster that a Pacemaker CIB describes, instead; no daemon is asked, and lines are those of `import pacemaker --out`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "state"])]
    cib: Option<PathBuf>,
    /// Of the cluster that a State document describes, instead; no daemon is asked
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// With `--cib` or `--state`: the time to plan for, such as 2026-11-22T12:00:00Z; else now, or that of the document
    #[arg(long, value_name = "TIME")]
    now: Option<jiff::Timestamp>,
}

/// Whether it is told where in the manifests something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    Told,
    /// Of a CIB they are not looked for.
    Untold,
}

/// Another cluster, read.
#[derive(Debug)]
pub struct Other {
    pub spec: Spec,
    pub state: State,
    /// What the manifests say differently than what it follows; None: it is not known what that is.
    pub diff: Option<DiffView>,
}

impl Elsewhere {
    /// Its spec and state; None: the cluster that runs here is meant.
    pub fn read(&self, manifests: &Path, lines: Lines) -> Result<Option<(Spec, State)>, CliError> {
        Ok(self.read_all(manifests, lines)?.map(|other| (other.spec, other.state)))
    }

    /// The same, with what the manifests say differently.
    pub fn read_all(&self, manifests: &Path, lines: Lines) -> Result<Option<Other>, CliError> {
        match (&self.cib, &self.state) {
            (Some(file), _) => {
                let import = cib::read(file, self.now)?;
                cib::tell_losses(&import);
                let spec = if lines == Lines::Told { cib::written(&import) } else { import.spec };
                Ok(Some(Other { spec, state: import.state, diff: None }))
            }
            (None, Some(file)) => read(manifests, file, self.now).map(Some),
            (None, None) if self.now.is_some() => Err(CliError::usage("`--now` needs `--cib` or `--state`")),
            (None, None) => Ok(None),
        }
    }
}

/// A State document.
pub fn document(file: &Path) -> Result<StateDocument, CliError> {
    let could_not = |why: String| CliError::new(Kind::CouldNotTell, format!("`{}`: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| could_not(error.to_string()))?;
    StateDocument::parse(&text).map_err(|error| could_not(error.to_string()))
}

/// Reads manifests for a plan or a comparison, and tells what is wrong with them.
pub fn valid(files: &[SourceFile], manifests: &Path, so: &str) -> Result<Spec, CliError> {
    let loaded = manifest::load_for(Purpose::Plan, files, &AgentCatalogue::default());
    let Some(spec) = loaded.spec else {
        let errors = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        errors.for_each(|found| render::say(&super::plan::diagnostic(found)));
        return Err(CliError::new(Kind::CouldNotTell, format!("the manifests are not valid, so {so}"))
            .hint("`hafen explain CODE` says more about a finding"));
    };
    let warnings = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Warning).count();
    if warnings > 0 {
        render::say(&format!("{}: `hafen validate {}`", render::faint(&count(warnings)), manifests.display()));
    }
    Ok(spec)
}

/// Manifests, and the state of a cluster beside them.
fn read(manifests: &Path, state: &Path, now: Option<jiff::Timestamp>) -> Result<Other, CliError> {
    let files =
        files::read_from_here(manifests).map_err(|error| CliError::new(Kind::CouldNotTell, error.to_string()))?;
    let mut spec = valid(&files, manifests, "there is no plan")?;
    let document = document(state)?;
    let diff = document.target.as_ref().map(|target| {
        for (agent, traits) in &target.agents {
            // The agents need not be installed here; those of the cluster are what counts.
            spec.agents.entry(agent.clone()).or_insert_with(|| traits.clone());
        }
        let from = Some(target.revision.to_string());
        DiffView { from, ..differences(&target.documents, &manifest::listing(&files)) }
    });
    let mut state = document.state(&spec);
    if let Some(now) = now {
        state.now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    }
    Ok(Other { spec, state, diff })
}

fn count(warnings: usize) -> String {
    if warnings == 1 { "1 warning".to_owned() } else { format!("{warnings} warnings") }
}

/// `-o transition`: the neutral document.
pub fn transition(spec: &Spec, state: &State) -> Result<Exit, CliError> {
    render::print_json(&plan::transition(spec, state))?;
    Ok(Exit::Ok)
}

/// The plan as the daemon would show it.
pub fn plan(other: &Other) -> PlanView {
    let Some(diff) = &other.diff else { return plan_view(&other.spec, &other.state) };
    let mut view = planned::plan_view(&other.spec, &other.state);
    view.changes = diff.changes.clone();
    let hidden = diff.not_compared.iter();
    view.warnings.extend(hidden.map(|field| format!("{field} is hidden in the state: taken to be as it was")));
    view
}

/// The same for a cluster that is not known to follow anything.
fn plan_view(spec: &Spec, state: &State) -> PlanView {
    let outcome = plan::transition(spec, state);
    let assignment = plan::assign(spec, state);
    let at = |name: &str| spec.origin(model::Kind::Resource, name).map(ToString::to_string);
    let name = |action: &Action| action.resource.split(':').next().unwrap_or("").to_owned();
    let reason = |action: &Action| {
        let name = name(action);
        let here = |node: &NodeId| action.to.as_ref().or(action.from.as_ref()) == Some(node);
        let of = || assignment.placements.iter().filter(|(id, _)| id.resource.as_str() == name);
        let placed = of().filter_map(|(_, to)| to.as_ref());
        let reasons: Vec<&Reason> = placed.filter(|to| here(&to.node)).map(|to| &to.reason).collect();
        let verdicts = of().filter_map(|(id, _)| match assignment.verdicts.get(id)? {
            Verdict::Wait(reason) | Verdict::Blocked(reason) => Some(reason.to_string()),
            Verdict::Keep | Verdict::Act => None,
        });
        let known = reasons.first().filter(|reason| ***reason != Reason::InPlace).map(ToString::to_string);
        known.or_else(|| verdicts.into_iter().next()).unwrap_or_default()
    };
    let view = |action: &Action| PlannedAction {
        impact: impact(action),
        object: action.resource.clone(),
        node: action.to.as_ref().or(action.from.as_ref()).map(ToString::to_string),
        from: action
            .from
            .as_ref()
            .filter(|from| Some(*from) != action.to.as_ref() && action.to.is_some())
            .map(ToString::to_string),
        role: action.to_role,
        reason: reason(action),
        at: at(&name(action)),
        takes: None,
        after: Vec::new(),
    };
    let fence = |node: &NodeId| PlannedAction {
        impact: Impact::Fence,
        object: node.to_string(),
        node: Some(node.to_string()),
        from: None,
        role: None,
        reason: Reason::NodeLost { node: node.clone() }.to_string(),
        at: spec.origin(model::Kind::Node, node.as_str()).map(ToString::to_string),
        takes: None,
        after: Vec::new(),
    };
    let done = outcome.actions.iter().filter(|action| !action.blocked);
    let actions: Vec<PlannedAction> = outcome.fenced.iter().map(fence).chain(done.map(view)).collect();
    let down = |action: &PlannedAction| OutageView {
        object: action.object.clone(),
        node: action.from.clone().or_else(|| action.node.clone()),
        role: None,
        lasts: None,
        returns: action.impact != Impact::Stop,
        at: action.at.clone(),
    };
    let disturbed = [Impact::Restart, Impact::Move, Impact::Stop];
    let mut outages: Vec<OutageView> = actions.iter().filter(|a| disturbed.contains(&a.impact)).map(down).collect();
    outages.dedup();
    let unplaced = assignment.verdicts.iter().filter_map(|(instance, verdict)| match verdict {
        Verdict::Blocked(reason @ Reason::NoNode { .. }) => Some(Unplaced {
            instance: instance.to_string(),
            reason: reason.to_string(),
            at: at(instance.resource.as_str()),
        }),
        Verdict::Keep | Verdict::Act | Verdict::Wait(_) | Verdict::Blocked(_) => None,
    });
    let blocked = outcome.actions.iter().filter(|action| action.blocked).map(|action| {
        let op = format!("{:?}", action.op).to_lowercase();
        format!("{}: {op} is wanted, but something that does not happen would have to come before", action.resource)
    });
    let let_in = outcome.unfenced.iter().map(|node| format!("{node} is to be switched on first"));
    PlanView {
        from: Some("the state".to_owned()),
        actions,
        outages,
        unplaced: unplaced.collect(),
        warnings: let_in.chain(blocked).collect(),
        ..PlanView::default()
    }
}

fn impact(action: &Action) -> Impact {
    match action.op {
        Op::Start => Impact::Start,
        Op::Stop => Impact::Stop,
        Op::Recover if action.from != action.to => Impact::Move,
        Op::Recover | Op::Restart => Impact::Restart,
        Op::Move => Impact::Move,
        Op::Migrate => Impact::Migrate,
        Op::Reload => Impact::Reload,
        Op::Promote => Impact::Promote,
        Op::Demote | Op::Repromote => Impact::Demote,
    }
}
