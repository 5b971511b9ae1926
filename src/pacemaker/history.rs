//! One resource's action history on one node: is it running there, in which role, and what went wrong.
//!
//! Input: an `lrm_resource` with its `lrm_rsc_op` entries, and the configured operations. Output: a [`Found`].
//!
//! Semantics as in Pacemaker Explained, "Action history", and Pacemaker Administration, "agents": entries in order of
//! their call; a result that was not expected is a failure, and `on-fail` says what follows; some failures are undone by
//! a later success.
//!
//! Does not know of other nodes: what a migration means on both sides is put together by `status`.

use super::operations::{Op, usual};
use super::xml::El;
use crate::model::{ActionKind, ExecStatus, OnFail, Role};
use crate::state::FailureKind;
use std::collections::BTreeMap;

/// What an history says.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// None: stopped.
    pub role: Option<Role>,
    /// Anything is known at all.
    pub known: bool,
    pub pending: Option<ActionKind>,
    /// What went wrong and was not undone, with what follows from it.
    pub failure: Option<Failed>,
    /// Whatever the count, this node may not run it.
    pub banned: bool,
    /// No node may.
    pub banned_everywhere: bool,
    /// What it needs is not on this node.
    pub not_installed: bool,
    /// A failure was ignored.
    pub ignored: bool,
    /// The newest entry that changed something is a migration with this node on the other side.
    pub migration: Option<Migration<'a>>,
    pub last: (ActionKind, ExecStatus),
    /// When it was started, or last changed its state, in seconds.
    pub changed: i64,
    /// More than probes was done.
    pub touched: bool,
    /// It runs with other parameters than it would be started with now.
    pub outdated: Option<Outdated>,
}

/// What a change of parameters asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outdated {
    Restart,
    Reload,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    pub action: ActionKind,
    pub kind: FailureKind,
    pub on_fail: OnFail,
    pub rc: i32,
    pub at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Migration<'a> {
    pub peer: &'a str,
    pub away: bool,
    pub failed: bool,
    pub pending: bool,
    pub at: i64,
}

/// What is known of failures from elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Context<'c> {
    pub ops: &'c [Op],
    pub fencing: bool,
    pub promotable: bool,
    pub fence_device: bool,
    /// What fails is mended by restarting what it runs inside of, or by fencing the node that it leads to.
    pub mended_around: bool,
    /// Nobody cares for it: what fails there is only looked at.
    pub unmanaged: bool,
    /// What it would be started with now; None: not to be compared.
    pub params: Option<&'c BTreeMap<&'c str, &'c str>>,
    /// Failures at or before this second do not count any more.
    pub expired: Option<i64>,
}

struct Entry<'a> {
    el: El<'a>,
    action: ActionKind,
    interval_ms: u64,
    call: i64,
    status: i32,
    rc: i32,
    expected: Option<i32>,
    at: i64,
}

fn number<T: std::str::FromStr>(el: El<'_>, name: &str) -> Option<T> {
    el.attr(name)?.trim().parse().ok()
}

fn entries<'a>(resource: El<'a>) -> Vec<Entry<'a>> {
    let read = |el: El<'a>| {
        let interval_ms = number(el, "interval").unwrap_or(0);
        let action = match el.attr("operation")? {
            "monitor" if interval_ms == 0 => ActionKind::Probe,
            "monitor" | "asyncmon" => ActionKind::Monitor,
            "start" => ActionKind::Start,
            "stop" => ActionKind::Stop,
            "promote" => ActionKind::Promote,
            "demote" => ActionKind::Demote,
            "migrate_to" => ActionKind::MigrateTo,
            "migrate_from" => ActionKind::MigrateFrom,
            _ => return None,
        };
        // ACTION:GRAPH:EXPECTED_RC:UUID
        let mut key = el.attr("transition-key").unwrap_or("").split(':').skip(2);
        let expected = key.next().filter(|_| key.next().is_some()).and_then(|rc| rc.parse().ok());
        let status = number(el, "op-status").unwrap_or(0);
        let at = number(el, "last-rc-change").unwrap_or(0);
        let (call, rc) = (number(el, "call-id").unwrap_or(0), number(el, "rc-code").unwrap_or(0));
        Some(Entry { el, action, interval_ms, call, status, rc, expected, at })
    };
    let mut entries: Vec<Entry<'a>> = resource.all("lrm_rsc_op").filter_map(read).collect();
    // What is pending was asked for last. A repeated operation keeps its number: its last failure has the same.
    entries.sort_by_key(|entry| (if entry.call < 0 { i64::MAX } else { entry.call }, entry.at));
    entries
}

pub(super) fn read<'a>(resource: El<'a>, context: &Context<'_>) -> Found<'a> {
    let mut found = Found {
        role: None,
        known: false,
        pending: None,
        failure: None,
        banned: false,
        banned_everywhere: false,
        ignored: false,
        not_installed: false,
        migration: None,
        last: (ActionKind::Probe, ExecStatus::Exited(0)),
        changed: 0,
        touched: false,
        outdated: None,
    };
    let entries = entries(resource);
    for entry in &entries {
        found.entry(entry, context);
    }
    if found.role.is_some() {
        found.outdated = outdated(&entries, context);
    }
    found
}

/// Compares the parameters that were used with the configured ones, by their digest (Pacemaker Explained, `op-digest`).
fn outdated(entries: &[Entry<'_>], context: &Context<'_>) -> Option<Outdated> {
    let params = context.params?;
    let begins = |entry: &Entry<'_>| matches!(entry.action, ActionKind::Start | ActionKind::MigrateFrom);
    let from = entries.iter().rposition(|entry| begins(entry) && entry.status != 1).unwrap_or(0);
    let mut found = None;
    for entry in &entries[from..] {
        let counts = begins(entry) || matches!(entry.action, ActionKind::Probe | ActionKind::Promote);
        if !counts {
            continue;
        }
        let name = entry.el.attr("operation").unwrap_or("");
        let extra = context.ops.iter().find(|op| op.name == name && op.interval_ms == entry.interval_ms);
        let mut params = params.clone();
        let extra: BTreeMap<&str, &str> =
            extra.into_iter().flat_map(|op| &op.params).map(|(name, value)| (name.as_str(), value.as_str())).collect();
        params.extend(&extra);
        let matches = |name: &str, counts: &dyn Fn(&str) -> bool| {
            let kept = params.iter().filter(|(name, _)| counts(name));
            entry.el.attr(name).is_some_and(|used| used == digest(kept.map(|(name, value)| (*name, *value))))
        };
        // What is not shown cannot be compared. What the fencer itself reads is no parameter of a fence agent.
        let is_shown = |name: &str, secret: &str| {
            let fencer = context.fence_device && name.starts_with("pcmk_");
            !fencer && !secret.split_whitespace().any(|other| other == name)
        };
        let secret = entry.el.attr("op-secure-params").unwrap_or("");
        let is_hidden = |name: &str| params.get(name).is_some_and(|value| is_masked(value));
        let hidden = secret.split_whitespace().any(is_hidden);
        if matches("op-digest", &|_| true) || (hidden && matches("op-secure-digest", &|name| is_shown(name, secret))) {
            continue;
        }
        let forces = entry.el.attr("op-force-restart").unwrap_or("");
        // What only this operation is given is no parameter that an agent knows how to reload.
        let forces = |name: &str| extra.contains_key(name) || forces.split_whitespace().any(|other| other == name);
        let restarts = params.iter().filter(|(name, _)| forces(name)).map(|(name, value)| (*name, *value));
        match entry.el.attr("op-restart-digest") {
            Some(used) if used == digest(restarts) && entry.status != -1 => found = found.or(Some(Outdated::Reload)),
            Some(_) | None => return Some(Outdated::Restart),
        }
    }
    found
}

/// Shown as asterisks.
fn is_masked(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c == '*')
}

/// The digest of parameters in order of their names, as Pacemaker makes it.
fn digest<'p>(params: impl Iterator<Item = (&'p str, &'p str)>) -> String {
    use md5::Digest as _;
    let mut text = String::from(" <parameters");
    for (name, value) in params {
        text.push(' ');
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '&' => text.push_str("&amp;"),
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '"' => text.push_str("&quot;"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text.push_str("/>\n");
    md5::Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<'a> Found<'a> {
    /// Whether something went wrong that leaves a trace in the records.
    pub fn failed_somehow(&self) -> bool {
        self.banned || self.banned_everywhere || self.failure.is_some()
    }

    fn entry(&mut self, entry: &Entry<'a>, context: &Context<'_>) {
        match entry.status {
            1 => return,
            -1 => return self.pending_entry(entry, context),
            _ => {}
        }
        let mut rc = match entry.rc {
            190 => 0,
            191 => 8,
            rc => rc,
        };
        let expected = entry.expected.unwrap_or(if entry.action == ActionKind::Probe { 7 } else { 0 });
        let probe = entry.action == ActionKind::Probe;
        let last = if entry.status == 2 { ExecStatus::TimedOut } else { ExecStatus::Exited(entry.rc) };
        self.last = (entry.action, last);
        // What the result says by itself counts, unless its execution failed for good.
        let executed = matches!(entry.status, 0 | 4);
        if !executed && rc == 0 {
            rc = 1;
        }
        let seen_stopped = context.unmanaged && rc == 7;
        // An error that was expected is an error all the same.
        let ok = executed && matches!(rc, 0 | 7 | 8) && (rc == expected || seen_stopped || probe);
        if ok {
            return self.success(entry, rc);
        }
        if context.expired.is_some_and(|until| entry.at <= until) {
            self.known = true;
            return;
        }
        if probe && (matches!(rc, 2 | 5) || entry.status == 7) {
            // It cannot run where what it needs is not there.
            self.known = true;
            self.not_installed = true;
            return;
        }
        let on_fail = on_fail(entry, context);
        if on_fail == OnFail::Ignore {
            self.ignored = true;
            return self.success(entry, expected);
        }
        self.fail(entry, rc, on_fail, context);
    }

    fn pending_entry(&mut self, entry: &Entry<'a>, context: &Context<'_>) {
        let active = if context.promotable { Role::Unpromoted } else { Role::Started };
        match entry.action {
            ActionKind::Start => self.role = Some(active),
            ActionKind::Promote => self.role = self.role.or(Some(active)),
            ActionKind::MigrateTo => self.migrated(entry, true, false, true),
            ActionKind::MigrateFrom => {
                self.role = Some(active);
                self.migrated(entry, false, false, true);
            }
            ActionKind::Probe | ActionKind::Monitor | ActionKind::Stop | ActionKind::Demote => return,
            ActionKind::Notify | ActionKind::Reload => return,
        }
        self.known = true;
        self.pending = Some(entry.action);
    }

    fn migrated(&mut self, entry: &Entry<'a>, away: bool, failed: bool, pending: bool) {
        let peer = entry.el.attr(if away { "migrate_target" } else { "migrate_source" });
        self.migration = peer.map(|peer| Migration { peer, away, failed, pending, at: entry.at });
    }

    fn success(&mut self, entry: &Entry<'a>, rc: i32) {
        self.known = true;
        self.pending = None;
        let mut forgives = false;
        match entry.action {
            // Whatever was asked for: it was expected not to run.
            _ if rc == 7 => {
                (self.role, forgives) = (None, true);
                self.migration = None;
            }
            ActionKind::Probe | ActionKind::Monitor => match rc {
                8 => self.role = Some(Role::Promoted),
                _ if self.role.is_none() => self.role = Some(Role::Started),
                _ => forgives = self.failure.is_some_and(|failure| failure.action == entry.action),
            },
            ActionKind::Start => {
                (self.role, forgives, self.migration) = (Some(Role::Started), true, None);
                self.not_installed = false;
            }
            ActionKind::Stop => (self.role, forgives) = (None, true),
            ActionKind::Promote => (self.role, forgives) = (Some(Role::Promoted), true),
            ActionKind::Demote => {
                self.role = Some(Role::Unpromoted);
                forgives = self.failure.is_some_and(|failure| failure.on_fail == OnFail::Demote);
            }
            ActionKind::MigrateTo => self.migrated(entry, true, false, false),
            ActionKind::MigrateFrom => {
                (self.role, forgives) = (Some(Role::Started), true);
                self.migrated(entry, false, false, false);
            }
            ActionKind::Notify | ActionKind::Reload => {}
        }
        if entry.action != ActionKind::Probe {
            self.touched = true;
        }
        if !matches!(entry.action, ActionKind::Monitor) {
            self.changed = entry.at;
        }
        let stays = self.failure.is_some_and(|failure| match failure.on_fail {
            OnFail::Stop | OnFail::Standby | OnFail::Fence | OnFail::Move => true,
            OnFail::Restart | OnFail::Ignore | OnFail::Block | OnFail::Demote => false,
        });
        if forgives && !stays {
            self.failure = None;
        }
    }

    fn fail(&mut self, entry: &Entry<'a>, rc: i32, on_fail: OnFail, context: &Context<'_>) {
        self.known = true;
        self.touched = true;
        self.pending = None;
        let active = Some(self.role.unwrap_or(Role::Started));
        self.role = match (entry.action, rc) {
            (ActionKind::Promote, _) | (_, 8 | 9) if context.promotable => Some(Role::Promoted),
            // Nobody touches it, so it is what it was.
            (ActionKind::Demote, _) if on_fail == OnFail::Block => Some(Role::Promoted),
            (ActionKind::Demote, _) => Some(Role::Unpromoted),
            (_, _) => active,
        };
        match entry.action {
            ActionKind::MigrateTo => self.migrated(entry, true, true, false),
            ActionKind::MigrateFrom => self.migrated(entry, false, true, false),
            _ => {}
        }
        let kind = match (entry.status, rc) {
            (2, _) => FailureKind::TimedOut,
            (_, 7) => FailureKind::Died,
            (_, 5) => FailureKind::NotInstalled,
            (_, _) => FailureKind::Failed,
        };
        let stop = entry.action == ActionKind::Stop;
        match (entry.status, rc) {
            (6, _) | (_, 6) if !stop => self.banned_everywhere = true,
            // Where it could not be stopped it is not started again.
            (_, _) if stop => self.banned = true,
            (3, _) => self.banned = true,
            (5 | 7, _) | (_, 2 | 4 | 5) => self.banned = true,
            (_, 3) if entry.action != ActionKind::Monitor => self.banned = true,
            (_, _) => {}
        }
        let failed = Failed { action: entry.action, kind, on_fail, rc, at: entry.at };
        if self.failure.is_none_or(|known| severity(known.on_fail) <= severity(on_fail)) {
            self.failure = Some(failed);
        }
        self.changed = entry.at;
    }
}

/// Of several failures the strongest counts.
pub(super) fn severity(on_fail: OnFail) -> u8 {
    match on_fail {
        OnFail::Ignore => 0,
        OnFail::Demote => 1,
        OnFail::Restart => 2,
        OnFail::Move => 3,
        OnFail::Block => 4,
        OnFail::Stop => 5,
        OnFail::Standby => 6,
        OnFail::Fence => 7,
    }
}

/// A probe is asked for by nobody: what is said of a repeated monitor is not said of it.
fn on_fail(entry: &Entry<'_>, context: &Context<'_>) -> OnFail {
    let name = entry.el.attr("operation").unwrap_or("");
    let op = context.ops.iter().find(|op| op.name == name && op.interval_ms == entry.interval_ms);
    let usual = || if context.mended_around { OnFail::Restart } else { usual(name, context.fencing) };
    op.and_then(|op| op.on_fail).unwrap_or_else(usual)
}
