//! What led to an event, as far as events say it.

use super::*;
use crate::model::{InstanceId, LogIndex};

struct Log(Vec<Event>);

impl Log {
    fn add(&mut self, kind: EventKind, node: &str, resource: &str, text: &str) -> &mut Event {
        let index = LogIndex(self.0.len() as u64 + 10);
        self.0.push(Event {
            index,
            at_ms: 0,
            kind,
            node: (!node.is_empty()).then(|| node.into()),
            instance: (!resource.is_empty()).then(|| InstanceId::plain(ResourceId::new(resource))),
            reason: None,
            text: text.into(),
        });
        self.0.last_mut().unwrap()
    }

    fn told(&self, place: usize) -> Vec<String> {
        let links = story(&self.0, place, None);
        links.iter().map(|link| format!("{}{}", if link.likely { "likely " } else { "" }, link.event.text)).collect()
    }
}

/// n1 is lost beside other things that happen.
fn night() -> Log {
    let mut log = Log(Vec::new());
    log.add(EventKind::Target, "", "", "following 3f2a91c0de (ann)");
    log.add(EventKind::Suspected, "n1", "", "n1 is suspect: nothing heard for 1.5s");
    log.add(EventKind::Suspected, "n3", "", "n3 is suspect: nothing heard for 1.5s");
    log.add(EventKind::Assigned, "n2", "db", "db is to be Started on n2: n1 is lost").reason =
        Some(Reason::NodeLost { node: "n1".into() });
    log.add(EventKind::FenceStarted, "n1", "", "fencing n1 with ipmi");
    log.add(EventKind::FenceSucceeded, "n1", "", "n1 is off, after 900 ms");
    log.add(EventKind::Claimed, "n2", "db", "db@n2 granted, epoch 7");
    log.add(EventKind::Claimed, "n2", "web", "web@n2 granted, epoch 8");
    log.add(EventKind::Started, "n2", "db", "db@n2 started in 80 ms");
    log
}

#[test]
fn a_start_goes_back_to_the_node_that_was_not_heard() {
    let log = night();
    let expected = [
        "db@n2 started in 80 ms",
        "db@n2 granted, epoch 7",
        "db is to be Started on n2: n1 is lost",
        "n1 is suspect: nothing heard for 1.5s",
    ];
    assert_eq!(log.told(8), expected);
    assert_eq!(
        log.told(5),
        ["n1 is off, after 900 ms", "fencing n1 with ipmi", "n1 is suspect: nothing heard for 1.5s"]
    );
    assert_eq!(log.told(99), [] as [&str; 0]);
}

#[test]
fn what_is_only_the_last_that_may_be_is_told_as_likely() {
    let mut log = night();
    log.add(EventKind::Override, "n2", "", "ann: drain for node n2: disks");
    log.add(EventKind::Assigned, "n2", "db", "db is to stop on n2");
    assert_eq!(log.told(10), ["db is to stop on n2", "likely ann: drain for node n2: disks"]);
    log.add(EventKind::Assigned, "n3", "web", "web is to be Started on n3: bob asked for it").reason =
        Some(Reason::Override { by: "bob".into(), reason: String::new() });
    assert_eq!(log.told(11).len(), 2, "nothing of bob's is known, so it is only likely");
    assert!(log.told(11)[1].starts_with("likely "));
}

#[test]
fn a_failure_that_moves_something_is_the_one_of_that_node() {
    let mut log = night();
    log.add(EventKind::Failed, "n2", "db", "db failed on n2");
    log.add(EventKind::Failed, "n3", "db", "db failed on n3");
    log.add(EventKind::Assigned, "n1", "db", "db is to be Started on n1").reason =
        Some(Reason::Threshold { node: "n2".into(), failures: 3 });
    assert_eq!(log.told(11), ["db is to be Started on n1", "db failed on n2"]);
}

#[test]
fn no_story_is_longer_than_its_limit_and_each_link_is_older() {
    let mut log = Log(Vec::new());
    for turn in 0..100 {
        log.add(EventKind::Failed, "n1", "db", &format!("failed {turn}"));
        log.add(EventKind::Stopped, "n1", "db", &format!("stopped {turn}"));
        log.add(EventKind::Assigned, "n1", "db", &format!("again {turn}")).reason =
            Some(Reason::Follows { other: "db".into() });
    }
    for place in 0..log.0.len() {
        let links = story(&log.0, place, None);
        assert!((1..=MAX_LINKS).contains(&links.len()));
        assert!(links.windows(2).all(|pair| pair[0].event.index > pair[1].event.index));
    }
    assert!(log.told(299).len() > 1);
}
