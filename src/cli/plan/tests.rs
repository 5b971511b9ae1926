//! The picture of a plan, and how it ends.

use super::super::status::tests::expect;
use super::*;
use crate::api::types::{
    Change, ChangeKind, EstimateBasis, EstimateView, FieldChange, Impact, OutageView, PlannedAction, Unplaced,
    Untouched,
};
use crate::model::Role;

fn action(impact: Impact, object: &str, from: Option<&str>, node: Option<&str>, after: &[u32]) -> PlannedAction {
    PlannedAction {
        impact,
        object: object.into(),
        node: node.map(Into::into),
        from: from.map(Into::into),
        role: None,
        reason: "its parameters were changed".into(),
        at: None,
        takes: None,
        after: after.to_vec(),
    }
}

fn outage(object: &str, role: Option<Role>, lasts: Option<(u64, EstimateBasis)>, returns: bool) -> OutageView {
    let lasts = lasts.map(|(ms, basis)| EstimateView { ms, basis });
    OutageView { object: object.into(), node: Some("n1".into()), role, lasts, returns, at: Some("db.yaml:3:9".into()) }
}

fn example() -> PlanView {
    let change = |change, object: &str, fields: Vec<FieldChange>| Change {
        change,
        object: object.into(),
        at: (change != ChangeKind::Removed).then(|| "db.yaml:3:9".into()),
        was_at: (change != ChangeKind::Added).then(|| "db.yaml:2:9".into()),
        fields,
    };
    let field = |path: &str, from: &str, to: &str| FieldChange {
        change: ChangeKind::Changed,
        path: path.into(),
        from: Some(from.into()),
        to: Some(to.into()),
        at: Some("db.yaml:7:11".into()),
        was_at: Some("db.yaml:6:11".into()),
    };
    let fields = vec![field("params.ip", "192.0.2.1", "192.0.2.2"), field("params.password", "(hidden)", "(hidden)")];
    PlanView {
        from: Some("b".repeat(40)),
        changes: vec![
            change(ChangeKind::Added, "Resource/web", vec![]),
            change(ChangeKind::Changed, "Resource/db-ip", fields),
            change(ChangeKind::Removed, "Order/old", vec![]),
        ],
        actions: vec![
            action(Impact::Restart, "db-ip", None, Some("n1"), &[]),
            action(Impact::Move, "db", Some("n1"), Some("n2"), &[0]),
            action(Impact::Stop, "gone", Some("n1"), None, &[0, 1]),
        ],
        outages: vec![
            outage("db", Some(Role::Promoted), Some((61_500, EstimateBasis::TimeOut)), true),
            outage("db-ip", None, Some((340, EstimateBasis::Measured)), true),
            outage("web-old", None, None, true),
            outage("gone", None, None, false),
        ],
        untouched: vec![Untouched {
            resource: "cache".into(),
            reason: "nothing that its agent is told was changed".into(),
            at: Some("cache.yaml:3:19".into()),
        }],
        unchanged: 12,
        id: Some("00010203-ff000001-09090909".into()),
        warnings: vec!["two voters without a witness | are fragile".into()],
        ..PlanView::default()
    }
}

#[test]
fn a_plan_shows_changes_actions_and_what_they_cost() {
    expect("plan.txt", &text(&example(), Detail::Concise));
    expect("plan.md", &markdown(&example()));
}

#[test]
fn a_comment_holds_the_worst_of_a_large_plan_and_says_what_it_left_out() {
    let mut plan = example();
    let row = plan.actions[0].clone();
    plan.actions.extend(std::iter::repeat_n(row, 500));
    let text = markdown(&plan);
    assert!(text.len() < 65_536, "forges take no longer comments: {}", text.len());
    assert!(text.contains("and 403 more"), "{text}");
}

#[test]
fn no_difference_is_one_line() {
    assert_eq!(text(&PlanView::default(), Detail::Concise), "nothing to do: the same as nothing\n");
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
    let here = |name: &str| format!("{}/{name}", folder.path().display());
    assert_eq!(paths, [here("a/c.yml"), here("b.yaml")], "as they are called where the command runs");
    std::fs::write(folder.path().join("x.yaml"), [0xff]).unwrap();
    assert!(read(folder.path()).unwrap_err().message.contains("not UTF-8"));
}
