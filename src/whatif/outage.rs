//! How long each service is down at worst, when it fails or its node is lost.
//!
//! Input: a spec. Output: for every resource the two sums, addend by addend. Every operation takes as long as its time-out
//! lets it, every level of fencing fails but the last, and whatever the resource needs has to be started before it.
//!
//! - Its node is lost: `suspectAfter` + fencing + the longest chain of starts that leads to it.
//! - It, or what it needs, fails: interval and time-out of the monitor + the longest chain of stops down to what failed +
//!   fencing, if a stop that fails is answered by it + the chain of starts.
//!
//! A bound, not a forecast: what `hafen plan` expects comes from what was measured. It holds where there is a node to go
//! to; whether there is one is the business of `survey`. Copies of a clone that is not promotable are not down as long as
//! another one runs, so clones have no sum of their own; a promotable one has that of its promotion.

use super::reach::{Proof, proof, working_levels};
use crate::model::{NodeId, OnFail, OpName, OrderAction, OrderStrength, ResourceId, Spec, duration};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The worst times of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub resource: ResourceId,
    pub node_lost: Worst,
    pub fails: Worst,
}

impl Outage {
    /// The longer of both.
    pub fn worst(&self) -> &Worst {
        match (&self.node_lost, &self.fails) {
            (Worst::Endless(_), _) => &self.node_lost,
            (Worst::Within(_), Worst::Endless(_)) => &self.fails,
            (Worst::Within(lost), Worst::Within(fails)) if lost.total() >= fails.total() => &self.node_lost,
            (Worst::Within(_), Worst::Within(_)) => &self.fails,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worst {
    Within(Sum),
    /// Somebody has to come; why, in words.
    Endless(String),
}

/// Times one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sum(pub Vec<(Duration, String)>);

impl Sum {
    pub fn total(&self) -> Duration {
        self.0.iter().fold(Duration::ZERO, |sum, (time, _)| sum.saturating_add(*time))
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addends: Vec<String> =
            self.0.iter().map(|(time, what)| format!("{} {what}", duration::format(*time))).collect();
        write!(f, "{} = {}", addends.join(" + "), duration::format(self.total()))
    }
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(sum) => sum.fmt(f),
            Self::Endless(why) => write!(f, "until somebody comes: {why}"),
        }
    }
}

/// The worst times of every resource that can be down as a whole, in order of name.
pub fn outages(spec: &Spec) -> Vec<Outage> {
    let chains = Chains::of(spec);
    let fencing = fencing(spec);
    let whole = spec.resources.keys().filter(|resource| match spec.clone_of(resource) {
        Some((_, clone)) => clone.promotable.is_some(),
        None => true,
    });
    whole
        .map(|resource| Outage {
            resource: resource.clone(),
            node_lost: node_lost(spec, &chains, &fencing, resource),
            fails: fails(spec, &chains, &fencing, resource),
        })
        .collect()
}

fn node_lost(spec: &Spec, chains: &Chains<'_>, fencing: &Worst, resource: &ResourceId) -> Worst {
    let fencing = match fencing {
        Worst::Within(sum) => sum.0.clone(),
        Worst::Endless(why) => return Worst::Endless(why.clone()),
    };
    let mut sum = Sum(vec![(spec.cluster.detection.suspect_after, "suspectAfter".into())]);
    sum.0.extend(fencing);
    sum.0.extend(chains.starts(resource, Cause::NodeLost));
    Worst::Within(sum)
}

fn fails(spec: &Spec, chains: &Chains<'_>, fencing: &Worst, resource: &ResourceId) -> Worst {
    let mut worst: Option<(Vec<(Duration, String)>, bool)> = None;
    for failed in chains.all_needed(resource) {
        let Some(document) = spec.resources.get(failed) else { continue };
        let monitors =
            [OpName::Monitor, OpName::MonitorPromoted].into_iter().filter_map(|op| document.operations.get(&op));
        let Some(monitor) = monitors.filter(|op| !op.interval.is_zero()).max_by_key(|op| op.interval + op.timeout)
        else {
            return Worst::Endless(format!("no monitor watches {failed}"));
        };
        let mut sum = vec![
            (monitor.interval, format!("until the monitor of {failed}")),
            (monitor.timeout, "its time-out".to_owned()),
        ];
        let stops = chains.stops(failed);
        let fences = stops.iter().any(|stopped| {
            let stop = spec.resources.get(*stopped).and_then(|document| document.operations.get(&OpName::Stop));
            stop.is_some_and(|stop| stop.on_fail == OnFail::Fence)
        });
        sum.extend(stops.into_iter().map(|stopped| (time(spec, stopped, OpName::Stop), format!("stop of {stopped}"))));
        let total = |sum: &[(Duration, String)]| sum.iter().map(|(time, _)| *time).sum::<Duration>();
        let longer = worst.as_ref().is_none_or(|(so_far, fenced)| (*fenced, total(so_far)) < (fences, total(&sum)));
        if longer {
            worst = Some((sum, fences));
        }
    }
    let Some((sum, fences)) = worst else { return Worst::Within(Sum::default()) };
    let mut sum = Sum(sum);
    match fencing {
        Worst::Within(fencing) if fences => sum.0.extend(fencing.0.iter().cloned()),
        Worst::Endless(why) if fences => return Worst::Endless(format!("a stop may fail, and {why}")),
        Worst::Within(_) | Worst::Endless(_) => {}
    }
    sum.0.extend(chains.starts(resource, Cause::Fails));
    Worst::Within(sum)
}

/// Until the slowest node is proven off.
fn fencing(spec: &Spec) -> Worst {
    let nothing = BTreeSet::new();
    let mut slowest = Sum::default();
    for node in spec.resource_nodes() {
        let sum = match proof(spec, node, &nothing) {
            Proof::None(why) => return Worst::Endless(format!("nothing proves {node} off: {why}")),
            Proof::ByItself => Sum(vec![(spec.cluster.watchdog.lease_ttl, format!("leaseTtl of {node}"))]),
            Proof::Attempt => attempts(spec, node),
        };
        if sum.total() > slowest.total() {
            slowest = sum;
        }
    }
    Worst::Within(slowest)
}

fn attempts(spec: &Spec, node: &NodeId) -> Sum {
    let levels = working_levels(spec, node, &BTreeSet::new()).len();
    let name = |level: usize| match levels {
        1 => format!("fencing of {node}"),
        _ => format!("fencing of {node}, level {}", level + 1),
    };
    Sum((0..levels).map(|level| (spec.cluster.fencing.timeout, name(level))).collect())
}

fn time(spec: &Spec, resource: &ResourceId, operation: OpName) -> Duration {
    let default = |op: OpName| spec.resources.get(resource).and_then(|document| document.operations.get(&op));
    default(operation).or_else(|| default(OpName::Start)).map_or(Duration::ZERO, |operation| operation.timeout)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    NodeLost,
    Fails,
}

/// Who has to be up before whom.
struct Chains<'a> {
    spec: &'a Spec,
    needs: BTreeMap<&'a ResourceId, Vec<&'a ResourceId>>,
    needed_by: BTreeMap<&'a ResourceId, Vec<&'a ResourceId>>,
    /// Every resource behind all that it needs, as far as there is no cycle.
    sorted: Vec<&'a ResourceId>,
}

impl<'a> Chains<'a> {
    fn of(spec: &'a Spec) -> Self {
        let mut chains = Self { spec, needs: BTreeMap::new(), needed_by: BTreeMap::new(), sorted: Vec::new() };
        for group in spec.groups.values() {
            group.members.windows(2).for_each(|pair| chains.add(&pair[0], &pair[1]));
        }
        let up = |action: OrderAction| matches!(action, OrderAction::Start | OrderAction::Promote);
        for order in spec.orders.values().filter(|order| order.strength == OrderStrength::Required) {
            for first in std::iter::once(&order.first).chain(&order.or) {
                let ends = (spec.primitives_of(&first.resource), spec.primitives_of(&order.then.resource));
                if let (Some(first_end), Some(then)) = (ends.0.last(), ends.1.first())
                    && up(first.action)
                    && up(order.then.action)
                {
                    chains.add(first_end, then);
                }
            }
        }
        chains.sort();
        chains
    }

    fn add(&mut self, first: &'a ResourceId, then: &'a ResourceId) {
        self.needs.entry(then).or_default().push(first);
        self.needed_by.entry(first).or_default().push(then);
    }

    fn sort(&mut self) {
        let mut open: BTreeMap<&ResourceId, usize> =
            self.spec.resources.keys().map(|name| (name, self.needs.get(name).map_or(0, Vec::len))).collect();
        let mut ready: Vec<&'a ResourceId> =
            self.spec.resources.keys().filter(|name| !self.needs.contains_key(*name)).collect();
        while let Some(name) = ready.pop() {
            self.sorted.push(name);
            for later in self.needed_by.get(name).into_iter().flatten() {
                if let Some(left) = open.get_mut(*later) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push(later);
                    }
                }
            }
        }
    }

    /// Itself, and whatever has to be up before it.
    fn all_needed(&self, resource: &'a ResourceId) -> BTreeSet<&'a ResourceId> {
        let mut all = BTreeSet::from([resource]);
        let mut queue = vec![resource];
        while let Some(name) = queue.pop() {
            queue.extend(self.needs.get(name).into_iter().flatten().copied().filter(|first| all.insert(first)));
        }
        all
    }

    /// The longest chain of starts that leads to it.
    fn starts(&self, resource: &'a ResourceId, cause: Cause) -> Vec<(Duration, String)> {
        let mut best: BTreeMap<&ResourceId, Vec<(Duration, String)>> = BTreeMap::new();
        let needed = self.all_needed(resource);
        for name in self.sorted.iter().filter(|name| needed.contains(*name)) {
            let before = self.needs.get(name).into_iter().flatten().filter_map(|first| best.get(*first));
            let total = |chain: &&Vec<(Duration, String)>| chain.iter().map(|(time, _)| *time).sum::<Duration>();
            let mut chain = before.max_by_key(total).cloned().unwrap_or_default();
            chain.extend(self.own(name, cause));
            best.insert(name, chain);
        }
        best.remove(resource).unwrap_or_default()
    }

    fn own(&self, name: &ResourceId, cause: Cause) -> Vec<(Duration, String)> {
        let start = || (time(self.spec, name, OpName::Start), format!("start of {name}"));
        let promote = || (time(self.spec, name, OpName::Promote), format!("promote of {name}"));
        match (self.spec.clone_of(name), cause) {
            (None, _) => vec![start()],
            (Some((_, clone)), Cause::NodeLost) if clone.promotable.is_some() => vec![promote()],
            // Copies on other nodes run on.
            (Some(_), Cause::NodeLost) => Vec::new(),
            (Some((_, clone)), Cause::Fails) if clone.promotable.is_some() => vec![start(), promote()],
            (Some(_), Cause::Fails) => vec![start()],
        }
    }

    /// The longest chain of stops that ends with this one: what needs it stops before.
    fn stops(&self, resource: &'a ResourceId) -> Vec<&'a ResourceId> {
        let mut best: BTreeMap<&ResourceId, Vec<&'a ResourceId>> = BTreeMap::new();
        for name in self.sorted.iter().rev() {
            let after = self.needed_by.get(name).into_iter().flatten().filter_map(|later| best.get(*later));
            let total = |chain: &&Vec<&ResourceId>| {
                chain.iter().map(|stopped| time(self.spec, stopped, OpName::Stop)).sum::<Duration>()
            };
            let mut chain = after.max_by_key(total).cloned().unwrap_or_default();
            chain.push(name);
            if *name == resource {
                return chain;
            }
            best.insert(name, chain);
        }
        vec![resource]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::World;

    fn worst(w: &World, name: &str) -> [String; 2] {
        let outage = outages(&w.spec).into_iter().find(|outage| outage.resource.as_str() == name).unwrap();
        [outage.node_lost.to_string(), outage.fails.to_string()]
    }

    fn seconds(w: &mut World, name: &str, operation: OpName, timeout: u64, interval: u64) {
        let operations = &mut w.resource(name).operations;
        let entry = operations[&OpName::Start].clone();
        let operation_of = operations.entry(operation).or_insert(entry);
        (operation_of.timeout, operation_of.interval) = (Duration::from_secs(timeout), Duration::from_secs(interval));
    }

    #[test]
    fn the_sum_follows_the_longest_chain() {
        let mut w = World::new(&["n1", "n2", "n3"]);
        w.resources(&["disk", "ip", "db"]);
        w.order("disk", "db");
        w.order("ip", "db");
        for (name, start) in [("disk", 40), ("ip", 5), ("db", 100)] {
            seconds(&mut w, name, OpName::Start, start, 0);
            seconds(&mut w, name, OpName::Monitor, 20, 10);
        }
        seconds(&mut w, "db", OpName::Stop, 60, 0);
        let [lost, fails] = worst(&w, "db");
        let chain = "40s start of disk + 100s start of db";
        let chain = chain.replace("100s", "1m40s");
        assert_eq!(lost, format!("1s500ms suspectAfter + 1m fencing of n1 + {chain} = 3m21s500ms"));
        let failed = "10s until the monitor of disk + 20s its time-out + 1m stop of db + 20s stop of disk";
        assert_eq!(fails, format!("{failed} + {chain} = 4m10s"));
        w.resource("disk").operations.get_mut(&OpName::Stop).unwrap().on_fail = OnFail::Fence;
        assert!(worst(&w, "db")[1].contains("20s stop of disk + 1m fencing of n1 + 40s start of disk"));
        w.levels("n2", 2);
        assert!(worst(&w, "ip")[0].contains("1m fencing of n2, level 1 + 1m fencing of n2, level 2"));
    }

    #[test]
    fn without_proof_or_monitor_it_has_no_end() {
        let mut w = World::new(&["n1", "n2", "n3"]);
        w.resources(&["a"]);
        assert_eq!(worst(&w, "a")[1], "until somebody comes: no monitor watches a");
        w.levels("n3", 0);
        assert_eq!(worst(&w, "a")[0], "until somebody comes: nothing proves n3 off: it has no fencing devices");
    }

    #[test]
    fn a_promotable_clone_is_down_for_its_promotion_and_others_are_not() {
        let mut w = World::new(&["n1", "n2", "n3"]);
        w.resources(&["drbd", "web"]);
        w.cloned("c-drbd", "drbd").promotable = Some(crate::model::Promotable { max: 1, per_node: 1 });
        w.cloned("c-web", "web");
        let names: Vec<String> = outages(&w.spec).into_iter().map(|outage| outage.resource.to_string()).collect();
        assert_eq!(names, ["drbd"]);
        assert!(worst(&w, "drbd")[0].ends_with("+ 20s promote of drbd = 1m21s500ms"));
    }
}
