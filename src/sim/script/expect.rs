//! Sentences about what must be true.

use super::{Stage, host};
use crate::model::{ResourceId, Role};
use crate::plan::Verdict;
use crate::sim::world::Sim;
use crate::state::rollout::Trial;
use crate::state::{FenceOutcome, Membership, Phase};

/// Whether a sentence holds. None: yes; else what is so instead. An error: it says nothing.
pub(super) fn holds(stage: &mut Stage, words: &[&str]) -> Result<Option<String>, String> {
    let remembered = stage.remembered.clone();
    let sim = stage.running()?;
    let differs = |is: bool, what: String| if is { None } else { Some(what) };
    Ok(match words {
        [name, "nowhere"] => {
            let there = places(sim, name, false)?;
            differs(there.is_empty(), format!("{name} runs on {there:?}"))
        }
        [name, "promoted", "nowhere"] => {
            let there = places(sim, name, true)?;
            differs(there.is_empty(), format!("{name} is promoted on {there:?}"))
        }
        [name, "promoted", "on", nodes @ ..] => on(sim, name, nodes, true)?,
        [name, "on", nodes @ ..] => on(sim, name, nodes, false)?,
        [name, "starting", "on", node] => {
            let state = sim.newest();
            let starts = state
                .claims_of(&ResourceId::from(*name))
                .any(|(key, claim)| key.node.as_str() == *node && claim.phase == Phase::Starting);
            differs(starts, format!("{name} has no claim to start there"))
        }
        [name, "claimed", "on", node] => {
            let claims = sim
                .newest()
                .claims
                .keys()
                .any(|key| key.instance.resource.as_str() == *name && key.node.as_str() == *node);
            differs(claims, format!("{name} has no claim there"))
        }
        [name, "unclaimed"] => {
            let claims = sim.newest().claims.keys().filter(|key| key.instance.resource.as_str() == *name);
            let claims: Vec<String> = claims.map(ToString::to_string).collect();
            differs(claims.is_empty(), format!("there is {claims:?}"))
        }
        ["node", name, is] => {
            let node = sim.hosts[host(sim, name)?].name.clone();
            let now = sim.newest().nodes.get(&node).map(|node| node.membership);
            let told = now.map_or("unknown".to_owned(), |m: Membership| format!("{m:?}").to_lowercase());
            differs(told == *is, format!("{name} is {told}"))
        }
        [name, "failed", number, "times", "on", node] => {
            let wanted: u32 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
            let records = sim
                .newest()
                .history
                .iter()
                .filter(|(key, _)| key.instance.resource.as_str() == *name && key.node.as_str() == *node);
            let count: u32 = records.map(|(_, record)| record.fail_count).sum();
            differs(count == wanted, format!("it failed {count} times"))
        }
        [name, "blocked"] => {
            let verdicts = verdicts(sim, name)?;
            let blocked = verdicts.iter().any(|verdict| verdict.starts_with("Blocked"));
            differs(blocked, format!("{name}: {verdicts:?}"))
        }
        [name, "waits"] => {
            let verdicts = verdicts(sim, name)?;
            differs(verdicts.iter().any(|verdict| verdict.starts_with("Wait")), format!("{name}: {verdicts:?}"))
        }
        [name, "assigned", "nowhere"] => {
            let places = sim.newest().assignment.iter().filter(|(id, _)| id.resource.as_str() == *name);
            let places: Vec<_> = places.map(|(_, to)| to.to.node.to_string()).collect();
            differs(places.is_empty(), format!("{name} is assigned to {places:?}"))
        }
        ["no", "start", "since"] => {
            let starts = sim.stats.starts - remembered.starts;
            differs(starts == 0, format!("{starts} starts since"))
        }
        [number, "starts", "since"] => {
            let starts = sim.stats.starts - remembered.starts;
            let wanted: u64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
            differs(starts == wanted, format!("{starts} starts since"))
        }
        ["no", "fencing", "since"] => {
            let fences = sim.stats.fences - remembered.fences;
            differs(fences == 0, format!("{fences} attempts since"))
        }
        [number, "attempts", "since"] => {
            let fences = sim.stats.fences - remembered.fences;
            let wanted: u64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
            differs(fences == wanted, format!("{fences} attempts since"))
        }
        ["last", "attempt", how] => {
            let last = sim.newest().attempts.values().next_back().map(|attempt| attempt.outcome.clone());
            let told = match last {
                None => "none",
                Some(None) => "open",
                Some(Some(FenceOutcome::Off)) => "succeeded",
                Some(Some(FenceOutcome::Failed(_))) => "failed",
                Some(Some(FenceOutcome::Unknown(_))) => "unknown",
            };
            differs(told == *how, format!("the last attempt: {told}"))
        }
        [name, "is", "up"] => {
            let host = host(sim, name)?;
            differs(sim.hosts[host].up, format!("{name} is off"))
        }
        [name, "is", "off"] => {
            let host = host(sim, name)?;
            differs(!sim.hosts[host].up, format!("{name} is up"))
        }
        ["leader"] => differs(sim.log.leader.is_some(), "nobody leads".to_owned()),
        ["no", "leader"] => differs(sim.log.leader.is_none(), "somebody leads".to_owned()),
        ["leader", "is", "not", name] => {
            let host = host(sim, name)?;
            differs(sim.log.leader.is_some_and(|leader| leader != host), format!("{:?} leads", sim.log.leader))
        }
        ["the", "commit", how] => {
            let rollout = &sim.newest().rollout;
            let told = match &rollout.trial {
                _ if rollout.tip.is_some() => "returned",
                Trial::Off => "good",
                Trial::On { .. } => "tried",
                Trial::Passed { .. } => "confirmed",
                Trial::Failed { .. } => "unconfirmed",
            };
            differs(told == *how, format!("it is {told}"))
        }
        ["an", "alarm"] => differs(!sim.newest().alarms.is_empty(), "there is no alarm".to_owned()),
        ["no", "alarm"] => {
            let last = sim.newest().alarms.last().map(|alarm| alarm.text.clone()).unwrap_or_default();
            differs(sim.newest().alarms.is_empty(), format!("there is an alarm: {last}"))
        }
        ["everything", "settled"] => sim.unsettled(),
        ["forge", "shows", state] => {
            let target = sim.newest().target.as_ref().map(|target| target.revision.clone());
            let shown = target.and_then(|revision| sim.forge.shows.get(&revision).copied());
            let shown = shown.map_or("nothing".to_owned(), |state| state.to_string());
            differs(shown == *state, format!("it shows {shown}"))
        }
        ["forge", "shows", "another", "as", state] => {
            let target = sim.newest().target.as_ref().map(|target| target.revision.clone());
            let others = sim.forge.shows.iter().filter(|(revision, _)| Some(*revision) != target.as_ref());
            let shown: Vec<String> = others.map(|(_, state)| state.to_string()).collect();
            differs(shown.iter().any(|shown| shown == state), format!("it shows {shown:?}"))
        }
        ["forge", "was", "asked", number, "times"] => {
            let wanted: u64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
            differs(sim.forge.asked == wanted, format!("it was asked {} times", sim.forge.asked))
        }
        ["reports", "fail"] => differs(sim.newest().outbox.failing.is_some(), "they do not".to_owned()),
        ["nothing", "is", "left", "to", "report"] => {
            let waiting = sim.newest().outbox.waiting().len();
            let failing = sim.newest().outbox.failing.clone();
            differs(waiting == 0 && failing.is_none(), format!("{waiting} words wait, failing: {failing:?}"))
        }
        _ => return Err("nobody knows what this asks for".to_owned()),
    })
}

/// Where something truly runs. `promoted`: only where it is promoted.
fn places(sim: &Sim, name: &str, promoted: bool) -> Result<Vec<String>, String> {
    let thing = sim.thing(&ResourceId::from(name));
    // What git has no more may still run.
    let thing = thing.unwrap_or_else(|| format!("/run/{name}").into());
    let runs = sim.hosts.iter().filter(|host| host.services.get(&thing).is_some_and(|s| s.promoted || !promoted));
    Ok(runs.map(|host| host.name.to_string()).collect())
}

/// `n1 or n2`: on exactly one of them; `n1 n2`: on exactly these.
fn on(sim: &Sim, name: &str, nodes: &[&str], promoted: bool) -> Result<Option<String>, String> {
    let there = places(sim, name, promoted)?;
    let named: Vec<String> = nodes.iter().filter(|word| **word != "or").map(|word| (*word).to_owned()).collect();
    named.iter().try_for_each(|name| host(sim, name).map(|_| ()))?;
    let holds = match nodes.contains(&"or") {
        true => there.len() == 1 && named.contains(&there[0]),
        false => there == named,
    };
    let state = sim.newest();
    let role = |role: Role| role == Role::Promoted;
    let claims: Vec<String> = state
        .claims_of(&ResourceId::from(name))
        .map(|(key, claim)| format!("{key} {:?}{}", claim.phase, if role(claim.role) { " promoted" } else { "" }))
        .collect();
    // Also as far as the cluster knows: its start is over.
    let resource = ResourceId::from(name);
    let known = state
        .claims_of(&resource)
        .filter(|(_, claim)| claim.phase == Phase::Running && (!promoted || claim.role == Role::Promoted));
    let known = known.count() >= there.len();
    Ok((!holds || !known).then(|| format!("{name} runs on {there:?}, claims {claims:?}")))
}

fn verdicts(sim: &mut Sim, name: &str) -> Result<Vec<String>, String> {
    let newest = sim.states.len() - 1;
    let graph = sim.graph(newest);
    let of = |verdict: &Verdict| format!("{verdict:?}");
    let mine = graph.verdicts().iter().filter(|(id, _)| id.resource.as_str() == name);
    Ok(mine.map(|(_, verdict)| of(verdict)).collect())
}
