//! Constraints: what must come before what, what belongs together, what belongs where.

use super::{Influence, NodeId, ResourceId, Role, Rule, Score};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `then` happens after `first`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub first: OrderEnd,
    pub then: OrderEnd,
    pub strength: OrderStrength,
    /// The opposite actions happen in the opposite order.
    pub symmetric: bool,
    /// More of `first`: any one of all of them is enough. Empty almost always.
    pub or: Vec<OrderEnd>,
    /// Of the copies of `first` one is enough, and the others are not waited for.
    pub any_copy: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEnd {
    /// A resource, group or clone.
    pub resource: ResourceId,
    pub action: OrderAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OrderAction {
    Start,
    Stop,
    Promote,
    Demote,
}

impl OrderAction {
    /// What undoes it.
    pub fn opposite(self) -> Self {
        match self {
            Self::Start => Self::Stop,
            Self::Stop => Self::Start,
            Self::Promote => Self::Demote,
            Self::Demote => Self::Promote,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OrderStrength {
    /// `then` does not run without `first`, and stops when `first` stops.
    Required,
    /// Only the order is kept, when both happen.
    Advisory,
    /// Never both at once, in whichever order.
    Serialize,
}

/// `resource` goes where `with` is, or where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colocation {
    pub resource: ColocationEnd,
    pub with: ColocationEnd,
    pub strength: Strength,
    /// For `Preferred` and `Avoid`, 1 to 1,000,000, which is infinite.
    pub weight: u32,
    /// None: the same node. Else: a node with the same value of this label or attribute, or without it where there is none.
    pub node_label: Option<String>,
    pub influence: Influence,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColocationEnd {
    pub resource: ResourceId,
    /// None: whatever its role.
    pub role: Option<Role>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub resource: ResourceId,
    pub nodes: NodeSelector,
    pub strength: Strength,
    /// For `Preferred` and `Avoid`, 1 to 1,000,000, which is infinite: unlike `Required`, `Preferred` with that weight
    /// leaves the nodes that are not named to fall back on.
    pub weight: u32,
    /// None: whatever its role.
    pub role: Option<Role>,
    /// The weight is what the node has under this label or attribute, as a score; a node that has none may not run it.
    pub weight_from: Option<String>,
    pub discovery: Discovery,
}

impl Location {
    /// What it adds to the score of a node that it selects. `label`: what the node has.
    pub fn score<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> Score {
        match &self.weight_from {
            Some(name) => label(name).and_then(Score::parse).unwrap_or(Score::NEVER),
            None => self.strength.score(self.weight),
        }
    }
}

/// Whether a resource is looked for on nodes before it is started (Pacemaker's `resource-discovery`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Discovery {
    #[default]
    Always,
    /// Not on the nodes that are named: nothing of it is ever there. A running cluster asks all the same.
    Never,
    /// Only on the nodes that are named, and it runs nowhere else.
    Exclusive,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeSelector {
    Names(Vec<NodeId>),
    /// Every label must be equal.
    Labels(BTreeMap<String, String>),
    Rule(Rule),
}

impl NodeSelector {
    /// Whether it means a node, by what the node has. `labels`: of its document; `label`: what its agents set now too;
    /// `now`: seconds since 1970.
    pub fn matches<'l>(
        &self,
        name: &NodeId,
        labels: &BTreeMap<String, String>,
        label: &dyn Fn(&str) -> Option<&'l str>,
        now: i64,
    ) -> bool {
        match self {
            Self::Names(names) => names.contains(name),
            Self::Labels(wanted) => wanted.iter().all(|(key, value)| labels.get(key) == Some(value)),
            Self::Rule(rule) => rule.holds(label, now),
        }
    }
}

/// The words for scores: what a constraint means when it says how strongly it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Strength {
    Required,
    Preferred,
    Avoid,
    Forbidden,
}

impl Strength {
    /// The score that the word compiles to.
    pub fn score(self, weight: u32) -> Score {
        match self {
            Self::Required => Score::INFINITY,
            Self::Preferred => Score::new(i64::from(weight)),
            Self::Avoid => -Score::new(i64::from(weight)),
            Self::Forbidden => Score::NEVER,
        }
    }
}
