//! A limit is never exceeded by what truly runs.

use super::{Act, Invariant};
use crate::model::{ActionKind, CloneMeta};
use crate::sim::agents::Service;
use crate::sim::machines::{Daemon, Host};
use crate::sim::world::Sim;
use crate::state::Membership;

impl Act<'_> {
    /// How often it may run, by the claim that is committed.
    fn limits(&self) -> Option<&CloneMeta> {
        let claim = self.truth.claims.get(&self.key);
        let committed = claim.and_then(|claim| self.truth.definitions.get(&claim.definition));
        committed.map_or(self.request.definition.clone.as_ref(), |definition| definition.clone.as_ref())
    }
}

impl Sim {
    /// Other hosts where the thing of an action truly runs, counted from 1. Without what is nobody's fault.
    fn others(&self, act: &Act<'_>, promoted: bool) -> Vec<usize> {
        let thing = act.thing();
        // Who was said to be off, and lives, is over: what it still does before it hears that is the device's fault.
        let acting = &self.hosts[act.host];
        if acting.lied_off == Some(acting.boot) {
            return Vec::new();
        }
        // What a start brings up may be there only when it ends.
        let begins = |machine: &Host| {
            machine.ops.values().any(|doing| {
                let kind = doing.request.kind;
                matches!(kind, ActionKind::Start | ActionKind::MigrateFrom) && doing.thing() == thing
            })
        };
        let runs = |host: &usize| {
            let machine = &self.hosts[*host];
            let service = machine.services.get(&thing);
            let there =
                service.is_some_and(|service| !self.is_excused(act, *host, service) && (service.promoted || !promoted));
            *host != act.host && machine.lied_off != Some(machine.boot) && (there || (!promoted && begins(machine)))
        };
        (0..self.hosts.len()).filter(runs).map(|host| host + 1).collect()
    }

    /// Whether nobody can be blamed for what runs on a host: an agent lied about it, or somebody started it by hand since
    /// the daemon of that host looked, which it does when it has joined: before what is started now was granted.
    fn is_excused(&self, act: &Act<'_>, host: usize, service: &Service) -> bool {
        let state = self.newest();
        let granted = act.truth.claims.get(&act.key).map(|claim| claim.granted_at);
        let joined = |daemon: &&Daemon| {
            let node = state.nodes.get(&self.hosts[host].name);
            node.is_some_and(|node| {
                let member = node.membership != Membership::Left && granted.is_some_and(|at| node.joined_at < at);
                node.incarnation == daemon.incarnation && member
            })
        };
        let looked = self.hosts[host].daemon.as_ref().filter(joined).map_or(0, |daemon| daemon.started);
        service.excused || service.by_hand.is_some_and(|at| at >= looked)
    }

    pub(super) fn check_start_limit(&mut self, act: &Act<'_>) {
        let others = self.others(act, false);
        let most = act.limits().map_or(1, |clone| clone.max as usize);
        if others.len() + 1 > most {
            self.violated(Invariant::Limits, format!("{} while it runs on n{others:?}", act.what));
        }
    }

    pub(super) fn check_promote_limit(&mut self, act: &Act<'_>) {
        let others = self.others(act, true);
        let most = act.limits().and_then(|clone| clone.promoted_max).unwrap_or(1) as usize;
        if others.len() + 1 > most {
            self.violated(Invariant::Limits, format!("{} while it is promoted on n{others:?}", act.what));
        }
    }
}
