//! Sentences about what happens to the cluster, and what people do.

use super::{Stage, host, seconds};
use crate::model::{ActionKind, ResourceId, Revision};
use crate::sim::agents::Mode;
use crate::sim::faults::{FOREVER, Fault};
use crate::sim::world::Sim;
use crate::state::{Command, OverrideKind, Scope};

/// Lets one sentence happen.
pub(super) fn act(stage: &mut Stage, words: &[&str]) -> Result<(), String> {
    if let Some(done) = time(stage, words) {
        return done;
    }
    let sim = stage.running()?;
    if let Some(done) = operate(sim, words) {
        return done;
    }
    let fault = fault(sim, words)?;
    if let Some(fault) = fault {
        sim.now_happens(fault);
    }
    Ok(())
}

fn time(stage: &mut Stage, words: &[&str]) -> Option<Result<(), String>> {
    match words {
        ["settle"] => Some(stage.settle()),
        ["wait", number, "s"] => Some(seconds(number).and_then(|ms| {
            let sim = stage.running()?;
            sim.run_until(sim.now + ms).map_err(|violation| violation.to_string())
        })),
        ["remember"] => Some(
            stage
                .running()
                .map(|sim| super::Remembered { starts: sim.stats.starts, fences: sim.stats.fences })
                .map(|now| stage.remembered = now),
        ),
        _ => None,
    }
}

fn target(sim: &Sim) -> Result<Revision, String> {
    sim.newest().target.as_ref().map(|target| target.revision.clone()).ok_or("there is no target".to_owned())
}

fn operate(sim: &mut Sim, words: &[&str]) -> Option<Result<(), String>> {
    let node = |sim: &Sim, name: &str| host(sim, name).map(|host| sim.hosts[host].name.clone());
    let set = |sim: &mut Sim, scope: Scope, kind: OverrideKind| {
        let (by, reason) = ("ann".into(), "a test".into());
        committed(sim.operator(vec![Command::SetOverride { scope, kind, by, reason, expires_ms: None }]))
    };
    let clear = |sim: &mut Sim, scope: Scope, which: fn(&OverrideKind) -> bool| {
        let found: Vec<_> =
            sim.newest().overrides_of(&scope).filter(|(_, o)| which(&o.kind)).map(|(id, _)| id).collect();
        let commands: Vec<_> = found.into_iter().map(|id| Command::ClearOverride { id, by: "ann".into() }).collect();
        match commands.is_empty() {
            true => Err("there is nothing to take back".to_owned()),
            false => committed(sim.operator(commands)),
        }
    };
    let done = match words {
        ["drain", name] => node(sim, name).and_then(|node| set(sim, Scope::Node(node), OverrideKind::Drain)),
        ["undrain", name] => {
            node(sim, name).and_then(|node| clear(sim, Scope::Node(node), |kind| matches!(kind, OverrideKind::Drain)))
        }
        ["move", name, "to", to] => {
            node(sim, to).and_then(|to| set(sim, Scope::Resource((*name).into()), OverrideKind::Move { to }))
        }
        ["move", name, "to", to, "for", number, "s"] => node(sim, to).and_then(|to| {
            let ends = sim.newest().now_ms + seconds(number)?;
            let (by, reason) = ("ann".into(), "a test".into());
            let (scope, kind) = (Scope::Resource((*name).into()), OverrideKind::Move { to });
            committed(sim.operator(vec![Command::SetOverride { scope, kind, by, reason, expires_ms: Some(ends) }]))
        }),
        ["ban", name, "from", from] => {
            node(sim, from).and_then(|node| set(sim, Scope::Resource((*name).into()), OverrideKind::Ban { node }))
        }
        ["unban", name] => clear(sim, Scope::Resource((*name).into()), |kind| matches!(kind, OverrideKind::Ban { .. })),
        ["stop", name] => set(sim, Scope::Resource((*name).into()), OverrideKind::Stop),
        ["unstop", name] => clear(sim, Scope::Resource((*name).into()), |kind| matches!(kind, OverrideKind::Stop)),
        ["maintenance", "begins"] => set(sim, Scope::Cluster, OverrideKind::Maintenance),
        ["maintenance", "ends"] => clear(sim, Scope::Cluster, |kind| matches!(kind, OverrideKind::Maintenance)),
        ["maintenance", "of", name, "begins"] => set(sim, Scope::Resource((*name).into()), OverrideKind::Maintenance),
        ["maintenance", "of", name, "ends"] => {
            clear(sim, Scope::Resource((*name).into()), |kind| matches!(kind, OverrideKind::Maintenance))
        }
        ["fence", name] => node(sim, name).and_then(|node| set(sim, Scope::Node(node), OverrideKind::Fence)),
        ["cleanup"] => {
            committed(sim.operator(vec![Command::ClearFailures { resource: None, node: None, by: "ann".into() }]))
        }
        ["suspend"] => set(sim, Scope::Cluster, OverrideKind::Suspend),
        ["resume"] => clear(sim, Scope::Cluster, |kind| matches!(kind, OverrideKind::Suspend)),
        ["confirm", "the", "target"] => target(sim).and_then(|revision| {
            committed(sim.operator(vec![Command::Confirm { leader: None, revision, by: "ann".into() }]))
        }),
        ["roll", "back"] => target(sim).and_then(|from| {
            let (by, reason) = ("ann".into(), "a test".into());
            committed(sim.operator(vec![Command::Rollback { from, by, reason }]))
        }),
        ["release", "the", "hold"] => {
            let held = sim.newest().rollout.held.last().map(|held| held.revision.clone());
            held.ok_or("nothing is held".to_owned())
                .and_then(|revision| committed(sim.operator(vec![Command::ReleaseHold { revision, by: "ann".into() }])))
        }
        ["confirm", name, "is", "off"] => node(sim, name).and_then(|node| {
            let boot = sim.newest().nodes.get(&node).map(|node| node.incarnation.boot.clone());
            let boot = boot.ok_or("it never joined")?;
            let (by, reason) = ("ann".into(), "a test".into());
            committed(sim.operator(vec![Command::ConfirmOff { node, boot, by, reason }]))
        }),
        ["trust", "devices", "of", name] => node(sim, name).and_then(|node| {
            let state = sim.newest();
            let described = state.nodes.get(&node).ok_or("it never joined")?;
            let levels = described.document.as_ref().map_or(0, |document| document.node.fencing.len());
            let trust = (0..levels as u32).filter_map(|level| {
                let digest = crate::state::State::level_digest(described, level)?;
                let (by, reason) = ("ann".into(), "a test".into());
                Some(Command::Trust { node: node.clone(), level, digest, by, reason })
            });
            let commands = trust.collect();
            committed(sim.operator(commands))
        }),
        _ => return None,
    };
    Some(done)
}

fn committed(there: bool) -> Result<(), String> {
    if there { Ok(()) } else { Err("no leader with a quorum could be asked".to_owned()) }
}

/// The fault that a sentence tells. None: it was done at once.
fn fault(sim: &mut Sim, words: &[&str]) -> Result<Option<Fault>, String> {
    let leads = sim.log.leader;
    let h = |name: &str| if name == "leader" { leads.ok_or("nobody leads".to_owned()) } else { host(sim, name) };
    Ok(Some(match words {
        [node, "loses", "its", "power"] => Fault::PowerCut { host: h(node)?, back: FOREVER },
        [node, "loses", "its", "power", "for", number, "s"] => {
            Fault::PowerCut { host: h(node)?, back: seconds(number)? }
        }
        ["everybody", "loses", "power", "for", number, "s"] => Fault::AllPowerCut { back: seconds(number)? },
        [node, "boots"] => {
            let host = h(node)?;
            sim.hosts[host].stays_off = false;
            sim.power_on(host);
            return Ok(None);
        }
        [node, "stays", "off"] => {
            let host = h(node)?;
            sim.hosts[host].stays_off = true;
            if sim.hosts[host].up {
                sim.crash(host);
            }
            return Ok(None);
        }
        [node, "freezes", "for", number, "s"] => Fault::Paused { host: h(node)?, ms: seconds(number)? },
        ["daemon", "of", node, "freezes", "for", number, "s"] => {
            Fault::Stalled { host: h(node)?, ms: seconds(number)? }
        }
        ["daemon", "of", node, "is", "killed", "for", number, "s"] => {
            Fault::DaemonKilled { host: h(node)?, back: seconds(number)? }
        }
        ["daemon", "of", node, "is", "restarted"] => Fault::DaemonRestart { host: h(node)? },
        [node, "is", "upgraded"] => Fault::Upgrade { host: h(node)? },
        [node, "leaves"] => Fault::Leaves { host: h(node)? },
        [node, "loses", "its", "network"] => Fault::Alone { host: h(node)?, ms: FOREVER },
        [node, "loses", "its", "network", "for", number, "s"] => Fault::Alone { host: h(node)?, ms: seconds(number)? },
        [a, "and", b, "do", "not", "hear", "each", "other"] => {
            Fault::Cut { host: h(a)?, other: h(b)?, both: true, ms: FOREVER }
        }
        ["nothing", "gets", "from", a, "to", b] => Fault::Cut { host: h(a)?, other: h(b)?, both: false, ms: FOREVER },
        [node, "hears", "nothing"] => Fault::Deaf { host: h(node)?, ms: FOREVER },
        ["network", "splits", sides @ ..] => {
            let one = sides.iter().take_while(|name| **name != "|");
            let mut bits = 0;
            for name in one {
                bits |= 1 << h(name)?;
            }
            Fault::Split { sides: bits, ms: FOREVER }
        }
        ["network", "heals"] => {
            sim.cut.clear();
            sim.lossy.clear();
            sim.hosts.iter_mut().for_each(|host| host.slow = 0);
            return Ok(None);
        }
        ["network", "loses", number, "%"] => {
            Fault::Lossy { percent: number.parse().map_err(|_| "that is no number")?, ms: FOREVER }
        }
        [node, "answers", "late", "by", number, "s"] => {
            Fault::Slow { host: h(node)?, by: seconds(number)?, ms: FOREVER }
        }
        ["leader", "steps", "down"] => Fault::LeaderSteps,
        ["forge", how @ ..] => {
            let forge = &mut sim.forge;
            match how {
                ["is", "down"] => forge.is_down = true,
                ["is", "up"] => (forge.is_down, forge.is_mute, forge.knows_no_commit) = (false, false, false),
                ["is", "mute"] => forge.is_mute = true,
                ["knows", "no", "commit"] => forge.knows_no_commit = true,
                ["takes", number, "s"] => forge.slow = seconds(number)?,
                _ => return Err("a forge cannot do this".to_owned()),
            }
            return Ok(None);
        }
        ["answers", "of", "the", "log", "are", "lost", number] => {
            Fault::LostReplies { count: number.parse().map_err(|_| "that is no number")? }
        }
        ["disk", "of", node, "stalls", "for", number, "s"] => {
            Fault::DiskStalls { host: h(node)?, ms: seconds(number)? }
        }
        ["disk", "of", node, "is", number, "entries", "older"] => {
            let entries = number.parse().map_err(|_| "that is no number")?;
            Fault::OldDisk { host: h(node)?, entries, back: 1_000 }
        }
        ["clock", "of", node, "jumps", "by", number, "s"] => {
            let ms = number.parse::<i64>().map_err(|_| "that is no number")? * 1_000;
            Fault::ClockJumps { host: h(node)?, ms }
        }
        [resource, "dies"] => Fault::Dies { resource: named(sim, resource)? },
        [action, "of", resource, "on", node, how] => {
            let kind = action_named(action)?;
            let (host, resource) = (h(node)?, named(sim, resource)?);
            match how.strip_suffix("-always") {
                Some(how) => {
                    let thing = sim.thing(&resource).ok_or("it is no resource")?;
                    let mode = mode(how)?;
                    if mode == Mode::Works {
                        sim.hosts[host].broken.remove(&(thing.clone(), kind));
                        sim.hosts[host].always.remove(&(thing, kind));
                    } else {
                        sim.hosts[host].always.insert((thing, kind), mode);
                    }
                    return Ok(None);
                }
                None => Fault::Agent { host, resource, kind, mode: mode(how)? },
            }
        }
        ["device", device, "of", node, how] => {
            let (host, mode) = (h(node)?, mode(how)?);
            sim.hosts[host].devices.insert(crate::model::DeviceId::new(*device), mode);
            return Ok(None);
        }
        ["devices", "of", node, how] => Fault::Device { host: h(node)?, mode: mode(how)?, ms: FOREVER },
        ["somebody", "starts", resource, "on", node] => {
            Fault::ByHand { host: h(node)?, resource: named(sim, resource)? }
        }
        _ => return Err("nobody knows how to do this".to_owned()),
    }))
}

fn named(sim: &Sim, name: &str) -> Result<ResourceId, String> {
    let id = ResourceId::from(name);
    if sim.spec.resources.contains_key(&id) { Ok(id) } else { Err(format!("no resource `{name}`")) }
}

fn action_named(text: &str) -> Result<ActionKind, String> {
    use ActionKind as A;
    let changes = [A::Start, A::Stop, A::Promote, A::Demote, A::Reload, A::MigrateTo, A::MigrateFrom];
    let mut all = changes.into_iter().chain([A::Monitor, A::Probe, A::Notify]);
    all.find(|kind| kind.to_string() == text).ok_or_else(|| format!("no action `{text}`"))
}

/// `fails`, `hangs`, `lies`, …: how the next one goes; with `-always` behind it, every one.
fn mode(text: &str) -> Result<Mode, String> {
    Ok(match text {
        "work" | "works" => Mode::Works,
        "fail" | "fails" => Mode::Fails,
        "hang" | "hangs" => Mode::Hangs,
        "lie" | "lies" => Mode::Lies,
        "slow" => Mode::Slow,
        "late" => Mode::Late,
        "half" => Mode::Half,
        "missing" => Mode::Missing,
        other => return Err(format!("nothing can behave as `{other}`")),
    })
}
