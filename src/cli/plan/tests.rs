//! The picture of a plan, and how it ends.

use super::super::status::tests::expect;
use super::*;
use crate::api::types::{Change, Unplaced};

fn action(impact: Impact, object: &str, from: Option<&str>, node: Option<&str>, after: &[u32]) -> PlannedAction {
    PlannedAction {
        impact,
        object: object.into(),
        node: node.map(Into::into),
        from: from.map(Into::into),
        role: None,
        reason: "its parameters were changed".into(),
        at: None,
        after: after.to_vec(),
    }
}

fn example() -> PlanView {
    let change = |change, object: &str, fields: &[&str]| Change {
        change,
        object: object.into(),
        at: Some("db.yaml:3:9".into()),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    PlanView {
        from: Some("b".repeat(40)),
        changes: vec![
            change(ChangeKind::Added, "Resource/web", &[]),
            change(ChangeKind::Changed, "Resource/db-ip", &["params.ip: 192.0.2.1 -> 192.0.2.2"]),
            change(ChangeKind::Removed, "Order/old", &[]),
        ],
        actions: vec![
            action(Impact::Restart, "db-ip", None, Some("n1"), &[]),
            action(Impact::Move, "db", Some("n1"), Some("n2"), &[0]),
            action(Impact::Stop, "gone", Some("n1"), None, &[0, 1]),
        ],
        outages: vec!["db".into(), "db-ip".into()],
        warnings: vec!["two voters without a witness | are fragile".into()],
        ..PlanView::default()
    }
}

#[test]
fn a_plan_shows_changes_actions_and_what_they_cost() {
    expect("plan.txt", &text(&example()));
    expect("plan.md", &markdown(&example()));
}

#[test]
fn no_difference_is_one_line() {
    assert_eq!(text(&PlanView::default()), "nothing to do: the same as nothing\n");
}

#[test]
fn unsafe_and_unplaceable_come_before_fail_on() {
    let exit = |change: &dyn Fn(&mut CheckView, &mut PlanView), fail_on: &[FailOn]| {
        let (mut check, mut plan) = (CheckView::default(), example());
        change(&mut check, &mut plan);
        match verdict(&check, &plan, fail_on) {
            Ok(exit) => exit as u8,
            Err(error) => error.exit() as u8,
        }
    };
    assert_eq!(exit(&|_, _| (), &[]), 0);
    assert_eq!(exit(&|_, _| (), &[FailOn::Fence, FailOn::Outage]), 1);
    let unplaced = Unplaced { instance: "db".into(), reason: "no node".into(), at: None };
    assert_eq!(exit(&|_, plan| plan.unplaced.push(unplaced.clone()), &[FailOn::Any]), 113);
    assert_eq!(exit(&|_, plan| plan.dangers.push("no quorum left".into()), &[FailOn::Any]), 107);
    assert_eq!(exit(&|check, _| check.refusal = Some("8 removals".into()), &[]), 107);
}

#[test]
fn manifests_are_read_in_order_without_hidden_ones() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("b.yaml", "b"), ("a/c.yml", "c"), (".git/d.yaml", "d"), ("README.md", "e")] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let paths: Vec<String> = read(folder.path()).unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(paths, ["a/c.yml", "b.yaml"]);
    std::fs::write(folder.path().join("x.yaml"), [0xff]).unwrap();
    assert!(read(folder.path()).unwrap_err().message.contains("not UTF-8"));
}
