//! Scenarios: from their documents to the model.
//!
//! Input → output: a [`Tree`] without errors → what `hafen simulate --suite` tries, in order of file and place. Within a
//! step devices and links come before nodes, as on the command line.

use super::SourceFile;
use super::document::Tree;
use super::raw::{FailingOperation, Name, RawExpectation, RawScenarioStep};
use crate::model::scenario::{Expectation, FailedOperation, Fault, Scenario};
use crate::model::{NodeId, OpName, Origin, ResourceId};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn read(tree: &Tree, files: &[&SourceFile]) -> Vec<Scenario> {
    let scenario = |(doc, raw): (&super::document::Doc, &super::raw::RawScenario)| {
        let span = doc.name_span();
        let file = files.get(span.file_or(doc.file)).map_or(String::new(), |file| file.path.clone());
        Scenario {
            name: doc.name.clone(),
            origin: Origin { file, line: span.line, column: span.column },
            steps: raw.steps.iter().map(step).collect(),
            expect: expectation(&raw.expect),
        }
    };
    tree.scenarios().map(scenario).collect()
}

fn step(raw: &RawScenarioStep) -> Vec<Fault> {
    let names = |names: &Option<Vec<Name>>, fault: fn(&str) -> Fault| -> Vec<Fault> {
        names.iter().flatten().map(|name| fault(&name.0)).collect()
    };
    let links = |links: &Option<Vec<u32>>, fault: fn(usize) -> Fault| -> Vec<Fault> {
        links.iter().flatten().map(|link| fault(*link as usize)).collect()
    };
    let mut faults = names(&raw.device_up, |name| Fault::DeviceUp(name.into()));
    faults.extend(names(&raw.device_down, |name| Fault::DeviceDown(name.into())));
    faults.extend(links(&raw.link_up, Fault::LinkUp));
    faults.extend(links(&raw.link_down, Fault::LinkDown));
    faults.extend(names(&raw.node_up, |name| Fault::NodeUp(name.into())));
    faults.extend(names(&raw.node_down, |name| Fault::NodeDown(name.into())));
    faults.extend(raw.fail.iter().flatten().map(|failing| {
        Fault::Fail(FailedOperation {
            resource: ResourceId::new(failing.resource.0.as_str()),
            operation: match failing.operation {
                FailingOperation::Monitor => OpName::Monitor,
                FailingOperation::Start => OpName::Start,
                FailingOperation::Stop => OpName::Stop,
                FailingOperation::Promote => OpName::Promote,
                FailingOperation::Demote => OpName::Demote,
            },
            node: NodeId::new(failing.node.0.as_str()),
        })
    }));
    faults
}

fn expectation(raw: &RawExpectation) -> Expectation {
    let nodes =
        |names: &[Name]| -> BTreeSet<NodeId> { names.iter().map(|name| NodeId::new(name.0.as_str())).collect() };
    let places = |places: &Option<BTreeMap<String, Vec<Name>>>| {
        places.iter().flatten().map(|(name, at)| (ResourceId::new(name.as_str()), nodes(at))).collect()
    };
    Expectation {
        placed: places(&raw.placed),
        promoted: places(&raw.promoted),
        homeless: raw
            .homeless
            .as_ref()
            .map(|names| names.iter().map(|name| ResourceId::new(name.0.as_str())).collect()),
        fenced: raw.fenced.as_ref().map(|names| nodes(names)),
        quorum: raw.quorum,
    }
}
