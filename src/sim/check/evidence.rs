//! Every evidence is true: what ended does not run, and a boot that was proven off is off.

use super::Invariant;
use crate::sim::agents::thing_of;
use crate::sim::world::Sim;
use crate::state::State;

impl Sim {
    pub(super) fn check_ended(&mut self, before: &State, state: &State) {
        for (key, claim) in &before.claims {
            if state.claims.get(key).is_some_and(|new| new.epoch == claim.epoch) {
                continue;
            }
            let host = self.host_of(&key.node);
            let same_boot = self.hosts[host].up && self.boot_id(host) == claim.incarnation.boot;
            let Some(definition) = before.definitions.get(&claim.definition) else { continue };
            let thing = thing_of(&key.instance.resource, &definition.resource);
            let runs = self.hosts[host].services.get(&thing).is_some_and(|service| !service.is_nobodys());
            if same_boot && runs && self.hosts[host].lied_off != Some(self.hosts[host].boot) {
                self.violated(Invariant::Evidence, format!("the claim on {key} ended although it runs there"));
            }
        }
    }

    /// A daemon ended; `clean`: it says that nothing of the cluster runs there any more.
    pub fn check_exit(&mut self, host: usize, clean: bool) {
        let left = self.hosts[host].services.iter().filter(|(_, service)| !service.is_nobodys());
        let left: Vec<_> = left.map(|(thing, _)| thing.to_string()).collect();
        if clean && !left.is_empty() {
            self.violated(Invariant::Evidence, format!("n{} left while {left:?} run there", host + 1));
        }
    }

    pub(super) fn check_proven_off(&mut self, state: &State) {
        for host in 0..self.hosts.len() {
            let boot = self.boot_id(host);
            let burnt = state.nodes.get(&self.hosts[host].name).is_some_and(|node| node.burnt.contains(&boot));
            if !burnt || !self.hosts[host].up || self.hosts[host].lied_off == Some(self.hosts[host].boot) {
                continue;
            }
            // Whose lease is over may live: it has let go of everything in time, and resets itself once it learns.
            let by_lease = state.nodes[&self.hosts[host].name].lease_over.as_ref() == Some(&boot);
            let keeps = self.hosts[host].services.values().any(|service| !service.is_nobodys());
            if !by_lease || keeps {
                self.violated(Invariant::Evidence, format!("{boot} was proven off, but it is not"));
            }
        }
    }
}
