//! Scenario documents as they are written: what goes wrong, and how it must end.
//!
//! As in `raw`: strict fields, their descriptions are those of the schema, and nothing has its default yet.

use super::raw::{Name, documents};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

documents! {
    /// What could go wrong, and how it must end: tried by `hafen simulate --suite`. A cluster does not look at it.
    struct RawScenario {
        /// One after the other; the cluster comes to rest in between.
        steps: Vec<RawScenarioStep>,
        /// What must be true in the end.
        expect: RawExpectation,
    }

    /// What happens at once.
    struct RawScenarioStep {
        /// These nodes lose their power.
        node_down: Option<Vec<Name>>,
        /// These nodes boot.
        node_up: Option<Vec<Name>>,
        /// These fencing devices answer no more.
        device_down: Option<Vec<Name>>,
        /// These fencing devices answer again.
        device_up: Option<Vec<Name>>,
        /// The networks of the addresses with these numbers are down; 0 is that of the first ones.
        link_down: Option<Vec<u32>>,
        /// They are up again.
        link_up: Option<Vec<u32>>,
        /// Operations that fail.
        fail: Option<Vec<RawFailing>>,
    }

    /// A monitor fails at once; everything else whenever it is tried in this step.
    struct RawFailing {
        resource: Name,
        operation: FailingOperation,
        node: Name,
    }

    /// What is not said is not looked at.
    struct RawExpectation {
        /// By resource, group or clone: the nodes on which it runs, all of them. `[]`: nowhere.
        placed: Option<BTreeMap<String, Vec<Name>>>,
        /// By promotable clone: the nodes on which it is promoted, all of them.
        promoted: Option<BTreeMap<String, Vec<Name>>>,
        /// All that ran in the beginning and has no home in the end.
        homeless: Option<Vec<Name>>,
        /// All nodes that were proven off.
        fenced: Option<Vec<Name>>,
        /// Whether a majority of the voters is left.
        quorum: Option<bool>,
    }
}

/// What can fail in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum FailingOperation {
    Monitor,
    Start,
    Stop,
    Promote,
    Demote,
}
