//! What led to an event: the chain of events behind it, and the rule behind each of them.
//!
//! Input → output: the events that this node has seen, the place of one among them, and the manifests of now → that event, what
//! led to it, what led to that, with the document that makes each follow. Pure.
//!
//! Invariants: every link is older than the one before it, so a chain ends; it has at most [`MAX_LINKS`]. A link that is only
//! the last event that may be the cause is marked `likely`: the log says what was decided, not always after what.

use super::types::{ChainLink, EventView, RuleView};
use crate::model::{Kind, NodeId, Reason, ResourceId, Spec};
use crate::state::{Event, EventKind};

/// The longest chain told. From a start back to a lost node are five; more is no story that anybody reads.
const MAX_LINKS: usize = 12;

/// How well a cause is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The log says so.
    Said,
    /// It is the last that may be.
    Likely,
}

/// The event at `place`, and what led to it, nearest first. Empty if there is none.
pub fn story(events: &[Event], place: usize, spec: Option<&Spec>) -> Vec<ChainLink> {
    let mut links: Vec<ChainLink> = Vec::new();
    let mut next = (place < events.len()).then_some((place, Known::Said));
    while let Some((place, known)) = next.filter(|_| links.len() < MAX_LINKS) {
        let event = &events[place];
        let rule = spec.and_then(|spec| rule(spec, event));
        // The same document again says nothing new.
        let told = links.iter().any(|link| link.rule.is_some() && link.rule == rule);
        links.push(ChainLink {
            event: EventView::from(event),
            likely: known == Known::Likely,
            rule: rule.filter(|_| !told),
            revision: revision(event),
        });
        next = cause(&events[..place], event);
    }
    links
}

/// The newest event about an instance, by its name; what operators asked for is not among these.
pub fn newest_of(events: &[Event], instance: &str) -> Option<usize> {
    let about = |event: &Event| event.instance.as_ref().is_some_and(|found| found.to_string() == instance);
    events.iter().rposition(|event| event.kind != EventKind::Override && about(event))
}

fn of(event: &Event, resource: &ResourceId) -> bool {
    event.instance.as_ref().is_some_and(|instance| &instance.resource == resource)
}

/// `following 3f2a91c0de (ann)`
fn revision(event: &Event) -> Option<String> {
    match event.kind {
        EventKind::Target => event.text.split(' ').nth(1).map(str::to_owned),
        _ => None,
    }
}

/// What came before, and which of it led to `event`.
struct Before<'a> {
    events: &'a [Event],
    event: &'a Event,
}

impl Before<'_> {
    fn last(&self, is: impl Fn(&Event) -> bool) -> Option<usize> {
        self.events.iter().rposition(is)
    }

    fn said(&self, is: impl Fn(&Event) -> bool) -> Option<(usize, Known)> {
        self.last(is).map(|place| (place, Known::Said))
    }

    fn likely(&self, is: impl Fn(&Event) -> bool) -> Option<(usize, Known)> {
        self.last(is).map(|place| (place, Known::Likely))
    }

    /// The last event of one of these kinds about this node.
    fn on(&self, node: Option<&NodeId>, kinds: &[EventKind]) -> Option<usize> {
        self.last(|event| node.is_some() && event.node.as_ref() == node && kinds.contains(&event.kind))
    }

    fn same_instance(&self, kind: EventKind) -> Option<usize> {
        self.last(|event| event.kind == kind && event.instance == self.event.instance)
    }

    /// What makes the planner think anew.
    fn trigger(&self) -> Option<(usize, Known)> {
        let resource = self.event.instance.as_ref().map(|instance| &instance.resource);
        self.likely(|event| match event.kind {
            EventKind::Target
            | EventKind::Joined
            | EventKind::Left
            | EventKind::Suspected
            | EventKind::Cleared
            | EventKind::Evidence
            | EventKind::Override
            | EventKind::Cleanup => true,
            EventKind::Failed | EventKind::Found => resource.is_some_and(|resource| of(event, resource)),
            EventKind::Assigned
            | EventKind::Claimed
            | EventKind::Started
            | EventKind::Stopped
            | EventKind::Promoted
            | EventKind::Demoted
            | EventKind::FenceStarted
            | EventKind::FenceSucceeded
            | EventKind::FenceFailed
            | EventKind::Leader
            | EventKind::Alarm
            | EventKind::FenceCheck
            | EventKind::Announced
            | EventKind::Reloaded
            | EventKind::Report => false,
        })
    }
}

fn cause(events: &[Event], event: &Event) -> Option<(usize, Known)> {
    let before = Before { events, event };
    let node = event.node.as_ref();
    let said = |place: Option<usize>| place.map(|place| (place, Known::Said));
    let likely = |place: Option<usize>| place.map(|place| (place, Known::Likely));
    match event.kind {
        EventKind::Assigned => match &event.reason {
            Some(reason) => behind(&before, reason),
            None => before.trigger(),
        },
        EventKind::Claimed | EventKind::Promoted | EventKind::Demoted => {
            said(before.same_instance(EventKind::Assigned))
        }
        EventKind::Started => {
            let granted =
                before.said(|e| e.kind == EventKind::Claimed && e.instance == event.instance && e.node == event.node);
            granted.or_else(|| said(before.same_instance(EventKind::Assigned)))
        }
        EventKind::Stopped => {
            let failed = |e: &Event| e.kind == EventKind::Failed && e.node == event.node;
            let asked = |e: &Event| e.kind == EventKind::Assigned || failed(e);
            before.said(|e| e.instance == event.instance && asked(e)).or_else(|| before.trigger())
        }
        EventKind::Reloaded => said(before.last(|e| e.kind == EventKind::Target)),
        EventKind::Cleared => said(before.on(node, &[EventKind::Suspected])),
        EventKind::FenceStarted => {
            match before.on(node, &[EventKind::Suspected, EventKind::Override, EventKind::Failed]) {
                Some(place) if events[place].kind == EventKind::Suspected => said(Some(place)),
                place => likely(place),
            }
        }
        EventKind::FenceSucceeded | EventKind::FenceFailed => said(before.on(node, &[EventKind::FenceStarted])),
        EventKind::Evidence => likely(
            before.on(node, &[EventKind::FenceSucceeded, EventKind::Joined, EventKind::Override, EventKind::Suspected]),
        ),
        EventKind::Left => likely(before.on(node, &[EventKind::Override, EventKind::Evidence])),
        EventKind::Joined => {
            likely(before.on(node, &[EventKind::FenceSucceeded, EventKind::Left, EventKind::Suspected]))
        }
        EventKind::Target
        | EventKind::Failed
        | EventKind::Found
        | EventKind::Suspected
        | EventKind::Override
        | EventKind::Cleanup
        | EventKind::Leader
        | EventKind::Alarm
        | EventKind::FenceCheck
        | EventKind::Announced
        | EventKind::Report => None,
    }
}

/// The event that a planner's reason speaks of.
fn behind(before: &Before<'_>, reason: &Reason) -> Option<(usize, Known)> {
    let said = |place: Option<usize>| place.map(|place| (place, Known::Said));
    let resource = before.event.instance.as_ref().map(|instance| &instance.resource);
    let own = |event: &Event| resource.is_some_and(|resource| of(event, resource));
    match reason {
        Reason::NodeLost { node }
        | Reason::Fencing { node }
        | Reason::FencingFailed { node, .. }
        | Reason::NotProvenOff { node, .. } => {
            let lost = [EventKind::Suspected, EventKind::Left, EventKind::FenceStarted];
            said(before.on(Some(node), &lost)).or_else(|| before.trigger())
        }
        Reason::Draining { node } => said(before.on(Some(node), &[EventKind::Override])).or_else(|| before.trigger()),
        Reason::Override { by, .. } => {
            let begins = format!("{by}: ");
            before.said(|e| e.kind == EventKind::Override && e.text.starts_with(&begins)).or_else(|| before.trigger())
        }
        Reason::Threshold { node, .. } | Reason::Recover { node } | Reason::Backoff { node, .. } => {
            before.said(|e| e.kind == EventKind::Failed && own(e) && e.node.as_ref() == Some(node))
        }
        Reason::Changed | Reason::Removed | Reason::TargetRole => before.said(|e| e.kind == EventKind::Target),
        Reason::Follows { other } => before.said(|e| {
            let moved = matches!(e.kind, EventKind::Assigned | EventKind::Failed | EventKind::Stopped);
            moved && of(e, other)
        }),
        Reason::MultipleActive | Reason::Drift { .. } => before.said(|e| e.kind == EventKind::Found && own(e)),
        Reason::InPlace
        | Reason::Placed
        | Reason::BetterNode { .. }
        | Reason::NotProbed { .. }
        | Reason::After { .. }
        | Reason::NoNode { .. }
        | Reason::NoQuorum
        | Reason::Unmanaged
        | Reason::FailedBlocked { .. }
        | Reason::SameAs { .. }
        | Reason::NoTicket { .. }
        | Reason::NotInThisVersion { .. }
        | Reason::Told { .. } => before.trigger(),
    }
}

/// The document that makes such an event follow.
fn rule(spec: &Spec, event: &Event) -> Option<RuleView> {
    let written =
        |kind: Kind, name: &str, what: String| spec.origin(kind, name).map(|at| RuleView { what, at: at.to_string() });
    let resource = || {
        let name = event.instance.as_ref()?.resource.as_str();
        written(Kind::Resource, name, format!("Resource {name}"))
    };
    let node = |what: &str| {
        let name = event.node.as_ref()?.as_str();
        written(Kind::Node, name, format!("{what} Node {name}"))
    };
    match event.kind {
        EventKind::Assigned
        | EventKind::Claimed
        | EventKind::Started
        | EventKind::Stopped
        | EventKind::Promoted
        | EventKind::Demoted
        | EventKind::Failed
        | EventKind::Reloaded
        | EventKind::Announced => resource(),
        EventKind::Suspected | EventKind::Cleared => {
            let name = spec.cluster.name.as_str();
            written(Kind::Cluster, name, format!("`detection` of Cluster {name}"))
        }
        EventKind::FenceStarted | EventKind::FenceSucceeded | EventKind::FenceFailed => node("`fencing` of"),
        EventKind::Found
        | EventKind::Target
        | EventKind::Joined
        | EventKind::Left
        | EventKind::Evidence
        | EventKind::Override
        | EventKind::Cleanup
        | EventKind::Leader
        | EventKind::Alarm
        | EventKind::FenceCheck
        | EventKind::Report => None,
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
