//! Leases: how a node that only its watchdog fences knows that the others still count on it, and how the leader counts
//! until it surely has ended.
//!
//! The node. A lease runs from when it *sent* a heartbeat that the leader acknowledged, so the way back may take as long as
//! it likes. While that is fresh the watchdog is petted, up to a moment that is part of every [`Effect::Pet`]: a core that
//! stands still pets no more. A lease that runs low is a lost quorum: everything is stopped, in order. What is not stopped,
//! and seen to be so, when `selfStopAfter` and `stopBudget` are over is ended by the watchdog. A node that holds nothing
//! goes on petting: the loss of a switch reboots nobody.
//!
//! What a node has said of its watchdog is what the others count by, until it is agreed otherwise: it withdraws that before
//! it lets go of the device or sets it anew, and pets for longer only after it was agreed.
//!
//! The leader. A heartbeat is acknowledged only after a round of the voters that began after it had come in; a suspect is
//! not acknowledged. The count begins with the first round that acknowledged the last heartbeat of a boot, or with the application
//! of this leader's own `LeaderStart`, whichever is later; then [`Command::WatchdogElapsed`].
//!
//! Why that is safe: what an older leader acknowledged was confirmed by a majority after it came in, and some voter of
//! that majority has voted for the newer one since. So it was sent before the newer one's `LeaderStart`.
//!
//! Deliberately absent: what counts as evidence (`state::watchdog`), the device (`agent::watchdog`), sockets.

use super::node::Tag;
use super::{Effect, Node};
use crate::model::{DeviceId, Incarnation, LeaseTiming, NodeId, QuorumLoss, ResourceId, WatchdogFacts};
use crate::state::{ClaimKey, Command, Membership, NodeState, WatchdogReport};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A device that could not be armed is tried again after this long.
const ARM_AGAIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Default)]
pub(super) struct Lease {
    arm: Arm,
    /// What this node goes by.
    timing: Option<LeaseTiming>,
    /// When the newest acknowledged heartbeat was sent.
    from: Option<Duration>,
    /// Until when petting was allowed last.
    until: Option<Duration>,
    /// Why arming failed last: said once.
    complaint: Option<String>,
    /// It is to be reset, and nothing changes that.
    given_up: bool,
    // The leader's part.
    /// Which lease counts began when: at the application of this leader's start in that term.
    leading: Option<(u64, Duration)>,
    /// The newest heartbeat of a node that was acknowledged, and the first round that did: it came in before that.
    acknowledged: BTreeMap<NodeId, Acknowledged>,
    /// Boots that are heard although their lease is over, since when.
    lingering: BTreeMap<NodeId, Duration>,
    /// Silent nodes on which something depends, by the last plan.
    pub awaited: BTreeSet<NodeId>,
}

#[derive(Debug, Clone)]
struct Acknowledged {
    incarnation: Incarnation,
    seq: u64,
    /// When that round began.
    at: Duration,
}

#[derive(Debug, Clone, Default)]
enum Arm {
    #[default]
    Off,
    /// With this device and time-out, since when.
    Asked {
        timeout: Duration,
    },
    Armed {
        timeout: Duration,
        facts: WatchdogFacts,
    },
    Failed {
        why: String,
        at: Duration,
    },
}

impl Lease {
    fn renew(&mut self, sent: Duration) {
        self.from = self.from.max(Some(sent));
    }
}

impl Node {
    /// Whether this node answers with its life for its lease.
    pub fn is_leased(&self) -> bool {
        matches!(self.lease.arm, Arm::Armed { .. })
    }

    /// How long the newest acknowledged heartbeat is ago, where that is too long.
    pub(super) fn lease_is_low(&self) -> Option<Duration> {
        let timing = self.lease.timing.filter(|_| self.is_leased())?;
        let age = self.lease.from.map_or(Duration::MAX, |from| self.now.saturating_sub(from));
        (age > timing.self_stop_after).then_some(age)
    }

    /// When a lease runs low, or is over, if nothing comes.
    pub(super) fn next_lease(&self) -> Option<Duration> {
        let low = self.lease.timing.filter(|_| self.is_leased()).zip(self.lease.from);
        let low = low.map(|(timing, from)| from + timing.self_stop_after + Duration::from_millis(1));
        let over = self.lease.awaited.iter().filter_map(|name| self.over_at(name).map(|(at, _)| at));
        over.chain(low).filter(|at| *at > self.now).min()
    }

    /// This node's heartbeat of that time was acknowledged.
    pub(super) fn renew_lease(&mut self, sent: Duration) {
        self.lease.renew(sent.min(self.now));
    }

    pub(super) fn watchdog_armed(&mut self, result: Result<WatchdogFacts, String>) {
        let Arm::Asked { timeout } = self.lease.arm else { return };
        let timing = self.lease.timing.unwrap_or(LeaseTiming::DEFAULT);
        self.lease.arm = match result {
            Ok(facts) => {
                let sum = timing.sum(facts.timeout);
                if sum.holds() {
                    Arm::Armed { timeout, facts }
                } else {
                    self.effects.push(Effect::Disarm);
                    Arm::Failed { why: format!("its time-out does not fit: {sum}"), at: self.now }
                }
            }
            Err(why) => Arm::Failed { why, at: self.now },
        };
        if let Arm::Failed { why, .. } = &self.lease.arm
            && self.lease.complaint.replace(why.clone()).as_ref() != Some(why)
        {
            let text = format!("the watchdog is not armed: {why}");
            self.effects.push(Effect::Note { key: None, text });
        }
    }

    /// Arms, reports and pets, or lets go.
    pub(super) fn keep_lease(&mut self) {
        self.arm_or_disarm();
        self.report_watchdog();
        if !self.is_leased() {
            return;
        }
        self.give_up_if_told();
        let until = self.pet_until();
        if self.lease.until != Some(until) {
            self.lease.until = Some(until);
            self.effects.push(Effect::Pet { until });
        }
    }

    fn arm_or_disarm(&mut self) {
        let Some(device) = self.wants_watchdog() else {
            if !matches!(self.lease.arm, Arm::Off) && self.has_joined() && self.agreed().is_none() {
                // Nothing that is committed from here on rests on it.
                self.lease.arm = Arm::Off;
                self.lease.until = None;
                self.effects.push(Effect::Disarm);
            }
            return;
        };
        self.follow_timing();
        // What an earlier daemon of this boot reported counts until it is withdrawn.
        let timing = self.agreed().map_or_else(|| self.state.lease_timing(), |agreed| agreed.timing);
        let timeout = timing.whole_timeout();
        let free = match &self.lease.arm {
            Arm::Off => true,
            Arm::Asked { .. } => false,
            Arm::Armed { .. } => self.is_set_anew() && self.agreed().is_none(),
            Arm::Failed { at, .. } => self.now.saturating_sub(*at) >= ARM_AGAIN,
        };
        // Not before the first acknowledgement: a node that just began to ask for a lease must not stop for the lack of it.
        // Before its own `Join`, too: what an earlier daemon of this boot started waits for no commit.
        if free && self.is_fresh(timing) && !self.is_burnt() {
            self.lease.timing = Some(timing);
            self.lease.arm = Arm::Asked { timeout };
            let path = self.watchdog_path(&device);
            self.effects.push(Effect::Arm { path, timeout });
        }
    }

    /// Whether what is armed is to be armed with another time-out.
    fn is_set_anew(&self) -> bool {
        let timing = self.state.lease_timing();
        let timeout = timing.whole_timeout();
        let other = matches!(&self.lease.arm, Arm::Armed { timeout: old, .. } if *old != timeout);
        other && timing.sum(timeout).holds() && self.is_fresh(timing)
    }

    fn is_fresh(&self, timing: LeaseTiming) -> bool {
        self.lease.from.is_some_and(|from| self.now.saturating_sub(from) <= timing.self_stop_after)
    }

    /// What is agreed of this node's watchdog. As long as it is, a leader may count by it.
    fn agreed(&self) -> Option<&WatchdogReport> {
        self.state.nodes.get(&self.config.node).and_then(|node| node.watchdog.as_ref())
    }

    fn wants_watchdog(&self) -> Option<DeviceId> {
        let me = &self.config.node;
        self.state.watchdog_of(me).filter(|_| !self.state.is_disarmed(me))
    }

    /// New times from git, unless they do not fit the device: then the old ones stay.
    ///
    /// Shorter petting counts at once, and is reported after that; longer petting only when it is agreed. So whatever git
    /// says in between, nobody pets for longer than the others wait.
    fn follow_timing(&mut self) {
        let (Some(now), Some(next)) = (self.lease.timing, self.next_timing()) else { return };
        let agreed = self.agreed().is_some_and(|agreed| agreed.timing == next);
        if next.pet_until() <= now.pet_until() || agreed {
            self.lease.timing = Some(next);
        }
    }

    /// The times to go by as soon as that is safe.
    fn next_timing(&self) -> Option<LeaseTiming> {
        let wanted = self.state.lease_timing();
        match &self.lease.arm {
            Arm::Armed { facts, .. } if wanted.sum(facts.timeout).holds() => Some(wanted),
            Arm::Off | Arm::Asked { .. } | Arm::Armed { .. } | Arm::Failed { .. } => self.lease.timing,
        }
    }

    fn watchdog_path(&self, device: &DeviceId) -> String {
        let spec = self.state.spec();
        let document = spec.and_then(|spec| spec.devices.get(device));
        let path = document.and_then(|document| document.params.get("device")).cloned();
        path.unwrap_or_else(|| "/dev/watchdog".into())
    }

    /// What is agreed of this node's watchdog is what it has.
    fn report_watchdog(&mut self) {
        if !self.has_joined() {
            return;
        }
        let report = match (&self.lease.arm, self.next_timing()) {
            // Withdrawn before it is let go or set anew: what is agreed never rests on a watchdog that is not there.
            (Arm::Armed { .. }, _) if self.wants_watchdog().is_none() || self.is_set_anew() => None,
            (Arm::Armed { facts, .. }, Some(timing)) => Some(WatchdogReport { facts: facts.clone(), timing }),
            // Not asked for yet, or not answered: what an earlier daemon of this boot reported still fires.
            (Arm::Asked { .. }, _) => return,
            (Arm::Off, _) if self.wants_watchdog().is_some() => return,
            (Arm::Off | Arm::Armed { .. } | Arm::Failed { .. }, _) => None,
        };
        if self.agreed() != report.as_ref() {
            let (node, incarnation) = (self.config.node.clone(), self.config.incarnation.clone());
            self.propose_once(Tag::Watchdog, Command::Watchdog { node, incarnation, report });
        }
    }

    /// A boot that is held for off, or a resource that is to be ended at once, needs the reset.
    fn give_up_if_told(&mut self) {
        if self.lease.given_up {
            return;
        }
        let lost = self.isolation.since.is_some();
        let fence = lost && self.unsettled().any(|key| self.loses_by(key) == Some(QuorumLoss::Fence));
        // Nobody else can do it: also where this node leads, and hears itself.
        let me = &self.config.node;
        let suspect = self.state.nodes.get(me).is_some_and(|node| node.membership == Membership::Suspect);
        let asked = suspect && self.state.fence_asked(me).is_some();
        let why = match (self.is_burnt(), fence, asked) {
            (true, ..) => "this boot was proven off",
            (false, true, _) => "the quorum is lost, and `quorumLoss: Fence` asks for it",
            (false, false, true) => "this node is to be fenced, and has nothing but its watchdog",
            (false, false, false) => return,
        };
        self.lease.given_up = true;
        let text = format!("{why}: the watchdog is petted no more, and resets this machine");
        self.effects.push(Effect::Note { key: None, text });
    }

    fn pet_until(&self) -> Duration {
        let Some(timing) = self.lease.timing.filter(|_| !self.lease.given_up) else { return Duration::ZERO };
        let leased = self.lease.from.map(|from| from + timing.pet_until()).unwrap_or_default();
        // While the lease is fresh nothing is asked of this node.
        let low = self.lease_is_low().is_some();
        let free = low && self.unsettled().next().is_none() && self.ops.is_idle() && !self.may_run_unasked();
        // The core must have looked since.
        if free { leased.max(self.now + timing.pet_until()) } else { leased }
    }

    /// Whether something may run here of which nobody else knows: started by hand, and not looked at, or seen and not yet
    /// told. Once the lease is over nobody asks any more.
    ///
    /// By what was agreed, not by what is still to be done: of a node that learns that it is suspect the plan asks nothing.
    fn may_run_unasked(&self) -> bool {
        let me = &self.config.node;
        let runs = self.state.nodes.get(me).is_some_and(NodeState::may_have_run);
        let claimed = |name: &ResourceId| self.state.claims_on(me).any(|(key, _)| &key.instance.resource == name);
        let told = |name: &ResourceId| self.state.is_probed(name, me) || claimed(name);
        let unasked = |name: &ResourceId| !told(name) && !self.probes.saw_stopped(name);
        runs && self.has_joined() && self.state.current.keys().any(unasked)
    }

    /// What the log says that this node may run, and that it has not stopped on its own.
    fn unsettled(&self) -> impl Iterator<Item = &ClaimKey> {
        let stopped =
            |key: &ClaimKey, epoch| self.isolation.has_stopped_epoch(key, epoch) || self.ops.is_releasing(key);
        self.state
            .claims_on(&self.config.node)
            .filter(move |(key, claim)| !stopped(key, claim.epoch))
            .map(|(key, _)| key)
    }

    fn loses_by(&self, key: &ClaimKey) -> Option<QuorumLoss> {
        let claim = self.state.claims.get(key)?;
        Some(self.state.definitions.get(&claim.definition)?.resource.quorum_loss)
    }

    pub(super) fn lease_troubles(&self) -> Option<String> {
        let why = match &self.lease.arm {
            Arm::Failed { why, .. } => Some(why),
            // Tried once more.
            Arm::Asked { .. } => self.lease.complaint.as_ref(),
            Arm::Off | Arm::Armed { .. } => None,
        }?;
        let me = &self.config.node;
        Some(format!("the watchdog of {me} is not armed, so nothing would prove it off: {why}"))
    }

    // ---- the leader ------------------------------------------------------------------------------------------------

    /// A majority has confirmed, in a round begun at `began`, that this node leads in `term`; these had been heard before.
    pub(super) fn take_round(&mut self, term: u64, began: Duration, heard: BTreeMap<NodeId, (Incarnation, u64)>) {
        if !self.leadership.is_self || self.leadership.term != term || self.is_burnt() {
            return;
        }
        self.renew_lease(began);
        let mut acks = BTreeMap::new();
        for (name, (incarnation, seq)) in heard {
            if self.may_acknowledge(&name, &incarnation) {
                let last = self.lease.acknowledged.get(&name);
                let known = last.is_some_and(|last| last.incarnation == incarnation && last.seq >= seq);
                if !known {
                    let acknowledged = Acknowledged { incarnation: incarnation.clone(), seq, at: began };
                    self.lease.acknowledged.insert(name.clone(), acknowledged);
                }
                acks.insert(name, (incarnation, seq));
            }
        }
        self.effects.push(Effect::Acknowledge { acks });
    }

    /// Who is suspect is being counted out, and hears nothing that would prolong it.
    fn may_acknowledge(&self, name: &NodeId, incarnation: &Incarnation) -> bool {
        let Some(node) = self.state.nodes.get(name) else { return false };
        let boot = &incarnation.boot;
        let counts = matches!(node.membership, Membership::Online | Membership::Joining);
        counts && node.incarnation.boot == *boot && !node.burnt.contains(boot)
    }

    /// Notes since when this node leads, as far as leases are concerned.
    pub(super) fn count_leases(&mut self) {
        let term = self.leadership.term;
        let leads = self.leadership.is_self;
        let started = self.state.leader.as_ref();
        let started = started.is_some_and(|l| l.incarnation == self.config.incarnation && l.term == term);
        match self.lease.leading {
            Some((known, _)) if leads && known == term => {}
            _ if leads && started => self.lease.leading = Some((term, self.now)),
            _ => self.lease.leading = None,
        }
        if self.lease.leading.is_none() {
            self.lease.acknowledged.clear();
            self.lease.awaited.clear();
        }
        let (now, within) = (self.now, self.suspect_after());
        let heard = |(name, node): (&NodeId, &NodeState)| {
            let boot = &node.incarnation.boot;
            let lingers = node.lease_over.as_ref() == Some(boot) && self.contacts.age(name, boot)? <= within;
            lingers.then(|| (name.clone(), self.lease.lingering.get(name).copied().unwrap_or(now)))
        };
        self.lease.lingering = self.state.nodes.iter().filter_map(heard).collect();
    }

    /// Whether a boot whose lease is over may still be heard: it let go of everything in time, learns that it is over, and
    /// resets itself. Longer than that takes, and its watchdog is none.
    pub(super) fn may_linger(&self, name: &NodeId) -> bool {
        let Some(node) = self.state.nodes.get(name) else { return false };
        let timing = self.state.lease_timing();
        let grace = timing.pet_until() + timing.whole_timeout() * 2 + timing.reset_latency;
        let since = self.lease.lingering.get(name).copied().unwrap_or(self.now);
        node.lease_over.as_ref() == Some(&node.incarnation.boot) && self.now.saturating_sub(since) <= grace
    }

    /// When the lease of a silent node is over, and since when it is counted.
    fn over_at(&self, name: &NodeId) -> Option<(Duration, Duration)> {
        let (_, leading) = self.lease.leading?;
        let node = self.state.nodes.get(name)?;
        if node.membership != Membership::Suspect || node.burnt.contains(&node.incarnation.boot) {
            return None;
        }
        let last = self.lease.acknowledged.get(name).filter(|last| last.incarnation.boot == node.incarnation.boot);
        let since = last.map_or(leading, |last| leading.max(last.at));
        Some((since + self.state.lease_evidence(name).ok()?, since))
    }

    /// Suspects whose lease and watchdog have run out.
    pub(super) fn elapsed(&self) -> Vec<Command> {
        let over =
            |name: &&NodeId| **name != self.config.node && self.over_at(name).is_some_and(|(at, _)| at <= self.now);
        let said = |name: &NodeId| {
            let node = self.state.nodes.get(name)?;
            let (_, since) = self.over_at(name)?;
            Some(Command::WatchdogElapsed {
                leader: self.config.incarnation.clone(),
                node: name.clone(),
                boot: node.incarnation.boot.clone(),
                suspicion: node.suspicion.as_ref()?.number,
                waited_ms: self.now.saturating_sub(since).as_millis() as u64,
            })
        };
        self.lease.awaited.iter().filter(over).filter_map(said).collect()
    }
}
