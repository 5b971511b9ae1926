//! `hafen why`: reasons, with the commits behind the lines that they name.
//!
//! Input → output: a resource, or an event's index → the answer of `api::words` or `api::chain`, and for each line that it
//! names the commit that last changed it.
//!
//! Invariants: nothing of it runs on the threads of the event loop; one question is answered at a time, each in a bounded time, within
//! the patience of the client. A line whose commit was not found in time is told without it.
//!
//! Deliberately absent: deciding anything. What it shows was decided before, from the committed state.

use super::backend::Daemon;
use super::sync::blocking;
use crate::api::types::{ChainLink, EventWhyView, LineCommit, WhyView};
use crate::api::{ApiError, Backend, ErrorCode, chain, words};
use crate::model::{LogIndex, NodeId, ResourceId, Revision};
use crate::source::{CommitInfo, Repo};
use crate::state::port::Log;
use crate::state::{Event, EventKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// For all the plans behind "would run there if …": some are 15 ms each. The client waits for 10 s.
const PLAN_TIME: Duration = Duration::from_secs(4);
/// For finding who wrote the lines; a blame of a thousand commits takes some 50 ms.
const BLAME_TIME: Duration = Duration::from_secs(2);
/// Waiting for the answer to somebody else's question.
const QUEUE_TIME: Duration = Duration::from_secs(3);
/// Files whose lines are looked up for one answer.
const MAX_FILES: usize = 16;

type Answer<T> = Result<T, ApiError>;

/// Who last changed which lines of the revision that was asked about last: a line of it never gets another author.
#[derive(Default)]
pub(super) struct Blamed {
    revision: Option<Revision>,
    /// By file and line; None: looked for, and not there.
    lines: BTreeMap<(String, u32), Option<CommitInfo>>,
}

/// Every reason for where a resource is.
pub(super) async fn why(daemon: &Daemon, resource: ResourceId, not: Option<NodeId>) -> Answer<WhyView> {
    let mut blamed = turn(daemon).await?;
    let state = daemon.log().state();
    let graph = daemon.graph();
    let events = daemon.recent_events(usize::MAX);
    let thinking = tokio::task::spawn_blocking(move || {
        let Some(spec) = state.spec() else {
            return Err(ApiError::new(ErrorCode::NoSuchObject, "no manifests were pushed yet"));
        };
        let until = Instant::now() + PLAN_TIME;
        let patience = || Instant::now() < until;
        let mut view = words::why(spec, &state, &graph, &resource, not.as_ref(), &patience)?;
        for instance in &mut view.instances {
            let newest = chain::newest_of(&events, &instance.instance);
            instance.story = newest.map(|place| chain::story(&events, place, Some(spec))).unwrap_or_default();
        }
        Ok(view)
    });
    let mut view = thinking.await.map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))??;
    view.commits = commits(daemon, &mut blamed, places(&view)).await;
    Ok(view)
}

/// What led to the events of an entry of the log.
pub(super) async fn why_event(daemon: &Daemon, index: LogIndex) -> Answer<EventWhyView> {
    let mut blamed = turn(daemon).await?;
    let events = daemon.recent_events(usize::MAX);
    let state = daemon.log().state();
    let spec = state.spec();
    let places = events.iter().enumerate().filter(|(_, event)| event.index == index).map(|(place, _)| place);
    let stories: Vec<Vec<ChainLink>> =
        places.map(|place| chain::story(&events, place, spec.map(AsRef::as_ref))).collect();
    if stories.is_empty() {
        return Err(unknown(&events, index, state.index, &daemon.facts().name));
    }
    let lines = stories.iter().flatten();
    let lines = lines.flat_map(|link| link.rule.iter().map(|rule| rule.at.clone()).chain(link.revision.clone()));
    let followed = |event: &Event| event.kind == EventKind::Target && event.index > index;
    Ok(EventWhyView {
        api_version: Default::default(),
        kind: Default::default(),
        index: index.0,
        commits: commits(daemon, &mut blamed, lines.collect()).await,
        stories,
        manifests_changed_since: events.iter().any(followed),
    })
}

fn unknown(events: &[Event], index: LogIndex, newest: LogIndex, node: &NodeId) -> ApiError {
    let missing = ApiError::new(ErrorCode::NoSuchObject, format!("{node} knows of no event with index {index}"));
    match events.first().map(|event| event.index) {
        Some(first) if index < first => missing.hint(format!(
            "the oldest that {node} remembers is {first}: it forgets with each start of its daemon; ask another node"
        )),
        _ if index > newest => missing.hint(format!("the log ends at {newest}")),
        Some(_) | None => missing.hint("not every entry of the log makes an event; `hafen events` lists those that do"),
    }
}

async fn turn(daemon: &Daemon) -> Answer<tokio::sync::MutexGuard<'_, Blamed>> {
    let waited = tokio::time::timeout(QUEUE_TIME, daemon.blamed().lock()).await;
    waited.map_err(|_| {
        ApiError::new(ErrorCode::TimedOut, "this node is answering other questions of this kind")
            .hint("ask again, or another node")
    })
}

/// All places that an answer names.
fn places(view: &WhyView) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for instance in &view.instances {
        all.extend(instance.verdict.at.clone());
        all.extend(instance.contributions.iter().chain(&instance.promotion).filter_map(|part| part.at.clone()));
        all.extend(instance.story.iter().filter_map(|link| link.rule.as_ref()).map(|rule| rule.at.clone()));
        all.extend(instance.story.iter().filter_map(|link| link.revision.clone()));
    }
    all.extend(view.otherwise.iter().flat_map(|found| &found.changes).filter_map(|change| change.at.clone()));
    all
}

/// The commits behind `file:line:column` places of the target, and behind the first digits of revisions. What cannot be
/// found, or not in time, is left out: an answer without commits is better than none.
async fn commits(daemon: &Daemon, blamed: &mut Blamed, places: BTreeSet<String>) -> Vec<LineCommit> {
    let state = daemon.log().state();
    let Some(target) = state.target.as_ref().map(|target| target.revision.clone()) else { return Vec::new() };
    if blamed.revision.as_ref() != Some(&target) {
        *blamed = Blamed { revision: Some(target.clone()), ..Blamed::default() };
    }
    let mut lines = std::mem::take(&mut blamed.lines);
    let repo = daemon.repo().clone();
    let looked = blocking(move || {
        look_up(&repo, &target, &places, &mut lines);
        let told = places.iter().filter_map(|at| {
            let found = match line_of(at) {
                Some((file, line)) => lines.get(&(file.to_owned(), line)).cloned().flatten(),
                None => repo.find_by_prefix(at).unwrap_or_default(),
            };
            Some(line_commit(at, found?))
        });
        let told: Vec<LineCommit> = told.collect();
        Ok((told, lines))
    });
    match looked.await {
        Ok((told, lines)) => {
            blamed.lines = lines;
            told
        }
        Err(_) => Vec::new(),
    }
}

fn look_up(
    repo: &Repo,
    target: &Revision,
    places: &BTreeSet<String>,
    known: &mut BTreeMap<(String, u32), Option<CommitInfo>>,
) {
    let until = Instant::now() + BLAME_TIME;
    let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for (file, line) in places.iter().filter_map(|at| line_of(at)) {
        if !known.contains_key(&(file.to_owned(), line)) {
            wanted.entry(file).or_default().insert(line);
        }
    }
    for (file, lines) in wanted.into_iter().take(MAX_FILES) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        match repo.blame(target, file, &lines, left) {
            Ok(mut found) => {
                known.extend(lines.into_iter().map(|line| ((file.to_owned(), line), found.remove(&line))));
            }
            // Not kept: the target's objects may only be on their way here.
            Err(error) => tracing::info!(file, %error, "who wrote these lines is not known"),
        }
    }
}

/// `file:line:column`
fn line_of(at: &str) -> Option<(&str, u32)> {
    let mut parts = at.rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    column.parse::<u32>().ok()?;
    Some((file, line.parse().ok()?))
}

fn line_commit(at: &str, commit: CommitInfo) -> LineCommit {
    LineCommit {
        at: at.to_owned(),
        revision: commit.revision.to_string(),
        author: commit.author,
        subject: commit.subject,
        time: commit.time,
    }
}
