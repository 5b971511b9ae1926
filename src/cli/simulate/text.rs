//! Stories and findings of `hafen simulate` for people.

use crate::api::types::{HomelessView, LackView, SimulationView, StoryLine, StoryWord};
use crate::cli::render;
use std::collections::{BTreeMap, BTreeSet};

/// What happens, where everything ends, and what has no home.
pub fn simulation(view: &SimulationView) -> String {
    let several = view.story.last().is_some_and(|line| line.step > 1);
    let rows: Vec<Vec<String>> = view.story.iter().map(|line| row(line, several)).collect();
    let mut text = format!("{}\n{}", render::strong("what happens"), render::table(&rows));
    text += &ending(view);
    text
}

fn row(line: &StoryLine, several: bool) -> Vec<String> {
    let number = if several { format!("{}.{}", line.step, line.round) } else { line.round.to_string() };
    let place = match (line.what, &line.node) {
        (StoryWord::Fence, Some(by)) => format!("by {by}"),
        (_, Some(node)) => format!("on {node}"),
        (_, None) => String::new(),
    };
    vec![number, word(line.what), line.object.clone(), place, line.reason.clone()]
}

fn word(what: StoryWord) -> String {
    match what {
        StoryWord::Fault => render::bad("fault"),
        StoryWord::Nothing => render::faint("nothing"),
        StoryWord::CutOff => render::bad("cut off"),
        StoryWord::Heard => render::good("heard"),
        StoryWord::QuorumLost => render::bad("no quorum"),
        StoryWord::QuorumBack => render::good("quorum"),
        StoryWord::Fence => render::bad("fence"),
        StoryWord::RunOut => render::bad("run out"),
        StoryWord::Start => render::good("start"),
        StoryWord::Stop => render::bad("stop"),
        StoryWord::Promote => render::good("promote"),
        StoryWord::Demote => render::warn("demote"),
        StoryWord::Reload => render::busy("reload"),
        StoryWord::Leave => render::busy("leave"),
        StoryWord::Arrive => render::busy("arrive"),
        StoryWord::Fail => render::bad("fail"),
        StoryWord::NoEnd => render::bad("no end"),
    }
}

fn ending(view: &SimulationView) -> String {
    let mut text = String::new();
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut moved: BTreeSet<&str> = BTreeSet::new();
    for home in &view.homes {
        let role = match home.role {
            crate::model::Role::Started => String::new(),
            role => format!(" ({role})"),
        };
        let new = if home.stayed { String::new() } else { render::warn(" new") };
        places.entry(&home.resource).or_default().push(format!("{}{role}{new}", home.node));
        if !home.stayed {
            moved.insert(&home.resource);
        }
    }
    let rows: Vec<Vec<String>> = places
        .iter()
        .filter(|(resource, _)| moved.contains(*resource))
        .map(|(resource, places)| vec![(*resource).to_owned(), places.join(", ")])
        .collect();
    if !rows.is_empty() {
        text += &format!("\n{}\n{}", render::strong("what is elsewhere in the end"), render::table(&rows));
    }
    let stayed = places.len() - moved.len();
    if stayed > 0 {
        text += &format!(
            "\n{}\n",
            render::faint(&format!("{} where they were", count(stayed, "resource stays", "resources stay")))
        );
    }
    if !view.quorum.kept {
        let (votes, of) = (view.quorum.votes, view.quorum.of);
        text += &format!(
            "\n{}: {votes} of {of} voters hear each other, and it takes {}; nothing is started or moved\n",
            render::bad("no quorum"),
            of / 2 + 1
        );
    }
    if !view.homeless.is_empty() {
        text += &format!("\n{}\n{}", render::bad("no home"), homeless(&view.homeless, "  "));
    }
    if view.quorum.kept && view.homeless.is_empty() {
        text += &format!("\n{}\n", render::good("everything has a home"));
    }
    text
}

/// What has no home, with what forbids it. Those of whom the same is said are named together.
pub fn homeless(all: &[HomelessView], indent: &str) -> String {
    let mut text = String::new();
    for one in all {
        let lack = match one.lack {
            LackView::Nowhere => "runs nowhere",
            LackView::TooFewCopies => "runs in too few copies",
            LackView::NotPromoted => "is promoted nowhere",
        };
        let at = one.at.as_ref().map(|at| render::faint(&format!("  {at}"))).unwrap_or_default();
        text += &format!("{indent}{} {lack}{at}\n", render::strong(&one.resource));
        for bar in &one.bars {
            let at = bar.at.as_ref().map(|at| render::faint(&format!("  {at}"))).unwrap_or_default();
            text += &format!("{indent}  - {}{at}\n", bar.why);
        }
    }
    text
}

pub fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}
