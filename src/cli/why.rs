//! `hafen why`.
//!
//! Input → output: a resource, and the running cluster, or manifests with a state, or a CIB → every part of its scores, on
//! stdout; or an event's index → what led to it. Behind each line of a manifest the commit that last changed it, where a
//! daemon answers. Exit codes: 0 as desired (or the event is known); 1 not; 2 a file cannot be read; 105 no such resource or event.

use super::error::{CliError, Exit};
use super::offline::{Elsewhere, Lines};
use super::{Context, Format, OutputFormat, render};
use crate::api::client::escape;
use crate::api::types::{ChainLink, EventWhyView, LineCommit, Otherwise, OtherwiseChange, WhyInstance, WhyView};
use crate::api::words;
use crate::model::{NodeId, ResourceId, Score, Spec};
use crate::plan;
use crate::state::State;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Every reason for where a resource runs or does not, or what led to an event
///
/// Every reason that is written in a manifest comes with its line, and with the commit that last changed that line. Exits 0
/// if all of the resource is as desired, 1 if not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen why db
  hafen why db --not n2
  hafen why --event 1342
  hafen why db --cib /var/lib/pacemaker/cib/cib.xml
  hafen why db manifests/ --state state.json")]
pub struct Args {
    /// The resource, group or clone
    #[arg(required_unless_present = "event")]
    resource: Option<String>,
    /// With `--state`: a folder of manifests, or one file
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// Why it is not on this node
    #[arg(long, value_name = "NODE")]
    not: Option<String>,
    /// What led to the event of this index, as `hafen events` shows it
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["resource", "not", "state", "cib"])]
    event: Option<u64>,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if let Some(index) = args.event {
        let found: EventWhyView = context.client()?.get(&format!("/v1/events/{index}/why"), &[]).await?;
        match args.format.output {
            OutputFormat::Json => render::print_json(&found)?,
            OutputFormat::Text => render::print(&event_text(&found))?,
        }
        return Ok(Exit::Ok);
    }
    // clap asks for one of the two.
    let resource = args.resource.as_deref().unwrap_or_default();
    let found: WhyView = match args.elsewhere.read(&args.path, Lines::Told)? {
        Some((spec, state)) => alone(args, resource, &spec, &state)?,
        None => {
            let query: Vec<_> = args.not.iter().map(|node| ("not", node.clone())).collect();
            context.client()?.get(&format!("/v1/why/{}", escape(resource)), &query).await?
        }
    };
    match args.format.output {
        OutputFormat::Json => render::print_json(&found)?,
        OutputFormat::Text => render::print(&text(&found))?,
    }
    Ok(if found.as_desired() { Exit::Ok } else { Exit::No })
}

/// Without a daemon.
fn alone(args: &Args, resource: &str, spec: &Spec, state: &State) -> Result<WhyView, CliError> {
    let not = args.not.as_deref().map(NodeId::new);
    let graph = plan::order(spec, state);
    Ok(words::why(spec, state, &graph, &ResourceId::new(resource), not.as_ref(), &|| true)?)
}

/// A paragraph per instance: where it is, why, and the scores behind it.
pub fn text(why: &WhyView) -> String {
    let commits = Commits::of(&why.commits);
    let instances = why.instances.iter().map(|found| instance(found, &commits)).collect::<Vec<_>>().join("\n");
    let mut text = instances;
    text.extend(why.otherwise.iter().map(|found| otherwise(found, &commits)));
    if why.otherwise_cut_short {
        text += "  there was no time to try everything that might send it there\n";
    }
    text
}

/// What led to an event, nearest first.
pub fn event_text(why: &EventWhyView) -> String {
    let commits = Commits::of(&why.commits);
    let mut text = why.stories.iter().map(|links| story(links, &commits)).collect::<Vec<_>>().join("\n");
    if why.manifests_changed_since {
        text += "  other manifests are followed since: the lines are those of now\n";
    }
    text
}

/// The commits behind places, worded once.
struct Commits<'a>(BTreeMap<&'a str, &'a LineCommit>);

impl<'a> Commits<'a> {
    fn of(commits: &'a [LineCommit]) -> Self {
        Self(commits.iter().map(|commit| (commit.at.as_str(), commit)).collect())
    }

    /// `db.yaml:4:9, 3f2a91c0de Ada <ada@example.org> 2026-05-01`
    fn told(&self, at: &str) -> String {
        match self.0.get(at) {
            Some(commit) => format!("{at}, {}", Self::commit(commit)),
            None => at.to_owned(),
        }
    }

    fn commit(commit: &LineCommit) -> String {
        let day = jiff::Timestamp::from_second(commit.time).map(|time| time.strftime("%Y-%m-%d").to_string());
        let short = super::status::short(&commit.revision);
        format!("{short} {} {}", commit.author, day.unwrap_or_default()).trim_end().to_owned()
    }
}

fn story(links: &[ChainLink], commits: &Commits<'_>) -> String {
    let mut text = String::new();
    for (place, link) in links.iter().enumerate() {
        let word = match (place, link.likely) {
            (0, _) => "",
            (_, false) => "  because  ",
            (_, true) => "  likely because  ",
        };
        text += &format!("{word}{}", super::events::line(&link.event));
        if let Some(rule) = &link.rule {
            text += &format!("           {}\n", render::faint(&format!("{} ({})", rule.what, commits.told(&rule.at))));
        }
        if let Some(commit) = link.revision.as_deref().and_then(|revision| commits.0.get(revision)) {
            text +=
                &format!("           {}\n", render::faint(&format!("{}: {}", Commits::commit(commit), commit.subject)));
        }
    }
    text
}

fn otherwise(found: &Otherwise, commits: &Commits<'_>) -> String {
    let place = |at: &str| render::faint(&format!(" ({})", commits.told(at)));
    let told =
        |change: &OtherwiseChange| format!("{}{}", change.what, change.at.as_deref().map(place).unwrap_or_default());
    let changes: Vec<String> = found.changes.iter().map(told).collect();
    format!("  would run on {} {}\n", found.node, changes.join(" and "))
}

fn instance(found: &WhyInstance, commits: &Commits<'_>) -> String {
    let runs = match found.runs_on.as_slice() {
        [] => "runs nowhere".to_owned(),
        nodes => format!("runs on {}", nodes.join(", ")),
    };
    let wanted = match (&found.assigned_to, found.role) {
        (Some(node), Some(role)) => format!(", is to be {role} on {node}"),
        (Some(node), None) => format!(", is to be on {node}"),
        (None, _) => ", is to be nowhere".to_owned(),
    };
    let at = found.verdict.at.as_ref().map(|at| format!(" ({})", commits.told(at))).unwrap_or_default();
    let mut text = format!(
        "{} {runs}{wanted}\n  {}: {}{at}\n",
        render::strong(&found.instance),
        super::status::verdict_word(found.verdict.verdict),
        found.verdict.reason
    );
    let row = |c: &crate::api::types::Contribution| {
        let score = Score::new(i64::from(c.score)).to_string();
        let at = c.at.as_deref().map(|at| commits.told(at)).unwrap_or_default();
        vec![c.node.clone(), format!("{score:>9}"), c.reason.clone(), render::faint(&at)]
    };
    text += &render::table(&found.contributions.iter().map(row).collect::<Vec<_>>());
    if !found.promotion.is_empty() {
        text += &format!("  promotion\n{}", render::table(&found.promotion.iter().map(row).collect::<Vec<_>>()));
    }
    if !found.story.is_empty() {
        let lines: String = story(&found.story, commits).lines().map(|line| format!("  {line}\n")).collect();
        text += &format!("  last\n{lines}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{EventView, RuleView};
    use crate::state::EventKind;

    fn link(index: u64, kind: EventKind, text: &str) -> ChainLink {
        let event = EventView { index, at_ms: 1_777_636_800_123, kind, node: None, instance: None, text: text.into() };
        ChainLink { event, likely: false, rule: None, revision: None }
    }

    #[test]
    fn an_event_is_told_with_what_led_to_it_its_rules_and_their_commits() {
        let at = "web.yaml:4:19".to_owned();
        let commit = |at: &str, subject: &str| LineCommit {
            at: at.into(),
            revision: "3f2a91c0de".repeat(4),
            author: "Ada <ada@example.org>".into(),
            subject: subject.into(),
            time: 1_777_636_800,
        };
        let rule = Some(RuleView { what: "Resource web".into(), at: at.clone() });
        let followed = link(9, EventKind::Target, "following 3f2a91c0de (ann)");
        let why = EventWhyView {
            api_version: Default::default(),
            kind: Default::default(),
            index: 12,
            stories: vec![vec![
                ChainLink { rule, ..link(12, EventKind::Started, "web@n1 started in 80 ms") },
                link(11, EventKind::Assigned, "web is to be Started on n1: the best node for it"),
                ChainLink { likely: true, revision: Some("3f2a91c0de".into()), ..followed },
            ]],
            commits: vec![commit(&at, "web: for the shop"), commit("3f2a91c0de", "web: for the shop")],
            manifests_changed_since: true,
        };
        let plain = anstream::adapter::strip_str(&event_text(&why)).to_string();
        let expected = "\
2026-05-01T12:00:00.123Z     12 Started       web@n1 started in 80 ms
           Resource web (web.yaml:4:19, 3f2a91c0de Ada <ada@example.org> 2026-05-01)
  because  2026-05-01T12:00:00.123Z     11 Assigned      web is to be Started on n1: the best node for it
  likely because  2026-05-01T12:00:00.123Z      9 Target        following 3f2a91c0de (ann)
           3f2a91c0de Ada <ada@example.org> 2026-05-01: web: for the shop
  other manifests are followed since: the lines are those of now
";
        assert_eq!(plain, expected);
    }
}
