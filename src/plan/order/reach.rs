//! Edges between what runs on a remote node and the resource over which it is reached.
//!
//! Input: the steps. Output: edges: what starts there waits for the connection, what stops there goes before it; what
//! ended with its container comes after that.

use super::Builder;
use crate::plan::graph::{At, StepKind};
use crate::plan::reach::Reach;
use crate::state::ClaimKey;

impl Builder<'_, '_> {
    pub(super) fn reach_edges(&mut self) {
        if self.world.nodes.iter().all(|info| info.reach.is_none()) {
            return;
        }
        for made in self.made.clone() {
            let Some(reach) = self.world.nodes[made.node].reach else { continue };
            let up = matches!(made.kind, StepKind::Start | StepKind::Promote);
            let ended = reach.container.filter(|_| reach.reset && !up);
            if let Some(container) = ended {
                self.end_with(container, made.at);
                continue;
            }
            for (kind, connection) in self.connection_steps(made.node, reach) {
                match (up, kind) {
                    (true, StepKind::Start) => self.edge(connection, made.at),
                    (false, StepKind::Stop) => self.edge(made.at, connection),
                    (_, _) => {}
                }
            }
        }
        for place in 0..self.probes.len() {
            for (node, probe) in self.probes[place].clone() {
                let Some(reach) = self.world.nodes[node].reach else { continue };
                for (_, connection) in self.connection_steps(node, reach).filter(|(kind, _)| *kind == StepKind::Start) {
                    self.edge(connection, probe);
                }
            }
        }
    }

    /// What ran inside is over when its container is, by a stop or with the node that it was on.
    fn end_with(&mut self, container: usize, step: At) {
        for stop in self.made_of(container).into_iter().filter(|made| made.kind == StepKind::Stop) {
            self.edge(stop.at, step);
        }
        let hosts: Vec<usize> = self.world.res[container].claims.iter().map(|live| live.node).collect();
        for host in hosts.into_iter().filter(|host| self.world.nodes[*host].unclean()) {
            self.wait_for_fencing(host, step);
        }
    }

    /// Start and stop of the connection of a node.
    fn connection_steps(&self, node: usize, reach: Reach) -> impl Iterator<Item = (StepKind, At)> + use<> {
        let steps: Vec<(StepKind, At)> = match reach.connection {
            Some(connection) => self.made_of(connection).into_iter().map(|made| (made.kind, made.at)).collect(),
            None => {
                let document = self.world.nodes[node].document;
                let name = document.and_then(|document| document.connection.as_ref());
                let own = self.world.removed.iter().filter(|live| Some(&live.key.instance.resource) == name);
                let key = |live: &crate::plan::instances::Live<'_>| ClaimKey {
                    instance: live.key.instance.clone(),
                    node: live.key.node.clone(),
                };
                own.filter_map(|live| self.graph.index.get(&(StepKind::Stop, key(live))))
                    .map(|at| (StepKind::Stop, *at))
                    .collect()
            }
        };
        steps.into_iter()
    }
}
