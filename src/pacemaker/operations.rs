//! The operations of a primitive: how often, how long, and what follows from a failure.
//!
//! Input: its `op` elements, its template's and `op_defaults`. Output: a list of [`Op`]s, and the same as definitions of
//! this program. Pacemaker Explained, "Operation Properties": an attribute of the `op`, then its meta-attributes, then
//! `op_defaults`.
//!
//! Does not judge failures (`history`).

use super::options::{Ids, Values};
use super::rules::{Asked, OpFacts};
use super::words::{boolean, duration_ms};
use super::xml::El;
use crate::model::{OnFail, OpName, Operation, duration};
use std::collections::BTreeMap;
use std::time::Duration;

const DEFAULT_TIMEOUT_MS: u64 = 20_000;

/// One operation of a primitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Op {
    pub name: String,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    /// For the promoted role only.
    pub promoted: bool,
    /// A monitor of what is to be stopped.
    pub of_stopped: bool,
    /// None: nothing is said.
    pub on_fail: Option<OnFail>,
    pub enabled: bool,
    /// Parameters of this operation alone.
    pub params: BTreeMap<String, String>,
}

pub(super) fn read_ops<'a>(
    ids: &Ids<'a>,
    el: El<'a>,
    template: Option<El<'a>>,
    defaults: Option<El<'a>>,
    asked: &Asked<'_>,
    fencing: bool,
) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    for owner in [Some(el), template].into_iter().flatten() {
        let inherited = owner.place() != el.place();
        let written = owner.all("operations").filter_map(|operations| ids.resolve(operations));
        for op in written.flat_map(|operations| operations.all("op")).filter_map(|op| ids.resolve(op)) {
            let op = read_op(ids, op, defaults, asked, fencing);
            let same = |other: &Op| (&other.name, other.interval_ms) == (&op.name, op.interval_ms);
            if !inherited || !ops.iter().any(same) {
                ops.push(op);
            }
        }
    }
    ops
}

fn read_op<'a>(ids: &Ids<'a>, el: El<'a>, defaults: Option<El<'a>>, asked: &Asked<'_>, fencing: bool) -> Op {
    let name = el.attr("name").unwrap_or("");
    let meta = ids.values(el, "meta_attributes", asked);
    let legacy = ids.values(el, "instance_attributes", asked);
    let written = |key: &str| el.attr(key).or_else(|| meta.get(key).or_else(|| legacy.get(key)).copied());
    let interval_ms = written("interval").and_then(duration_ms).unwrap_or(0);
    let by_default = op_defaults(ids, defaults, asked, name, interval_ms);
    let get = |key: &str| written(key).or_else(|| by_default.get(key).copied());
    let promoted = get("role").is_some_and(|role| matches!(role.to_lowercase().as_str(), "promoted" | "master"));
    Op {
        name: name.to_owned(),
        interval_ms,
        timeout_ms: get("timeout").and_then(duration_ms).unwrap_or(DEFAULT_TIMEOUT_MS),
        promoted,
        of_stopped: get("role").is_some_and(|role| role.eq_ignore_ascii_case("stopped")),
        on_fail: get("on-fail").and_then(|word| on_fail(word, name, interval_ms, promoted, fencing)),
        enabled: get("enabled").and_then(boolean).unwrap_or(true),
        params: legacy.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

/// What `op_defaults` say of an operation.
pub(super) fn op_defaults<'a>(
    ids: &Ids<'a>,
    defaults: Option<El<'a>>,
    asked: &Asked<'_>,
    name: &str,
    interval_ms: u64,
) -> Values<'a> {
    let asked = Asked { op: Some(OpFacts { name, interval_ms }), ..*asked };
    defaults.map(|el| ids.values(el, "meta_attributes", &asked)).unwrap_or_default()
}

/// None: not allowed here, so what is usual counts.
pub(super) fn on_fail(word: &str, name: &str, interval_ms: u64, promoted: bool, fencing: bool) -> Option<OnFail> {
    Some(match word {
        "ignore" | "nothing" => OnFail::Ignore,
        "block" => OnFail::Block,
        "stop" => OnFail::Stop,
        "restart" | "restart-container" => OnFail::Restart,
        "standby" if name != "stop" => OnFail::Standby,
        "fence" if fencing => OnFail::Fence,
        "fence" if name == "stop" => OnFail::Block,
        "fence" => OnFail::Stop,
        "migrate" => OnFail::Move,
        "demote" if name == "promote" || (name == "monitor" && promoted && interval_ms > 0) => OnFail::Demote,
        _ => return None,
    })
}

/// What follows from a failure where nothing is said.
pub(super) fn usual(name: &str, fencing: bool) -> OnFail {
    match (name, fencing) {
        ("stop", true) => OnFail::Fence,
        ("stop", false) => OnFail::Block,
        (_, _) => OnFail::Restart,
    }
}

/// The operations as definitions: start, stop and monitor in any case.
pub(super) fn operations(ops: &[Op], fencing: bool) -> BTreeMap<OpName, Operation> {
    let mut all = BTreeMap::new();
    for (name, word) in [(OpName::Start, "start"), (OpName::Stop, "stop"), (OpName::Monitor, "monitor")] {
        let timeout = Duration::from_millis(DEFAULT_TIMEOUT_MS);
        all.insert(name, Operation { interval: Duration::ZERO, timeout, on_fail: usual(word, fencing) });
    }
    // The first one written of each name counts.
    for op in ops.iter().rev().filter(|op| op.enabled) {
        let Some(name) = op.kind() else { continue };
        let repeats = matches!(name, OpName::Monitor | OpName::MonitorPromoted);
        let interval = Duration::from_millis(if repeats { op.interval_ms } else { 0 });
        let on_fail = op.on_fail.unwrap_or_else(|| usual(&op.name, fencing));
        all.insert(name, Operation { interval, timeout: Duration::from_millis(op.timeout_ms), on_fail });
    }
    all
}

impl Op {
    /// What it is called in a manifest, where it is known there.
    fn kind(&self) -> Option<OpName> {
        Some(match self.name.as_str() {
            "start" => OpName::Start,
            "stop" => OpName::Stop,
            "monitor" if self.of_stopped => return None,
            "monitor" if self.promoted => OpName::MonitorPromoted,
            "monitor" => OpName::Monitor,
            "promote" => OpName::Promote,
            "demote" => OpName::Demote,
            "notify" => OpName::Notify,
            "migrate_to" => OpName::MigrateTo,
            "migrate_from" => OpName::MigrateFrom,
            "reload" | "reload-agent" => OpName::Reload,
            _ => return None,
        })
    }
}

/// What is left out of the operations of a primitive, and whether it can change a plan.
pub(super) fn spare(ops: &[Op]) -> Vec<(String, bool)> {
    let mut kept: BTreeMap<OpName, &Op> = BTreeMap::new();
    let mut spare = Vec::new();
    for op in ops.iter().filter(|op| op.enabled) {
        let every = duration::format(Duration::from_millis(op.interval_ms));
        match op.kind() {
            Some(kind) => match kept.get(&kind) {
                // What follows from its failures is not said anywhere any more.
                Some(first) => spare.push((
                    format!("one {} of each role is kept, the first: not that of every {every}", op.name),
                    first.on_fail != op.on_fail,
                )),
                None => _ = kept.insert(kind, op),
            },
            None if op.of_stopped => {
                spare.push((format!("copies that are to be stopped are not watched: no monitor every {every}"), false));
            }
            None => {}
        }
    }
    spare
}
