//! Clones and promotion.

use super::*;
use crate::state::{Member, Notice, NoticeStage};

#[test]
fn a_clone_runs_on_every_node() {
    let mut w = three();
    w.resources(&["a"]).cloned("c", "a");
    assert_eq!(w.placed(), "a:0@n1 a:1@n2 a:2@n3");
    w.drain("n2");
    assert_eq!(w.placed(), "a:0@n1 a:1@n3");
}

#[test]
fn copies_keep_their_numbers_and_places() {
    let mut w = three();
    w.resources(&["a"]).cloned("c", "a").max = Some(2);
    w.runs(&["a:0@n3", "a:1@n2"]);
    assert_eq!(w.steps(), "");
    w.suspect("n3");
    assert_eq!(w.placed(), "a:0@n1 a:1@n2");
    assert_eq!(w.play(), "Fence n3, Start a:0@n1");
}

#[test]
fn too_many_copies_are_stopped_the_unhealthy_first() {
    let mut w = three();
    w.resources(&["a"]).cloned("c", "a").max = Some(2);
    w.runs(&["a:0@n1", "a:1@n2", "a:2@n3"]).failed("a:0@n1", FailureKind::Failed);
    assert_eq!(w.placed(), "a:1@n2 a:2@n3");
    assert_eq!(w.play(), "Stop a:0@n1");
}

#[test]
fn ordered_copies_start_one_after_the_other() {
    let mut w = two();
    w.resources(&["a"]).cloned("c", "a").ordered = true;
    assert_eq!(w.steps(), "!Start a:0@n1, Start a:1@n2");
}

#[test]
fn interleaved_clones_wait_for_the_copy_beside_them() {
    let mut w = two();
    w.resources(&["a", "b"]).cloned("ca", "a");
    w.cloned("cb", "b").interleave = true;
    w.order("ca", "cb");
    w.runs(&["a:0@n1", "a:1@n2", "b:0@n1", "b:1@n2"]).failed("a:0@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop b:0@n1, Stop a:0@n1, Start a:0@n1, Start b:0@n1");
    w.spec.clones.get_mut("cb").unwrap().interleave = false;
    w.failed("a:0@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop b:0@n1, Stop b:1@n2, Stop a:0@n1, Start a:0@n1, Start b:0@n1, Start b:1@n2");
}

#[test]
fn a_cloned_group_is_copied_whole() {
    let mut w = two();
    w.resources(&["a", "b"]).group("g", &["a", "b"]).cloned("c", "g");
    assert_eq!(w.play(), "Start a:0@n1, Start a:1@n2, Start b:0@n1, Start b:1@n2");
    w.failed("a:0@n1", FailureKind::Died);
    assert_eq!(w.play(), "Stop b:0@n1, Stop a:0@n1, Start a:0@n1, Start b:0@n1");
}

fn promotable(w: &mut World) {
    w.resources(&["db"]).cloned("c", "db").promotable = Some(Promotable { max: 1, per_node: 1 });
}

#[test]
fn the_best_promotion_score_is_promoted() {
    let mut w = two();
    promotable(&mut w);
    assert_eq!(w.placed(), "db:0@n1 db:1@n2", "without a score nothing is promoted");
    w.attribute("n2", "master-db", "10").attribute("n1", "master-db", "5");
    assert_eq!(w.placed(), "db:0@n1 db:1@n2*");
    assert_eq!(w.play(), "Start db:0@n1, Start db:1@n2, Promote db:1@n2");
    w.attribute("n1", "master-db", "100");
    assert_eq!(w.play(), "Demote db:1@n2, Promote db:0@n1");
}

#[test]
fn a_promoted_copy_is_demoted_before_it_stops() {
    let mut w = two();
    promotable(&mut w);
    w.attribute("n1", "master-db", "5").runs(&["db:1@n2"]).promoted("db:0@n1").drain("n1");
    assert_eq!(w.play(), "Demote db:0@n1, Stop db:0@n1");
}

#[test]
fn a_lost_promoted_copy_is_fenced_before_another_is_promoted() {
    let mut w = two();
    promotable(&mut w);
    w.attribute("n1", "master-db", "5").attribute("n2", "master-db", "5");
    w.runs(&["db:1@n2"]).promoted("db:0@n1").suspect("n1");
    assert_eq!(w.placed(), "db:1@n2*");
    assert_eq!(w.play(), "Fence n1, Promote db:1@n2");
}

#[test]
fn what_follows_the_promoted_copy_moves_with_it() {
    let mut w = two();
    promotable(&mut w);
    w.resources(&["fs"]).order("c.Promote", "fs");
    w.colocate("fs", "c", Strength::Required, 0).with.role = Some(Role::Promoted);
    w.attribute("n1", "master-db", "5").attribute("n2", "master-db", "3");
    assert_eq!(w.play(), "Start db:0@n1, Start db:1@n2, Promote db:0@n1, Start fs@n1");
    w.over(Scope::Node("n1".into()), OverrideKind::Drain);
    assert_eq!(w.play(), "Stop fs@n1, Demote db:0@n1, Stop db:0@n1, Promote db:1@n2, Start fs@n2");
}

/// An earlier member that runs already, found or kept, is no proof that what the group needs is there.
#[test]
fn every_member_of_a_group_waits_for_what_the_group_needs() {
    let mut w = three();
    promotable(&mut w);
    w.resources(&["fs", "ip"]).group("g", &["fs", "ip"]).order("c.Promote", "g");
    w.spec.clones.get_mut(&ResourceId::new("c")).unwrap().max = Some(2);
    w.colocate("g", "c", Strength::Required, 0).with.role = Some(Role::Promoted);
    w.attribute("n2", "master-db", "3");
    w.runs(&["db:1@n1", "db:0@n3", "fs@n2"]).suspect("n3");
    w.attempt("n3", 0, "n1");
    assert_eq!(w.steps(), "Start db:0@n2, Start ip@n2, Promote db:0@n2, Fence n3", "nothing can be done yet");
}

/// Its first member may be gone before: stopped by hand, or by a node that was alone.
#[test]
fn every_member_of_a_group_is_gone_before_what_the_group_needs() {
    let mut w = two();
    promotable(&mut w);
    w.resources(&["fs", "ip"]).group("g", &["fs", "ip"]).order("c.Promote", "g");
    w.runs(&["ip@n1"]).promoted("db:0@n1").drain("n1");
    assert_eq!(w.steps(), "Start db:0@n2, Stop db:0@n1, !Stop ip@n1, Demote db:0@n1", "the address goes first");
}

#[test]
fn unpromoted_by_target_role_or_after_a_failed_demote() {
    let mut w = two();
    promotable(&mut w);
    w.attribute("n1", "master-db", "5").runs(&["db:1@n2"]).promoted("db:0@n1");
    w.record("db:0@n1", 1).demoted = true;
    assert_eq!(w.play(), "Demote db:0@n1");
    w.state.history.clear();
    w.resource("db").target_role = TargetRole::Unpromoted;
    assert_eq!(w.placed(), "db:0@n1 db:1@n2");
}

#[test]
fn changed_parameters_restart_each_copy_without_waiting_for_the_others() {
    let mut w = two();
    w.resources(&["a"]).cloned("c", "a");
    w.runs(&["a:0@n1", "a:1@n2"]).resource("a").params.insert("x".into(), "1".into());
    w.commit();
    let graph = w.graph();
    let edges: Vec<String> = graph.edges().iter().map(|(a, b)| format!("{} > {}", show(a), show(b))).collect();
    assert_eq!(edges, ["Stop a:0@n1 > Start a:0@n1", "Stop a:1@n2 > Start a:1@n2"]);
}

#[test]
fn a_globally_unique_clone_may_have_several_copies_on_a_node() {
    let mut w = two();
    w.resources(&["a"]);
    let clone = w.cloned("c", "a");
    (clone.globally_unique, clone.per_node, clone.max) = (true, 2, Some(3));
    assert_eq!(w.placed(), "a:0@n1 a:1@n2 a:2@n1");
}

#[test]
fn a_location_for_the_promoted_role_promotes_without_a_score() {
    let mut w = two();
    promotable(&mut w);
    w.locate("c", "n2", Strength::Preferred, 50).role = Some(Role::Promoted);
    assert_eq!(w.placed(), "db:0@n1 db:1@n2*");
}

#[test]
fn with_notify_a_step_waits_until_it_is_announced_and_every_copy_has_answered() {
    let mut w = two();
    promotable(&mut w);
    w.spec.clones.get_mut("c").unwrap().notify = true;
    let wants = |w: &mut World| {
        w.commit();
        let definition = crate::state::query::definition_of(&w.spec, &"db".into()).unwrap();
        w.state.current.insert("db".into(), Digest::default());
        w.state.definitions.insert(Digest::default(), definition.into());
    };
    w.runs(&["db:0@n1", "db:1@n2"]).attribute("n1", "master-db", "10");
    wants(&mut w);
    // Where not every program knows notices, nobody is told.
    assert_eq!(w.steps(), "!Promote db:0@n1");
    w.state.feature_level = 2;
    wants(&mut w);
    assert_eq!(w.steps(), "Promote db:0@n1");
    assert_eq!(w.graph().to_announce(&"n2".into()), []);
    let to_announce = w.graph().to_announce(&"n1".into());
    let planned = vec![(ActionKind::Promote, key("db:0@n1"))];
    assert_eq!((to_announce[0].operation, &to_announce[0].planned), (ActionKind::Promote, &planned));
    let mut notice = Notice {
        resource: "db".into(),
        operation: ActionKind::Promote,
        stage: NoticeStage::Before,
        members: [(key("db:0@n1"), Member::Pending(Some(Epoch(1))))].into(),
        owed: [(key("db:1@n2"), Epoch(1))].into(),
        copies: Copies::default(),
    };
    w.state.notices.insert(Epoch(9), notice.clone());
    assert_eq!(w.steps(), "Promote db:0@n1, !Notify db:1@n2");
    assert_eq!(w.graph().to_announce(&"n1".into()), []);
    (notice.stage, notice.owed) = (NoticeStage::Doing, Default::default());
    w.state.notices.insert(Epoch(9), notice);
    assert_eq!(w.steps(), "!Promote db:0@n1");
    // What people are shown in advance has nothing of it.
    assert_eq!(w.play(), "Promote db:0@n1");
}
