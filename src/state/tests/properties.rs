//! Whatever is proposed, in whatever order: the invariants of the state hold.

use super::*;
use crate::state::snapshot::{decode, decode_entry, encode, encode_entry};
use proptest::prelude::*;

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const KEYS: [&str; 9] =
    ["db@n1", "db@n2", "db@n3", "web@n1", "web@n2", "drbd:0@n1", "drbd:1@n2", "drbd:0@n3", "drbd:1@n1"];
const PHASES: [Phase; 8] = [
    Phase::Stopping,
    Phase::Stopping,
    Phase::Promoting,
    Phase::Demoting,
    Phase::Running,
    Phase::Starting,
    Phase::Reloading,
    Phase::Reloading,
];
const READINGS: [Reading; 7] = [
    Reading::Stopped,
    Reading::Running,
    Reading::RunningPromoted,
    Reading::NotInstalled,
    Reading::Failed,
    Reading::FailedPromoted,
    Reading::Unknown,
];
const ACTIONS: [ActionKind; 10] = [
    ActionKind::Reload,
    ActionKind::Notify,
    ActionKind::Start,
    ActionKind::Start,
    ActionKind::Monitor,
    ActionKind::Stop,
    ActionKind::Promote,
    ActionKind::Demote,
    ActionKind::Probe,
    ActionKind::MigrateTo,
];

/// A command from a few dice: mostly one that fits the state, sometimes with an epoch, boot or leader that does not.
fn command(case: &mut Case, dice: [u16; 5]) -> Command {
    let [what, a, b, c, odd] = dice.map(usize::from);
    let state = &case.state;
    let node = NODES[a % 3];
    let text = KEYS[a % KEYS.len()];
    let key = match state.claims.keys().nth(a % state.claims.len().max(1)) {
        Some(held) if odd % 3 != 0 => held.clone(),
        _ => key(text),
    };
    let claim = state.claims.get(&key);
    let epoch = Epoch(claim.map_or(state.last_epoch.0, |claim| claim.epoch.0) + u64::from(odd.is_multiple_of(16)));
    let now = |node: &str| state.nodes.get(node).map_or_else(|| incarnation(node, 1, 1), |n| n.incarnation.clone());
    let mut owner = claim.map_or_else(|| now(key.node.as_str()), |claim| claim.incarnation.clone());
    owner.counter += u64::from(odd.is_multiple_of(17));
    let leader = if odd.is_multiple_of(13) { now("n3") } else { case.leader() };
    let began = LogIndex(state.index.0.saturating_sub((odd % 5) as u64 / 3));
    match what % 30 {
        0..=2 => {
            let promoted = text.starts_with("drbd") && b % 2 == 0;
            let role = if promoted { Role::Promoted } else { Role::Started };
            let changes = vec![AssignChange {
                instance: super::key(text).instance,
                to: (b % 7 != 0).then(|| Assigned {
                    node: super::key(text).node,
                    role,
                    reason: Reason::Placed,
                    after: Vec::new(),
                    after_promote: Vec::new(),
                }),
            }];
            match odd % 3 {
                0 => Command::Assign { leader, changes },
                _ => Command::AssignSeen { leader, seen: began, changes },
            }
        }
        3..=6 => {
            let key = super::key(text);
            let incarnation = now(key.node.as_str());
            let assignment = state.assignment.get(&key.instance).map_or(LogIndex(0), |assigned| assigned.index);
            Command::Claim { key, incarnation, assignment }
        }
        7..=9 => {
            let to = PHASES[b % PHASES.len()];
            match odd % 3 {
                0 => Command::Advance { key, epoch, incarnation: owner, to },
                _ => Command::AdvanceSeen { key, epoch, incarnation: owner, seen: began, to },
            }
        }
        10 => Command::Release { key, epoch, incarnation: owner },
        11..=13 => Command::Report(OpReport {
            key,
            epoch,
            incarnation: owner,
            action: ACTIONS[b % ACTIONS.len()],
            status: [ExecStatus::Exited(0), ExecStatus::Exited(1), ExecStatus::TimedOut, ExecStatus::Failed][c % 4],
            reading: Some(READINGS[c % READINGS.len()]),
            began,
            duration_ms: 1,
            text: String::new(),
        }),
        14..=16 => Command::Probe(ProbeReport {
            resource: ["db", "web", "drbd"][b % 3].into(),
            node: node.into(),
            incarnation: now(node),
            identity: state.current_identity(&["db", "web", "drbd"][b % 3].into()).unwrap_or_default(),
            reading: if c % 4 == 0 { READINGS[c % READINGS.len()] } else { Reading::Stopped },
            began,
            text: String::new(),
        }),
        17 => {
            let current = now(node);
            let boot: u64 = current.boot.as_str().rsplit('b').next().and_then(|n| n.parse().ok()).unwrap_or(1);
            match b % 4 {
                0 => Case::join_newer(node, boot + 1, 1),
                1 => Case::join_newer(node, boot.saturating_sub(1), 9),
                _ => Case::join_newer(node, boot, current.counter + (b % 3) as u64),
            }
        }
        18 => Command::Suspect { leader, node: node.into(), boot: now(node).boot, reason: "silent".into() },
        19 if [node, NODES[b % 3]].iter().all(|name| state.nodes.contains_key(*name)) => {
            case.fence_command(node, NODES[b % 3])
        }
        19 => Command::Drop { node: node.into() },
        20 => {
            let last = state.attempts.iter().next_back();
            let (attempt, executor) = last.map_or((AttemptId(1), owner), |(id, a)| (*id, a.executor.clone()));
            let outcomes = [FenceOutcome::Off, FenceOutcome::Failed("no".into()), FenceOutcome::Off];
            match b % 4 {
                3 => Command::SwitchedOn { attempt, executor, error: None },
                other => Command::FenceResult { attempt, executor, outcome: outcomes[other].clone() },
            }
        }
        21 => match b % 6 {
            5 => Command::Rebooted { leader, node: node.into(), boot: now(node).boot },
            0 => Command::Clear { leader, node: node.into(), boot: now(node).boot, number: (c % 4) as u64 },
            1 => {
                let (by, reason) = ("ann".to_owned(), "off".to_owned());
                Command::ConfirmOff { node: node.into(), boot: now(node).boot, by, reason }
            }
            2 => Command::Leave { node: node.into(), incarnation: now(node) },
            3 => Command::Drop { node: node.into() },
            _ => Command::LeaderStart { node: node.into(), incarnation: now(node), term: (c % 5) as u64 },
        },
        22 => match b % 4 {
            0 => Command::ClearFailures { resource: None, node: None, by: "ann".into() },
            1 => Command::Tick { leader, elapsed_ms: (c * 40) as u64, wall_ms: (c * 100) as u64 },
            2 => Command::SetOverride {
                scope: Scope::Node(node.into()),
                kind: [OverrideKind::Drain, OverrideKind::Fence, OverrideKind::Shutdown][c % 3].clone(),
                by: "ann".into(),
                reason: String::new(),
                expires_ms: (c % 2 == 0).then_some(c as u64 * 50),
            },
            _ => Command::ClearOverride { id: OverrideId((c % 9) as u64), by: "ann".into() },
        },
        23 => push(case, b, c),
        24 | 25 => {
            let operation = ACTIONS[b % ACTIONS.len()];
            let node = key.node.clone();
            let (incarnation, resource) = (now(node.as_str()), key.instance.resource.clone());
            let (keys, planned) = (vec![key.clone(), super::key(text)], vec![(operation, key)]);
            Command::Announce(Announcement { node, incarnation, resource, operation, keys, planned })
        }
        _ => {
            let notice = state.notices.iter().nth(c % state.notices.len().max(1));
            let stages = [NoticeStage::Before, NoticeStage::Doing, NoticeStage::After];
            let (number, stage) = notice.map_or((Epoch(1), stages[b % 3]), |(number, notice)| (*number, notice.stage));
            let owing = notice.and_then(|(_, notice)| notice.owed.iter().next());
            let (key, epoch) = owing.map_or((key, epoch), |(key, epoch)| (key.clone(), *epoch));
            let incarnation = state.claims.get(&key).map_or(owner, |claim| claim.incarnation.clone());
            if b % 5 == 0 {
                return Command::Withdraw { notice: number, key, incarnation };
            }
            let status = [ExecStatus::Exited(0), ExecStatus::TimedOut][b % 2];
            Command::Notified(Told { notice: number, stage, key, epoch, incarnation, status, text: String::new() })
        }
    }
}

/// Uploads a changed spec by itself, and returns the target command.
fn push(case: &mut Case, b: usize, c: usize) -> Command {
    match b % 4 {
        0 => _ = case.world.resource("db").params.insert("size".into(), c.to_string()),
        1 => case.world.cloned("ms", "drbd").max = Some(1 + (c % 3) as u32),
        _ => {}
    }
    let clone = case.world.spec.clones.get_mut("ms").unwrap();
    clone.promotable = Some(Promotable { max: 1, per_node: 1 });
    let mut spec = case.world.spec.clone();
    if b % 4 == 2 {
        spec.resources.remove("web");
    }
    if b % 4 == 3 {
        spec.nodes.remove("n3");
    }
    let (digest, chunks) = spec_to_chunks(&spec);
    let total = chunks.len() as u32;
    for (number, bytes) in chunks.into_iter().enumerate() {
        case.ok(Command::SpecChunk { digest, number: number as u32, total, bytes });
    }
    let parent = case.state.target.as_ref().map(|target| target.revision.clone());
    Command::SetTarget {
        revision: Revision::new(format!("r{}", case.state.index)),
        parent,
        spec: digest,
        by: "a".into(),
    }
}

/// Why a claim may be gone, judged from the command alone.
fn ends(command: &Command, key: &ClaimKey, claim: &Claim, before: &State) -> bool {
    match command {
        Command::Release { key: released, epoch, incarnation } => {
            released == key
                && *epoch == claim.epoch
                && *incarnation == claim.incarnation
                && claim.phase == Phase::Stopping
        }
        Command::Rebooted { node, boot, .. } => *node == key.node && *boot == claim.incarnation.boot,
        Command::FenceResult { attempt, outcome, .. } => {
            let attempt = &before.attempts[attempt];
            *outcome == FenceOutcome::Off && attempt.node == key.node && attempt.boot == claim.incarnation.boot
        }
        Command::ConfirmOff { node, boot, .. } => *node == key.node && *boot == claim.incarnation.boot,
        _ => false,
    }
}

/// A resource may be over its limits only if something was found, or git lowered the limit, since it last fitted.
fn excused(command: &Command) -> bool {
    matches!(command, Command::Probe(_) | Command::SetTarget { .. } | Command::Report(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_is_proposed(dice in prop::collection::vec(any::<[u16; 5]>(), 1..160), cut in 0..160_usize) {
        let mut case = super::notices::notifying();
        let agent = case.world.resource("db").agent.clone();
        let reload = Some(Reload { legacy: false, params: ["size".to_owned()].into() });
        case.world.spec.agents.insert(agent, AgentTraits { unique: BTreeMap::new(), reload });
        case.push("3");
        let mut replica = decode(&encode(&case.state)).unwrap();
        let mut epochs: std::collections::BTreeSet<Epoch> = Default::default();
        for (place, dice) in dice.into_iter().enumerate() {
            let from = case.state.index;
            let command = command(&mut case, dice);
            if case.state.index != from {
                // A push uploaded its chunks meanwhile.
                replica = case.state.clone();
            }
            let before = case.state.clone();
            // `ask` itself checks that a refusal changes nothing.
            let answer = case.ask(command.clone());
            let now = &case.state;

            for (key, claim) in &now.claims {
                let new = before.claims.get(key).is_none_or(|old| old.epoch != claim.epoch);
                prop_assert!(!new || epochs.insert(claim.epoch), "epoch {} repeats", claim.epoch);
                let node = &now.nodes[&key.node];
                prop_assert!(!node.burnt.contains(&claim.incarnation.boot), "{key} held by a burnt boot");
                prop_assert_eq!(&node.incarnation, &claim.incarnation);
                prop_assert!(now.definitions.contains_key(&claim.definition));
                let reloads = now.reloads.get(key);
                prop_assert!(reloads.is_none_or(|digest| now.definitions.contains_key(digest)));
                prop_assert_eq!(reloads.is_some(), claim.phase == Phase::Reloading);
            }
            for (key, claim) in &before.claims {
                let kept = now.claims.get(key).is_some_and(|now| now.epoch == claim.epoch);
                prop_assert!(kept || ends(&command, key, claim, &before), "{key} ended by {command:?}");
            }
            let mut announced = std::collections::BTreeSet::new();
            for notice in now.notices.values() {
                prop_assert!(!notice.members.is_empty());
                prop_assert!((notice.stage == NoticeStage::Doing) == notice.owed.is_empty(), "{notice:?}");
                for (key, epoch) in &notice.owed {
                    let claim = now.claims.get(key);
                    prop_assert!(claim.is_some_and(|claim| claim.epoch == *epoch && claim.is_running()), "{key} cannot answer");
                    prop_assert_eq!(now.nodes[&key.node].membership, Membership::Online);
                }
                for (key, member) in notice.members.iter().filter(|(_, m)| matches!(m, Member::Pending(_))) {
                    prop_assert!(announced.insert((notice.operation, key.clone())), "{key} {member:?} is announced twice");
                }
            }
            for node in now.nodes.values() {
                prop_assert!(!node.burnt.contains(&node.incarnation.boot)
                    || matches!(node.membership, Membership::Fenced));
            }
            for resource in ["db", "web", "drbd"].map(ResourceId::from) {
                let was = before.exceeded(&resource);
                if now.exceeded(&resource).is_some() && was.is_none() {
                    prop_assert!(excused(&command), "{resource} beyond its limits by {command:?}");
                }
                if was.is_some() && let Command::Claim { key, .. } = &command {
                    prop_assert!(answer.is_err() || key.instance.resource != resource);
                }
            }
            if place == cut {
                replica = decode(&encode(&replica)).unwrap();
            }
            let entry = Entry { at_ms: now.index.0 * 10, commands: vec![command] };
            let entry = decode_entry(&encode_entry(&entry)).unwrap();
            replica.apply(now.index, &entry);
            prop_assert_eq!(encode(&replica), encode(now));
        }
    }

    #[test]
    fn damaged_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(first) = bytes.first_mut() {
            *first = 1 + *first % 2;
        }
        let _ = (decode(&bytes), decode_entry(&bytes));
    }
}
