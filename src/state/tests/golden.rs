//! Bytes that were stored must be read for ever: `format1.hex` and `format2.hex` are an entry and a snapshot of each
//! format.

use super::*;
use crate::state::snapshot::{FORMAT, SnapshotError, decode, decode_entry, encode, encode_entry};

fn sample() -> (Entry, State) {
    let mut case = Case::new();
    case.run("db@n1");
    case.run("drbd:0@n2");
    case.assign("drbd:0@n2", Role::Promoted);
    case.advance("drbd:0@n2", Phase::Promoting).unwrap();
    case.monitor("db@n1", Reading::Failed).unwrap();
    case.suspect("n3");
    let attempt = case.fence("n3", "n1");
    case.result(attempt, FenceOutcome::Off).unwrap();
    let scope = Scope::Resource("db".into());
    let (by, reason) = ("ann".to_owned(), "a test".to_owned());
    let kind = OverrideKind::Move { to: "n2".into() };
    case.ok(Command::SetOverride { scope, kind, by, reason, expires_ms: Some(5) });
    let commands = vec![
        case.claim_command("db@n1"),
        case.release_command("db@n1"),
        case.report_command("db@n1", ActionKind::Monitor, 7, Some(Reading::Stopped)),
        case.probe_command("db", "n2", Reading::NotInstalled),
        case.fence_command("n3", "n1"),
        case.suspect_command("n2"),
        Case::join("n3", 2, 1),
    ];
    (Entry { at_ms: 77, commands }, case.state)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(line: &str) -> Vec<u8> {
    (0..line.len() / 2).map(|place| u8::from_str_radix(&line[place * 2..place * 2 + 2], 16).unwrap()).collect()
}

/// What format 2 added.
fn sample_2() -> (Entry, State) {
    let mut case = super::notices::notifying();
    case.ok(case.announce_command(ActionKind::Stop, &["drbd:1@n2", "drbd:0@n1"]));
    let agent = case.world.resource("db").agent.clone();
    let reload = Some(Reload { legacy: true, params: ["size".to_owned()].into() });
    let traits = AgentTraits { unique: [("state".to_owned(), ["state".to_owned()].into())].into(), reload };
    case.world.spec.agents.insert(agent, traits);
    case.push("3");
    case.run("db@n1");
    case.change("4", "size");
    case.advance("db@n1", Phase::Reloading).unwrap();
    case.state.halted.insert("web".into());
    let word = Word { number: 7, state: CommitState::Success, text: "healthy".into(), since_ms: 5, told: Sent::Never };
    let failing = Some(Failing { since_ms: 6, why: "no route".into() });
    case.state.outbox = Outbox { last: 9, words: [("4".into(), word)].into(), failing };
    let notice = *case.state.notices.keys().next().unwrap();
    let incarnation = incarnation("n1", 1, 1);
    let commands = vec![
        case.announce_command(ActionKind::Promote, &["drbd:1@n2"]),
        case.told_command("drbd:1@n2", ExecStatus::TimedOut),
        case.report_command("db@n1", ActionKind::Reload, 1, None),
        Command::Withdraw { notice, key: key("drbd:0@n1"), incarnation: incarnation.clone() },
        Command::NoteStatus {
            leader: incarnation.clone(),
            revision: "4".into(),
            state: CommitState::Failure,
            text: "not healthy".into(),
        },
        Command::StatusSent {
            leader: incarnation,
            revision: "4".into(),
            number: 7,
            delivery: Delivery::GivenUp("not known there".into()),
        },
    ];
    (Entry { at_ms: 78, commands }, case.state)
}

fn check(format: u8, (entry, state): (Entry, State), stored: &str) {
    let path = format!("{}/src/state/tests/format{format}.hex", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, format!("{}\n{}\n", hex(&encode_entry(&entry)), hex(&encode(&state)))).unwrap();
        return;
    }
    let mut lines = stored.lines();
    let (stored_entry, stored_state) = (bytes(lines.next().unwrap()), bytes(lines.next().unwrap()));
    assert_eq!((stored_entry[0], stored_state[0]), (format, format));
    assert_eq!(decode_entry(&stored_entry).unwrap(), entry, "stored types changed: raise FORMAT and read both");
    assert_eq!(decode(&stored_state).unwrap(), state, "stored types changed: raise FORMAT and read both");
    assert_eq!(encode(&state), stored_state);
}

#[test]
fn an_entry_and_a_snapshot_of_every_format_are_read_back() {
    check(1, sample(), include_str!("format1.hex"));
    check(2, sample_2(), include_str!("format2.hex"));
}

#[test]
fn an_unknown_format_and_damaged_bytes_are_errors() {
    let (_, state) = sample_2();
    let good = encode(&state);
    assert_eq!(decode(&[]), Err(SnapshotError::Damaged("empty".into())));
    let mut newer = good.clone();
    newer[0] = FORMAT + 1;
    assert_eq!(decode(&newer), Err(SnapshotError::UnknownFormat { found: FORMAT + 1 }));
    assert!(matches!(decode(&good[..good.len() - 1]), Err(SnapshotError::Damaged(_))));
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(decode(&longer), Err(SnapshotError::Damaged(_))));
}
