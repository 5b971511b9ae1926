//! Whose beats count, and what they tell.

use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const STALL: Duration = Duration::from_millis(1000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn incarnation(boot: &str, counter: u64) -> Incarnation {
    Incarnation { boot: boot.into(), counter }
}

/// The table of `me`, which knows n2 and n3 over two links, at 1 s.
fn table() -> Table {
    let mut table = Table::new("me".into(), incarnation("mine", 1), INTERVAL, STALL, ms(1000));
    table.set_peers(&[("me".into(), 2), ("n2".into(), 2), ("n3".into(), 2)].into(), ms(1000));
    table
}

fn beat(from: &str, boot: &str, seq: u64, link: u8) -> Beat {
    Beat { from: from.into(), incarnation: incarnation(boot, 1), seq, link, heard: Vec::new() }
}

fn heard(node: &str, boot: &str, seq: u64, age_ms: u32) -> Heard {
    Heard { node: node.into(), incarnation: Some(incarnation(boot, 1)), seq, age_ms, acknowledged: None }
}

fn arrive(table: &mut Table, at: u64, beat: &Beat) -> Result<(), Refused> {
    table.wake(ms(at));
    let result = table.accept(beat, ms(at));
    table.drained(ms(at));
    result
}

#[test]
fn a_beat_counts_once_on_each_link_and_never_after_a_later_one() {
    let mut table = table();
    assert_eq!(arrive(&mut table, 1010, &beat("n2", "b", 5, 0)), Ok(()));
    assert_eq!(arrive(&mut table, 1020, &beat("n2", "b", 5, 1)), Ok(()));
    for seq in [1, 4, 5] {
        assert_eq!(arrive(&mut table, 1030, &beat("n2", "b", seq, 0)), Err(Refused::Replayed));
        assert_eq!(arrive(&mut table, 1030, &beat("n2", "b", seq, 7)), Err(Refused::Replayed));
    }
    let boot = table.contacts().peers["n2"].current().unwrap().clone();
    assert_eq!((boot.seq, boot.last_heard), (5, ms(1020)));
}

/// Who hears nobody says so of this node as well: with three voters it is half of what makes it deaf.
#[test]
fn what_a_peer_says_of_this_node_is_kept_like_what_it_says_of_others() {
    let mut table = table();
    let said = |seq, age_ms| Beat {
        heard: vec![heard("me", "mine", 1, age_ms), heard("n3", "c", 1, age_ms), heard("n2", "b", 1, 0)],
        ..beat("n2", "b", seq, 0)
    };
    assert_eq!(arrive(&mut table, 1900, &said(1, 800)), Ok(()));
    let reports = &table.contacts().peers["n2"].reports;
    let heard_at = |node: &str| reports.get(&NodeId::from(node)).map(|report| report.heard_at);
    assert_eq!(heard_at("me"), Some(ms(1100)));
    assert_eq!(heard_at("n3"), Some(ms(1100)));
    assert_eq!(heard_at("n2"), None, "of itself it says nothing");
    // Nor is that forgotten when the cluster changes.
    table.set_peers(&[("me".into(), 2), ("n2".into(), 2)].into(), ms(2000));
    let reports = &table.contacts().peers["n2"].reports;
    assert_eq!(reports.keys().map(|node| node.as_str()).collect::<Vec<_>>(), ["me"]);
}

#[test]
fn what_is_read_later_may_have_come_earlier() {
    let mut table = table();
    table.wake(ms(1300));
    // Both links are read at 1300, one after the other; the kernel noted when each beat came.
    for (at, seq, link) in [(1210, 5, 0), (1290, 6, 0), (1205, 5, 1), (1285, 6, 1)] {
        assert_eq!(table.accept(&beat("n2", "b", seq, link), ms(at)), Ok(()));
    }
    table.drained(ms(1300));
    let contact = &table.contacts().peers["n2"];
    assert_eq!(contact.current().unwrap().last_heard, ms(1290));
    assert_eq!(
        contact.links.iter().map(|link| link.last_heard).collect::<Vec<_>>(),
        [1290, 1285].map(|at| Some(ms(at)))
    );
}

#[test]
fn an_older_incarnation_counts_no_more() {
    let mut table = table();
    let newer = Beat { incarnation: incarnation("b", 2), ..beat("n2", "b", 1, 0) };
    assert_eq!(arrive(&mut table, 1010, &newer), Ok(()));
    assert_eq!(arrive(&mut table, 1020, &beat("n2", "b", 99, 0)), Err(Refused::Replayed));
    assert_eq!(table.contacts().peers["n2"].boots.len(), 1);
}

#[test]
fn strangers_and_namesakes_are_refused() {
    let mut table = table();
    assert_eq!(arrive(&mut table, 1010, &beat("n9", "b", 1, 0)), Err(Refused::Stranger));
    assert_eq!(arrive(&mut table, 1010, &beat("me", "b", 1, 0)), Err(Refused::OwnName));
}

#[test]
fn silence_is_of_a_boot() {
    let mut table = table();
    let silence = |table: &Table, boot: &str| table.contacts().silent_for(&"n2".into(), &boot.into()).unwrap();
    arrive(&mut table, 1100, &beat("n2", "old", 1, 0)).unwrap();
    arrive(&mut table, 1900, &beat("n2", "new", 1, 0)).unwrap();
    assert_eq!((silence(&table, "old"), silence(&table, "new"), silence(&table, "never")), (ms(800), ms(0), ms(900)));
    assert!(table.contacts().silent_for(&"n9".into(), &"b".into()).is_none());
}

#[test]
fn who_slept_does_not_say_that_others_were_silent() {
    let mut table = table();
    arrive(&mut table, 1100, &beat("n2", "b", 1, 0)).unwrap();
    let changes = table.changes();
    table.wake(ms(6000));
    table.drained(ms(6000));
    let contacts = table.contacts();
    assert_eq!(contacts.silent_for(&"n2".into(), &"b".into()), Some(ms(0)));
    assert_eq!((contacts.listening_since, table.changes()), (ms(6000), changes + 1));
    assert!(contacts.peers["n2"].links.iter().all(|link| link.state == LinkState::Up));
    assert!(table.heard().iter().all(|heard| heard.age_ms == 0), "nor does it tell the others so");
}

#[test]
fn only_an_echo_of_a_number_that_was_sent_proves_a_boot_alive() {
    let mut table = table();
    let nonce = table.next_seq(ms(1000));
    let answered = |table: &Table, seq| table.contacts().answered(&"n2".into(), &"b".into(), seq);
    let mut seq = 0;
    let mut say = |table: &mut Table, about: Heard| {
        seq += 1;
        arrive(table, 1000 + seq, &Beat { heard: vec![about], ..beat("n2", "b", seq, 0) }).unwrap();
    };
    say(&mut table, heard("me", "mine", nonce + 1, 0));
    assert!(!answered(&table, nonce), "it was not sent yet");
    say(&mut table, heard("me", "another", nonce, 0));
    assert!(!answered(&table, nonce), "it was sent by another daemon");
    say(&mut table, heard("me", "mine", nonce, 0));
    assert!(answered(&table, nonce) && !answered(&table, nonce + 1));
}

#[test]
fn a_lease_runs_from_when_the_acknowledged_beat_was_sent() {
    let mut table = table();
    let (first, second) = (table.next_seq(ms(1000)), table.next_seq(ms(1100)));
    let mut number = 0;
    let mut say = |table: &mut Table, at: u64, acknowledged, about: Heard| {
        number += 1;
        let about = Heard { acknowledged, ..about };
        arrive(table, at, &Beat { heard: vec![about], ..beat("n2", "b", number, 0) }).unwrap();
        table.contacts().lease
    };
    assert_eq!(say(&mut table, 1200, None, heard("me", "mine", second, 0)), None, "an echo is no acknowledgement");
    assert_eq!(say(&mut table, 1300, Some(second), heard("me", "another", second, 0)), None, "of another daemon");
    assert_eq!(say(&mut table, 1400, Some(second + 1), heard("me", "mine", second, 0)), None, "never sent");
    // Two seconds later, and yet it runs from 1.1 s.
    assert_eq!(say(&mut table, 3400, Some(second), heard("me", "mine", second, 0)), Some(ms(1100)));
    assert_eq!(say(&mut table, 3500, Some(first), heard("me", "mine", second, 0)), Some(ms(1100)), "never back");
}

#[test]
fn only_the_incarnation_that_was_heard_is_acknowledged() {
    let mut table = table();
    arrive(&mut table, 1100, &beat("n2", "b", 7, 0)).unwrap();
    let told = |table: &Table| table.heard().into_iter().find(|h| h.node == "n2".into()).unwrap().acknowledged;
    assert_eq!(told(&table), None);
    table.acknowledge([("n2".into(), (incarnation("b", 1), 6))].into());
    assert_eq!(told(&table), Some(6));
    arrive(&mut table, 1200, &beat("n2", "c", 1, 0)).unwrap();
    table.drained(ms(1200));
    assert_eq!(told(&table), None, "another boot is current now");
}

#[test]
fn a_recording_of_an_old_boot_does_not_displace_the_proven_one() {
    let mut table = table();
    let seq = table.next_seq(ms(1000));
    arrive(&mut table, 1100, &Beat { heard: vec![heard("me", "mine", seq, 0)], ..beat("n2", "real", 1, 0) }).unwrap();
    for number in 0..20 {
        arrive(&mut table, 1101 + number, &beat("n2", &format!("recorded-{number}"), 1, 0)).unwrap();
    }
    let contact = &table.contacts().peers["n2"];
    assert_eq!(contact.current().unwrap().incarnation.boot.as_str(), "real");
    assert!(contact.boots.len() <= MAX_BOOTS);
}

#[test]
fn a_link_is_down_after_three_beats_and_up_with_the_next() {
    let mut table = table();
    let states = |table: &Table| table.contacts().peers["n2"].links.iter().map(|link| link.state).collect::<Vec<_>>();
    for at in (1000..2000).step_by(100) {
        arrive(&mut table, at, &beat("n2", "b", at, 0)).unwrap();
        let second = if at <= 1300 { LinkState::Up } else { LinkState::Down };
        assert_eq!(states(&table), [LinkState::Up, second], "at {at}");
    }
    let changes = table.changes();
    arrive(&mut table, 2000, &beat("n2", "b", 2000, 1)).unwrap();
    assert_eq!((states(&table), table.changes()), (vec![LinkState::Up; 2], changes + 1));
}

#[test]
fn the_silent_are_told_first_and_the_others_in_turn() {
    let mut table = Table::new("me".into(), incarnation("mine", 1), INTERVAL, STALL, ms(1000));
    let names: Vec<String> = (0..5).map(|number| format!("n{number}")).collect();
    table.set_peers(&names.iter().map(|name| (NodeId::new(name.as_str()), 1)).collect(), ms(1000));
    for at in [1100, 1200, 1300, 1400] {
        for name in names.iter().filter(|name| *name != "n3") {
            arrive(&mut table, at, &beat(name, "b", at, 0)).unwrap();
        }
    }
    let told = |table: &Table| table.heard().iter().map(|heard| heard.node.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(told(&table), "n3 n0 n1 n2 n4");
    table.told(3);
    assert_eq!(told(&table), "n3 n4 n0 n1 n2");
    table.told(5);
    assert_eq!(told(&table), "n3 n0 n1 n2 n4");
}
