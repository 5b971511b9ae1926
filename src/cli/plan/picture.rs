//! The picture of a plan: for people, and as a comment on a merge request.
//!
//! Pure. What is worst comes where it is seen: outages behind the actions, dangers last, where the terminal stops.

use super::super::changes::{self, Detail};
use super::super::{render, status};
use crate::api::types::{EstimateBasis, EstimateView, Impact, OutageView, PlanView, PlannedAction};
use crate::model::{Role, duration};
use std::time::Duration;

/// Rows of one table of a comment: GitHub takes 65,536 characters, and nobody reads more.
const MOST_ROWS: usize = 100;

/// A plan for people.
pub fn text(plan: &PlanView, detail: Detail) -> String {
    let against = plan.from.as_deref().map_or("nothing", status::short);
    if plan.is_empty() && plan.warnings.is_empty() && plan.dangers.is_empty() && plan.unplaced.is_empty() {
        return format!("nothing to do: the same as {against}\n");
    }
    let mut text = format!("plan against {against}\n");
    let mut section = |title: &str, rows: String| {
        if !rows.is_empty() {
            text += &format!("\n{}\n{rows}", render::strong(title));
        }
    };
    section("changes", changes::text(&plan.changes, detail));
    let rows: Vec<Vec<String>> =
        plan.actions.iter().enumerate().map(|(place, a)| action_row(place, a, detail)).collect();
    section("actions", render::table(&rows));
    section("down for a while", render::table(&plan.outages.iter().map(outage_row).collect::<Vec<_>>()));
    section("left alone", render::table(&untouched(plan)));
    if !(plan.unplaced.is_empty() && plan.dangers.is_empty() && plan.warnings.is_empty()) {
        text.push('\n');
    }
    for unplaced in &plan.unplaced {
        let at = unplaced.at.as_ref().map(|at| render::faint(&format!("  {at}"))).unwrap_or_default();
        let (word, reason) = (render::bad("cannot be placed"), &unplaced.reason);
        text += &format!("{word}: {} has no node: {reason}{at}\n", unplaced.instance);
    }
    for danger in &plan.dangers {
        text += &format!("{}: {danger}\n", render::bad("unsafe"));
    }
    for warning in &plan.warnings {
        text += &format!("{}: {warning}\n", render::warn("warning"));
    }
    text
}

fn action_row(place: usize, action: &PlannedAction, detail: Detail) -> Vec<String> {
    let after: Vec<String> = action.after.iter().map(|earlier| (earlier + 1).to_string()).collect();
    let after = if after.is_empty() { String::new() } else { render::faint(&format!("after {}", after.join(", "))) };
    let mut row = vec![
        (place + 1).to_string(),
        impact(action.impact),
        action.object.clone(),
        place_words(action),
        action.takes.map(takes).unwrap_or_default(),
        action.reason.clone(),
        after,
    ];
    if detail == Detail::All {
        row.push(render::faint(action.at.as_deref().unwrap_or_default()));
    }
    row
}

fn place_words(action: &PlannedAction) -> String {
    match (&action.from, &action.node) {
        (Some(from), Some(to)) => format!("{from} -> {to}"),
        (None, Some(node)) => format!("on {node}"),
        (Some(from), None) => format!("from {from}"),
        (None, None) => String::new(),
    }
}

fn impact(impact: Impact) -> String {
    match impact {
        Impact::Start => render::good("start"),
        Impact::Promote => render::good("promote"),
        Impact::Reload => render::busy("reload"),
        Impact::Migrate => render::busy("live-migrate"),
        Impact::Demote => render::warn("demote"),
        Impact::Move => render::warn("move"),
        Impact::Restart => render::warn("restart"),
        Impact::Stop => render::bad("stop"),
        Impact::Fence => render::bad("fence"),
    }
}

/// `about 1.2s` as it was measured, `up to 40s` where only time-outs are known.
fn takes(estimate: EstimateView) -> String {
    let time = rounded(estimate.ms);
    match estimate.basis {
        EstimateBasis::Measured => format!("about {time}"),
        EstimateBasis::TimeOut => format!("up to {time}"),
    }
}

/// Two figures are all that an estimate is worth.
fn rounded(ms: u64) -> String {
    let unit = match ms {
        0..100 => 1,
        100..1_000 => 10,
        1_000..10_000 => 100,
        10_000..60_000 => 1_000,
        _ => 10_000,
    };
    let ms = ms.div_ceil(unit) * unit;
    match ms {
        1_000..10_000 if ms % 1_000 > 0 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        _ => duration::format(Duration::from_millis(ms)),
    }
}

fn outage_row(outage: &OutageView) -> Vec<String> {
    let (how_long, why) = outage_words(outage);
    let word = if outage.returns { render::warn(&how_long) } else { render::bad(&how_long) };
    vec![what(outage), word, render::faint(why), render::faint(outage.at.as_deref().unwrap_or_default())]
}

fn what(outage: &OutageView) -> String {
    match outage.role {
        Some(Role::Promoted) => format!("{}, promoted", outage.object),
        Some(Role::Started | Role::Unpromoted) | None => outage.object.clone(),
    }
}

/// How long, and what that rests on.
fn outage_words(outage: &OutageView) -> (String, &'static str) {
    match (outage.returns, outage.lasts) {
        (false, _) => ("stays down".into(), ""),
        (true, None) => ("for a while".into(), "how long is not known"),
        (true, Some(lasts)) => match lasts.basis {
            EstimateBasis::Measured => (takes(lasts), "as measured"),
            EstimateBasis::TimeOut => (takes(lasts), "by time-outs: not measured yet"),
        },
    }
}

fn untouched(plan: &PlanView) -> Vec<Vec<String>> {
    let row = |untouched: &crate::api::types::Untouched| {
        let at = render::faint(untouched.at.as_deref().unwrap_or_default());
        vec![untouched.resource.clone(), untouched.reason.clone(), at]
    };
    let mut rows: Vec<Vec<String>> = plan.untouched.iter().map(row).collect();
    if plan.unchanged > 0 {
        let others = if rows.is_empty() { "resources" } else { "others" };
        rows.push(vec![format!("{} {others}", plan.unchanged), "as they were".into()]);
    }
    rows
}

/// A plan as a comment on a merge request.
pub fn markdown(plan: &PlanView) -> String {
    let against = plan.from.as_deref().map_or_else(|| "nothing".to_owned(), |from| changes::code(status::short(from)));
    if plan.is_empty() {
        return format!("**hafen plan** against {against}: nothing to do\n");
    }
    let mut text = format!("**hafen plan** against {against}: {}\n", headline(plan));
    if !plan.outages.is_empty() {
        let rows = plan.outages.iter().map(|outage| {
            let (how_long, why) = outage_words(outage);
            vec![changes::code(&what(outage)), how_long, why.to_owned(), at(outage.at.as_deref())]
        });
        table(&mut text, &["down", "for", "", "at"], rows.collect());
    }
    if !plan.actions.is_empty() {
        let rows = plan.actions.iter().enumerate().map(|(place, action)| {
            vec![
                (place + 1).to_string(),
                anstream::adapter::strip_str(&impact(action.impact)).to_string(),
                changes::code(&action.object),
                place_words(action),
                action.takes.map(takes).unwrap_or_default(),
                cell(&action.reason),
            ]
        });
        table(&mut text, &["#", "action", "object", "where", "takes", "why"], rows.collect());
    }
    if !plan.changes.is_empty() {
        text += &format!("\n<details><summary>changes: {}</summary>\n\n", changes::summary(&plan.changes));
        let (shown, more) = plan.changes.split_at(plan.changes.len().min(MOST_ROWS));
        text += &changes::markdown(shown);
        left_out(&mut text, more.len());
        text += "\n</details>\n";
    }
    let left_alone = untouched(plan).into_iter().map(|row| format!("left alone: {}: {}", row[0], row[1]));
    let unplaced =
        plan.unplaced.iter().map(|u| format!("**cannot be placed**: {} has no node: {}", u.instance, u.reason));
    let dangers = plan.dangers.iter().map(|danger| format!("**unsafe**: {danger}"));
    let warnings = plan.warnings.iter().map(|warning| format!("warning: {warning}"));
    let notes: Vec<String> = dangers.chain(unplaced).chain(warnings).chain(left_alone).collect();
    if !notes.is_empty() {
        text.push('\n');
    }
    let (shown, more) = notes.split_at(notes.len().min(MOST_ROWS));
    for note in shown {
        text += &format!("- {}\n", cell(note));
    }
    left_out(&mut text, more.len());
    if let Some(id) = &plan.id {
        text += &format!("\nplan `{id}`\n");
    }
    text
}

/// `3 actions, 2 outages, the longest up to 40s`.
fn headline(plan: &PlanView) -> String {
    let number = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![number(plan.actions.len(), "action")];
    if !plan.outages.is_empty() {
        parts.push(number(plan.outages.len(), "outage"));
    }
    if let Some(longest) = plan.outages.iter().filter_map(|outage| outage.lasts).max_by_key(|lasts| lasts.ms) {
        parts.push(format!("the longest {}", takes(longest)));
    }
    match plan.outages.iter().filter(|outage| !outage.returns).count() {
        0 => {}
        stay => parts.push(format!("{stay} for good")),
    }
    parts.join(", ")
}

fn at(at: Option<&str>) -> String {
    at.map(changes::code).unwrap_or_default()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

fn table(text: &mut String, titles: &[&str], rows: Vec<Vec<String>>) {
    *text += &format!("\n| {} |\n|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
    let (shown, more) = rows.split_at(rows.len().min(MOST_ROWS));
    for row in shown {
        *text += &format!("| {} |\n", row.join(" | "));
    }
    left_out(text, more.len());
}

fn left_out(text: &mut String, count: usize) {
    if count > 0 {
        *text += &format!("\n… and {count} more\n");
    }
}
