//! What `whatif` says, as the documents of `-o json`.

use crate::api::types::{BarView, HomeView, HomelessView, LackView, QuorumView, SimulationView, StoryLine, StoryWord};
use crate::model::{Kind, Reason, Spec};
use crate::plan::StepKind;
use crate::whatif::{Ending, Happened, Homeless, Homes, Lack, Told};

/// A story, told step by step.
pub fn simulation(spec: &Spec, steps: &[Vec<Told>], before: &Homes, end: &Ending) -> SimulationView {
    let story = steps.iter().zip(1..).flat_map(|(told, step)| told.iter().map(move |told| (step, told)));
    let mut homes = Vec::new();
    for (resource, places) in &end.homes.0 {
        homes.extend(places.iter().map(|(node, role)| HomeView {
            resource: resource.to_string(),
            node: node.to_string(),
            role: *role,
            stayed: before.of(resource).contains(&(node.clone(), *role)),
        }));
    }
    SimulationView {
        story: story.map(|(step, told)| line(spec, step, told)).collect(),
        quorum: QuorumView { kept: end.reach.quorum, votes: end.reach.votes.0 as u32, of: end.reach.votes.1 as u32 },
        fenced: end.fenced.iter().map(ToString::to_string).collect(),
        homes,
        homeless: end.homeless.iter().map(|homeless| homeless_view(spec, homeless)).collect(),
        ..SimulationView::default()
    }
}

pub fn homeless_view(spec: &Spec, homeless: &Homeless) -> HomelessView {
    HomelessView {
        resource: homeless.resource.to_string(),
        lack: match homeless.lack {
            Lack::All => LackView::Nowhere,
            Lack::Copies(_, _) => LackView::TooFewCopies,
            Lack::Promoted => LackView::NotPromoted,
        },
        at: spec.origin(Kind::Resource, homeless.resource.as_str()).map(ToString::to_string),
        bars: homeless
            .bars
            .iter()
            .map(|bar| BarView {
                node: bar.node.as_ref().map(ToString::to_string),
                why: bar.why.clone(),
                at: bar.origin.as_ref().map(ToString::to_string),
                hint: bar.hint.clone(),
            })
            .collect(),
    }
}

fn line(spec: &Spec, step: u32, told: &Told) -> StoryLine {
    let at = |name: &str| spec.origin(Kind::Resource, name).map(ToString::to_string);
    let line = |what: StoryWord, object: String, reason: String| StoryLine {
        step,
        round: told.round,
        what,
        object,
        node: None,
        reason,
        at: None,
    };
    match &told.what {
        Happened::Fault(fault) => line(StoryWord::Fault, fault.to_string(), String::new()),
        Happened::Idle(fault, why) => line(StoryWord::Nothing, fault.to_string(), why.clone()),
        Happened::CutOff { node } => {
            line(StoryWord::CutOff, node.to_string(), "the majority does not hear it; it stops what it runs".into())
        }
        Happened::Heard { node } => line(StoryWord::Heard, node.to_string(), "it is heard again".into()),
        Happened::QuorumLost { left, of } => {
            let why = format!("{left} of {of} voters hear each other; it takes {}", of / 2 + 1);
            line(StoryWord::QuorumLost, "the cluster".into(), why)
        }
        Happened::QuorumBack => line(StoryWord::QuorumBack, "the cluster".into(), "a majority is back".into()),
        Happened::Fenced { node, devices, by, reason } => {
            let devices: Vec<&str> = devices.iter().map(|device| device.as_str()).collect();
            let why = format!("with {}: {reason}", devices.join(" and "));
            StoryLine { node: Some(by.to_string()), ..line(StoryWord::Fence, node.to_string(), why) }
        }
        Happened::RanOut { node } => {
            line(StoryWord::RunOut, node.to_string(), "its watchdog has reset it, and its lease is over".into())
        }
        Happened::Done { kind, key, reason } => {
            let what = match kind {
                StepKind::Start => StoryWord::Start,
                StepKind::Stop => StoryWord::Stop,
                StepKind::Promote => StoryWord::Promote,
                StepKind::Demote => StoryWord::Demote,
                StepKind::Reload => StoryWord::Reload,
                StepKind::MigrateTo => StoryWord::Leave,
                StepKind::MigrateFrom => StoryWord::Arrive,
                StepKind::Fence { .. } => StoryWord::Fence,
                StepKind::Probe | StepKind::Notify { .. } => StoryWord::Nothing,
            };
            StoryLine {
                node: Some(key.node.to_string()),
                at: at(key.instance.resource.as_str()),
                ..line(what, key.instance.to_string(), why(reason))
            }
        }
        Happened::Failed { operation, key } => StoryLine {
            node: Some(key.node.to_string()),
            at: at(key.instance.resource.as_str()),
            ..line(StoryWord::Fail, key.instance.to_string(), format!("its {operation} fails"))
        },
        Happened::NoEnd => line(StoryWord::NoEnd, "the cluster".into(), "does not come to rest".into()),
    }
}

fn why(reason: &Reason) -> String {
    reason.to_string()
}
