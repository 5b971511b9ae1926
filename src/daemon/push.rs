//! From a pushed revision to the target: read, judged, stored, proposed.
//!
//! The whole commit is accepted or refused. Nothing is proposed before a quorum of voters holds the objects, and what
//! was proposed without an answer is asked for by revision before it is called unknown.

use super::backend::Daemon;
use super::sync::store_on_quorum;
use crate::api::types::{CheckView, PlanView, PushAnswer, PushRequest, PushView};
use crate::api::{ApiError, Caller, ErrorCode, planned};
use crate::manifest::{self, SourceFile};
use crate::model::{ChangeWindow, Closed, Diagnostic, Kind, NodeRole, Revision, Severity, Spec};
use crate::source::receive::PushOptions;
use crate::source::{PushedRules, Repo, SourceError};
use crate::state::port::{Log, ProposeError};
use crate::state::target::spec_to_chunks;
use crate::state::{Command, Membership, Refusal, State};
use crate::whatif;
use std::path::Path;
use std::time::Duration;

/// How long an unanswered proposal is looked for before it is called unknown.
const LOOK_FOR: Duration = Duration::from_secs(5);

/// Names shown in one refusal.
const SHOWN: usize = 5;

/// A revision, judged.
pub(super) struct Judged {
    pub check: CheckView,
    pub spec: Option<Spec>,
    /// The target whose rules it was judged by.
    pub against: Option<Revision>,
}

/// The first thing that is wrong, for one line.
pub(super) fn first_words(view: &PushView) -> String {
    let diagnostics = view.check.as_ref().map(|check| check.diagnostics.as_slice()).unwrap_or_default();
    let first = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
    match (first, &view.reason) {
        (Some(d), _) => format!("{}:{}:{}: {}", d.file, d.line, d.column, d.message),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "no reason".into(),
    }
}

/// Judges manifests as if they were pushed now.
pub(super) async fn judge(daemon: &Daemon, files: Vec<SourceFile>, options: &PushOptions) -> Judged {
    let names = manifest::agents_named(&files);
    let catalogue = daemon.runner().catalogue().read(&names).await;
    let mut loaded = manifest::load(&files, &catalogue);
    loaded.spec = match loaded.spec {
        Some(spec) => keeps_its_promises(spec, &mut loaded.diagnostics).await,
        None => None,
    };
    let state = daemon.log().state();
    let mut check = CheckView { diagnostics: loaded.diagnostics, ..CheckView::default() };
    if let Some(spec) = &loaded.spec {
        let mut plan = super::backend::plan_view(spec, &state);
        match super::compare::with_target(daemon, &files).await {
            Ok(diff) => plan.changes = diff.changes,
            Err(why) => plan.warnings.push(format!("what is written differently is not known: {why}")),
        }
        check.plan = Some(plan);
        check.refusal = moved_on(spec, &state, options)
            .or_else(|| kept_back(spec, &state, options))
            .or_else(|| outside_windows(&state, check.plan.as_ref()?, options, jiff::Timestamp::now()))
            .or_else(|| refusal(daemon, spec, &state, options));
    }
    let against = state.target.as_ref().map(|target| target.revision.clone());
    Judged { check, spec: loaded.spec, against }
}

/// What manifests promise of losses and outages takes a planner, and time; None if it does not hold.
async fn keeps_its_promises(spec: Spec, diagnostics: &mut Vec<Diagnostic>) -> Option<Spec> {
    if spec.cluster.survive == 0 && spec.resources.values().all(|resource| resource.max_outage.is_none()) {
        return Some(spec);
    }
    let judged = tokio::task::spawn_blocking(move || {
        let found = whatif::findings(&spec, &whatif::one_by_one);
        (spec, found)
    });
    // Only a bug ends such a task, and then nothing is promised.
    let (spec, found) = judged.await.ok()?;
    let holds = found.iter().all(|found| found.severity != Severity::Error);
    diagnostics.extend(found);
    holds.then_some(spec)
}

/// Why the plan that the pusher agreed to is not this one.
fn moved_on(spec: &Spec, state: &State, options: &PushOptions) -> Option<String> {
    let shown = options.plan?;
    let moved = shown.moved(&planned::plan_id(spec, state))?;
    Some(format!("it is not the plan {shown} any more: {moved}; look at it again: hafen plan"))
}

/// Why nothing, or not this, is taken now.
fn kept_back(spec: &Spec, state: &State, options: &PushOptions) -> Option<String> {
    if let Some(suspended) = state.suspended() {
        return Some(suspended);
    }
    let held = state.rollout.hold_on(spec).filter(|_| !options.allow_held)?;
    let words = Refusal::Held { revision: held.revision.clone(), why: held.why.clone() };
    Some(format!("{words}; mend or revert it, or if the fault was elsewhere: git push -o allow-held"))
}

/// Why what disturbs services has to wait. The windows are those of the target: a commit cannot open its own.
pub(super) fn outside_windows(
    state: &State,
    plan: &PlanView,
    options: &PushOptions,
    now: jiff::Timestamp,
) -> Option<String> {
    let spec = state.spec().filter(|_| !options.outside_window)?;
    let Closed { until } = ChangeWindow::any_open(&spec.cluster.change_windows, now).err()?;
    // What is being recovered from goes on at any time.
    let anyhow = super::backend::plan_view(spec, state).disturbed();
    let disturbed: Vec<String> = plan.disturbed().into_iter().filter(|name| !anyhow.contains(name)).collect();
    if disturbed.is_empty() {
        return None;
    }
    let next =
        until.map_or("none ever opens".to_owned(), |until| format!("the next opens at {}", until.strftime("%F %R %Z")));
    Some(format!(
        "it disturbs {} and no change window is open: {next}; if it cannot wait: git push -o outside-window",
        first_few(&disturbed)
    ))
}

fn first_few(names: &[String]) -> String {
    let (shown, more) = (names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "), names.len());
    if more > SHOWN { format!("{shown} and {} more", more - SHOWN) } else { shown }
}

/// Rules of a push that are no errors of a manifest.
fn refusal(daemon: &Daemon, spec: &Spec, state: &State, options: &PushOptions) -> Option<String> {
    if let Some(old) = state.spec() {
        let removed: Vec<&str> =
            old.resources.keys().filter(|name| !spec.resources.contains_key(*name)).map(|name| name.as_str()).collect();
        let most = old.cluster.max_removals as usize;
        let empties = spec.resources.is_empty() && !old.resources.is_empty();
        if !options.allow_removals && (removed.len() > most || empties) {
            return Some(format!(
                "it stops {} resources ({}); if that is meant: git push -o allow-removals",
                removed.len(),
                first_few(&removed.iter().map(ToString::to_string).collect::<Vec<_>>())
            ));
        }
        let unmanaged = state.claims.iter().find(|(key, claim)| {
            let managed = state.definitions.get(&claim.definition).is_none_or(|d| d.resource.managed);
            !managed && !spec.resources.contains_key(&key.instance.resource)
        });
        if let Some((key, _)) = unmanaged
            && !options.abandon
        {
            return Some(format!("it removes {key}, which is unmanaged and runs; to let go of it: -o abandon"));
        }
    }
    let voters: Vec<_> = spec.nodes.iter().filter(|(_, node)| node.role.votes()).map(|(name, _)| name).collect();
    if voters.is_empty() {
        return Some("no node would have a vote: at least one Node needs `role: Voter`".into());
    }
    let me = daemon.facts().name.clone();
    let up = |name: &&&crate::model::NodeId| {
        **name == &me || state.nodes.get(**name).is_some_and(|node| node.membership == Membership::Online)
    };
    // Nodes that never joined get their vote when they do; those that did must leave a quorum.
    let joined: Vec<_> = voters.iter().filter(|name| state.nodes.contains_key(**name)).collect();
    let reachable = joined.iter().filter(|name| up(name)).count();
    if !joined.is_empty() && reachable <= joined.len() / 2 {
        return Some(format!("only {reachable} of the {} voters it names are reachable: no quorum", joined.len()));
    }
    let keeps = spec.nodes.get(&me).is_some_and(|node| node.role != NodeRole::Agent) || !joined.is_empty();
    (!keeps).then(|| "it names none of the nodes that have joined".into())
}

/// Reads and judges the revision that a hook names.
pub(super) async fn judge_revision(
    daemon: &Daemon,
    request: &PushRequest,
) -> Result<(Judged, Revision, PushOptions), ApiError> {
    let usage = |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::Usage, error.to_string());
    let revision = Revision::from(request.revision.as_str());
    let options = PushOptions::parse(request.options.iter().map(String::as_str)).map_err(|error| usage(&error))?;
    let state = daemon.log().state();
    let followed = state.spec().map(|spec| folder(spec));
    if let (Some(followed), Some(asked)) = (&followed, &options.path)
        && followed != asked
    {
        let why = format!(
            "the cluster follows the folder `{followed}`: to change that push a Cluster with another `path` in `source`; \
             `-o path` is for the first push"
        );
        return Err(ApiError::new(ErrorCode::Usage, why));
    }
    let subdir = followed.or_else(|| options.path.clone()).unwrap_or_default();
    let repo = match &request.quarantine {
        Some(path) => daemon.repo().with_quarantine(Path::new(path)),
        None => daemon.repo().clone(),
    };
    let target = state.target.as_ref().map(|target| target.revision.clone());
    let (wanted, looked_into) = (revision.clone(), repo.clone());
    let read = tokio::task::spawn_blocking(move || read(&looked_into, &wanted, &subdir, target.as_ref())).await;
    let (files, rewinds) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(SourceError::Unusable { problems, .. })) => {
            let diagnostics = problems.iter().map(|problem| problem.diagnostic("HA0190")).collect::<Vec<Diagnostic>>();
            let check = CheckView { diagnostics, ..CheckView::default() };
            return Ok((Judged { check, spec: None, against: None }, revision, options));
        }
        Ok(Err(error)) if error.is_refusal() => return Err(usage(&error)),
        Ok(Err(error)) => return Err(ApiError::new(ErrorCode::Internal, error.to_string())),
        Err(error) => return Err(ApiError::new(ErrorCode::Internal, error.to_string())),
    };
    let mut judged = judge(daemon, files, &options).await;
    if let (Some(asked), Some(spec), None) = (&options.path, &judged.spec, &judged.check.refusal)
        && folder(spec) != *asked
    {
        // The next push would be read from elsewhere.
        let says = folder(spec);
        judged.check.refusal = Some(format!(
            "its Cluster says that the manifests are below `{says}`: write `source: {{ path: {asked} }}` there"
        ));
    }
    if rewinds && !options.allow_rewind && judged.check.refusal.is_none() {
        judged.check.refusal = Some(
            "the current target is not among its ancestors: pull first, or to go back: git push --force -o allow-rewind"
                .into(),
        );
    }
    // Judged by the state that is known to be the one whose rules count; `push` compares it with the one it proposes for.
    judged.against = state.target.as_ref().map(|target| target.revision.clone());
    if let Some(spec) = &judged.spec
        && let Some(refusal) = unsigned(repo, &state, &revision, spec).await?
    {
        judged.check.refusal = Some(refusal);
    }
    Ok((judged, revision, options))
}

/// Why the rules about signatures refuse a revision; None: they do not. What cannot be looked at is an error, and no push.
async fn unsigned(repo: Repo, state: &State, tip: &Revision, next: &Spec) -> Result<Option<String>, ApiError> {
    let now = state.spec().cloned();
    if next.cluster.signatures.is_empty() && now.as_ref().is_none_or(|now| now.cluster.signatures.is_empty()) {
        return Ok(None);
    }
    let target = state.target.as_ref().map(|target| target.revision.clone());
    let (tip, next) = (tip.clone(), next.clone());
    let judged = super::sync::blocking(move || {
        let now = now.as_ref().map(|now| rules(now)).unwrap_or(PushedRules { rules: &[], cluster: None });
        repo.judge_signatures(target.as_ref(), now, &tip, rules(&next))
    });
    judged.await.map_err(|why| ApiError::new(ErrorCode::Internal, format!("its signatures cannot be looked at: {why}")))
}

/// What a spec says of signatures.
pub(super) fn rules(spec: &Spec) -> PushedRules<'_> {
    PushedRules { rules: &spec.cluster.signatures, cluster: spec.origin(Kind::Cluster, &spec.cluster.name) }
}

/// Where a cluster's manifests are in its repository; empty: everywhere.
fn folder(spec: &Spec) -> String {
    let path = spec.cluster.source.as_ref().map(|source| source.path.as_str()).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

type Read = (Vec<SourceFile>, bool);

fn read(repo: &Repo, revision: &Revision, subdir: &str, target: Option<&Revision>) -> Result<Read, SourceError> {
    let files = super::revision::manifests(repo, revision, subdir)?;
    let rewinds = match target {
        Some(target) if repo.has(target)? => !repo.is_ancestor(target, revision)?,
        // This node has not got the target's objects yet: it cannot tell, so it does not say yes.
        Some(_) => true,
        None => false,
    };
    Ok((files, rewinds))
}

/// Makes a revision of the local repository the target.
pub(super) async fn push(daemon: &Daemon, request: PushRequest, by: Caller) -> Result<PushView, ApiError> {
    let _one_at_a_time = daemon.pushing().lock().await;
    let answer = |answer, reason: Option<String>, check| PushView {
        api_version: Default::default(),
        kind: Default::default(),
        revision: request.revision.clone(),
        answer,
        reason,
        check,
    };
    let (judged, revision, options) = judge_revision(daemon, &request).await?;
    let Judged { check, spec, against } = judged;
    let Some(spec) = spec else {
        return Ok(answer(PushAnswer::Refused, Some("the manifests have errors".into()), Some(check)));
    };
    if let Some(refusal) = check.refusal.clone() {
        return Ok(answer(PushAnswer::Refused, Some(refusal), Some(check)));
    }
    let state = daemon.log().state();
    let parent = state.target.as_ref().map(|target| target.revision.clone());
    // Where the cluster went back by itself, `main` stayed where it was.
    let tip = state.tip().cloned();
    if parent.as_ref() == Some(&revision) && tip == parent {
        return Ok(answer(PushAnswer::Accepted, None, Some(check)));
    }
    if against != parent {
        // Other rules may hold now than those it was judged by.
        let refusal = Refusal::TargetMoved { current: parent };
        return Ok(answer(PushAnswer::Refused, Some(format!("{refusal}; pull and push again")), Some(check)));
    }
    let expected = request.parent.as_deref().map(Revision::from);
    if expected != tip && !options.allow_rewind {
        let refusal = Refusal::TargetMoved { current: tip };
        return Ok(answer(PushAnswer::Refused, Some(format!("{refusal}; pull and push again")), Some(check)));
    }
    if options.dry_run {
        return Ok(answer(PushAnswer::Refused, Some("dry run: nothing was changed".into()), Some(check)));
    }
    let (repo, kept) = (daemon.repo().clone(), revision.clone());
    match tokio::task::spawn_blocking(move || repo.keep(&kept)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(ApiError::new(ErrorCode::Internal, error.to_string())),
        Err(error) => return Err(ApiError::new(ErrorCode::Internal, error.to_string())),
    }
    if let Err(why) = store_on_quorum(daemon, &revision, parent.as_ref()).await {
        return Ok(answer(PushAnswer::Refused, Some(why), Some(check)));
    }
    let released = state.rollout.hold_on(&spec).map(|held| held.revision.clone()).filter(|_| options.allow_held);
    match propose(daemon, &spec, &revision, parent, released, &by.name).await {
        Ok(()) => Ok(answer(PushAnswer::Accepted, None, Some(check))),
        Err(Failed::Refused(why)) => Ok(answer(PushAnswer::Refused, Some(why), Some(check))),
        Err(Failed::Unknown(why)) => {
            if arrived(daemon, &revision).await {
                return Ok(answer(PushAnswer::Accepted, None, Some(check)));
            }
            Ok(answer(PushAnswer::Unknown, Some(why), Some(check)))
        }
    }
}

enum Failed {
    Refused(String),
    Unknown(String),
}

async fn propose(
    daemon: &Daemon,
    spec: &Spec,
    revision: &Revision,
    parent: Option<Revision>,
    released: Option<Revision>,
    by: &str,
) -> Result<(), Failed> {
    let (digest, chunks) = spec_to_chunks(spec);
    let total = chunks.len() as u32;
    for (number, bytes) in chunks.into_iter().enumerate() {
        let command = Command::SpecChunk { digest, number: number as u32, total, bytes };
        match daemon.log().propose(vec![command]).await {
            Ok(applied) => {
                if let Some(Err(refusal)) = applied.answers.into_iter().next() {
                    return Err(Failed::Refused(refusal.to_string()));
                }
            }
            // A chunk alone changes nothing: whether it arrived does not matter.
            Err(error) => return Err(Failed::Refused(format!("no quorum: {error}"))),
        }
    }
    let release = released.map(|revision| Command::ReleaseHold { revision, by: by.to_owned() });
    let set = Command::SetTarget { revision: revision.clone(), parent, spec: digest, by: by.to_owned() };
    match daemon.log().propose(release.into_iter().chain([set]).collect()).await {
        Ok(applied) => match applied.answers.into_iter().last() {
            Some(Err(refusal)) => Err(Failed::Refused(match refusal {
                Refusal::TargetMoved { .. } => format!("{refusal}; pull and push again"),
                refusal => refusal.to_string(),
            })),
            Some(Ok(())) | None => Ok(()),
        },
        Err(error @ (ProposeError::NoLeader | ProposeError::TooLarge { .. })) => {
            Err(Failed::Refused(error.to_string()))
        }
        Err(ProposeError::Unknown(why)) => Err(Failed::Unknown(why)),
    }
}

/// Asks by revision what became of a proposal without an answer.
async fn arrived(daemon: &Daemon, revision: &Revision) -> bool {
    let mut states = daemon.log().states();
    let there = states.wait_for(|state| state.target.as_ref().is_some_and(|target| &target.revision == revision));
    tokio::time::timeout(LOOK_FOR, there).await.is_ok_and(|found| found.is_ok())
}
