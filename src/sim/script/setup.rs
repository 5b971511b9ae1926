//! Sentences about the cluster: nodes, resources, what goes where and after what.

use crate::model::*;
use crate::sim::build::Builder;
use std::fmt::Debug;
use std::time::Duration;

/// Takes one sentence in.
pub fn describe(b: &mut Builder, words: &[&str]) -> Result<(), String> {
    match words {
        ["nodes", names @ ..] => names.iter().for_each(|name| _ = b.node(name, NodeRole::Voter)),
        ["witness", name] => _ = b.node(name, NodeRole::Witness),
        ["agents", names @ ..] => names.iter().for_each(|name| _ = b.node(name, NodeRole::Agent)),
        ["resources", names @ ..] => names.iter().for_each(|name| _ = b.resource(name)),
        ["removes", name] => remove(b, name)?,
        ["renames", old, "to", new] => {
            let resource = b.spec.resources.remove(*old).ok_or_else(|| format!("no resource `{old}`"))?;
            b.spec.resources.insert((*new).into(), resource);
        }
        ["group", name, "of", members @ ..] => b.group(name, members),
        ["clone", name, "of", resource, rest @ ..] => clone(b, name, resource, rest)?,
        ["commits", "are", "reported"] => {
            let report = ReportTo {
                provider: Provider::Gitea,
                url: "https://git.example.com".into(),
                project: "ops/cluster".into(),
                token: SecretFile { file: "/etc/hafen/secrets/forge".into() },
                context: "hafen/sim".into(),
                target_url: None,
                ca: None,
            };
            let (branch, interval) = ("main".into(), Duration::from_secs(60));
            let (url, path, webhook) = (None, String::new(), None);
            b.spec.cluster.source = Some(Source { url, branch, path, interval, webhook, report: Some(report) });
        }
        ["no", "fencing"] => b.spec.cluster.fencing.enabled = false,
        ["fencing", "is", "enabled"] => {
            b.spec.cluster.fencing.enabled = true;
            b.spec.cluster.fencing.assume_off = None;
        }
        ["placement", what] => {
            use Placement::{Balanced, Minimal, Spread, Utilization};
            b.spec.cluster.placement = word(what, &[Spread, Utilization, Balanced, Minimal])?;
        }
        ["fencing", "assumes", "off", "after", number, "s"] => {
            b.spec.cluster.fencing.enabled = false;
            b.spec.cluster.fencing.assume_off = Some(Duration::from_millis(super::seconds(number)?));
        }
        ["drift", "is", "reported"] => b.spec.cluster.drift_policy = DriftPolicy::Report,
        ["commits", "are", "confirmed", "within", number, "s"] => confirmed(b, number, ConfirmedBy::Health)?,
        ["commits", "are", "confirmed", "by", "an", "operator", "within", number, "s"] => {
            confirmed(b, number, ConfirmedBy::Operator)?;
        }
        ["fencing", "switches", "off"] => b.spec.cluster.fencing.action = FencingAction::Off,
        ["fencing", "requires", "tests"] => b.spec.cluster.fencing.require_tested = true,
        ["fencing", "at", "most", number] => b.spec.cluster.fencing.max_fences = parse(number)?,
        ["opt-in"] => b.spec.cluster.symmetric = false,
        ["quorum", "loss", what] => b.spec.cluster.quorum_loss = word(what, &QUORUM_LOSS)?,
        [node, "has", number, "levels"] => b.levels(node, parse(number)?, false),
        [node, "has", "a", "level", "of", number, "devices"] => b.levels(node, parse(number)?, true),
        [node, "has", "a", "watchdog"] => b.watchdog(node),
        [node, "has", number, what] => {
            let amount = parse(number)?;
            let node = b.spec.nodes.get_mut(*node).ok_or_else(|| format!("no node `{node}`"))?;
            node.capacity.insert((*what).into(), amount);
        }
        [resource, "takes", number, what] => {
            let amount = parse(number)?;
            self::resource(b, resource)?.utilization.insert((*what).into(), amount);
        }
        [first, "before", then] => _ = b.order(first, then),
        [first, "promoted", "before", then] => _ = b.order(&format!("{first}.Promote"), then),
        [first, "preferably", "before", then] => b.order(first, then).strength = OrderStrength::Advisory,
        [a, "with", b_] => _ = b.colocate(a, b_, Strength::Required, 1),
        [a, "with", b_, "promoted"] => {
            b.colocate(a, b_, Strength::Required, 1).with.role = Some(Role::Promoted);
        }
        [a, "rather", "with", b_] => _ = b.colocate(a, b_, Strength::Preferred, 100),
        [a, "apart", "from", b_] => _ = b.colocate(a, b_, Strength::Forbidden, 1),
        [a, "rather", "apart", "from", b_] => _ = b.colocate(a, b_, Strength::Avoid, 100),
        [a, "rather", "on", node] => b.locate(a, node, Strength::Preferred, 100),
        [a, "rather", "on", node, "by", weight] => b.locate(a, node, Strength::Preferred, parse(weight)?),
        [a, "only", "on", nodes @ ..] => {
            let names: Vec<String> = b.spec.nodes.keys().map(ToString::to_string).collect();
            for node in names.iter().filter(|name| !nodes.contains(&name.as_str())) {
                b.locate(a, node, Strength::Forbidden, 1);
            }
        }
        [a, "never", "on", node] => b.locate(a, node, Strength::Forbidden, 1),
        [a, "sticks", "by", number] => resource(b, a)?.stickiness = parse(number)?,
        [a, "priority", number] => resource(b, a)?.priority = parse(number)?,
        [a, "is", "wanted", "stopped"] => resource(b, a)?.target_role = TargetRole::Stopped,
        [a, "is", "wanted"] => resource(b, a)?.target_role = TargetRole::Started,
        [a, "migrates", "live"] => crate::sim::schedule::migrates(resource(b, a)?),
        [a, "is", "unmanaged"] => resource(b, a)?.managed = false,
        [a, "is", "managed"] => resource(b, a)?.managed = true,
        [a, "parameter", name, "is", value] => {
            _ = resource(b, a)?.params.insert((*name).into(), (*value).into());
        }
        [a, "takes", "over", name, "while", "it", "runs"] => {
            let agent = resource(b, a)?.agent.clone();
            let unique = [("state".to_owned(), ["state".to_owned()].into())].into();
            let reload = Some(Reload { legacy: false, params: [(*name).to_owned()].into() });
            b.spec.agents.insert(agent, AgentTraits { unique, reload });
        }
        [a, "fails", "at", "most", number, "times"] => resource(b, a)?.failure.threshold = parse(number)?,
        [a, "forgets", "failures", "after", number, "s"] => {
            resource(b, a)?.failure.timeout = Duration::from_millis(super::seconds(number)?);
        }
        [a, "on", "quorum", "loss", what] => resource(b, a)?.quorum_loss = word(what, &QUORUM_LOSS)?,
        [a, "active", "twice", what] => {
            use MultipleActive::{Block, StopOnly, StopStart, StopUnexpected};
            resource(b, a)?.multiple_active = word(what, &[Block, StopOnly, StopStart, StopUnexpected])?;
        }
        [a, "when", operation, "fails", what] => {
            use OnFail::{Block, Demote, Fence, Ignore, Move, Restart, Standby, Stop};
            let on_fail = word(what, &[Block, Demote, Fence, Ignore, Move, Restart, Standby, Stop])?;
            use OpName as Op;
            let name = word(operation, &[Op::Start, Op::Stop, Op::Monitor, Op::Promote, Op::Demote])?;
            let usual = Operation { interval: Duration::ZERO, timeout: Duration::from_secs(3), on_fail };
            resource(b, a)?.operations.entry(name).or_insert(usual).on_fail = on_fail;
        }
        _ => return Err("nobody knows what this says of a cluster".to_owned()),
    }
    Ok(())
}

fn confirmed(b: &mut Builder, within: &str, by: ConfirmedBy) -> Result<(), String> {
    let deadline = Duration::from_millis(super::seconds(within)?);
    b.spec.cluster.confirmation = Some(Confirmation { deadline, stable: Duration::from_secs(1), by });
    Ok(())
}

const QUORUM_LOSS: [QuorumLoss; 4] = [QuorumLoss::Stop, QuorumLoss::Freeze, QuorumLoss::Demote, QuorumLoss::Fence];

fn remove(b: &mut Builder, name: &str) -> Result<(), String> {
    let spec = &mut b.spec;
    let known = spec.resources.remove(name).is_some() | spec.nodes.remove(name).is_some();
    spec.groups.retain(|_, group| {
        group.members.retain(|member| member.as_str() != name);
        !group.members.is_empty()
    });
    spec.clones.retain(|own, clone| own.as_str() != name && clone.resource.as_str() != name);
    spec.orders.retain(|_, order| order.first.resource.as_str() != name && order.then.resource.as_str() != name);
    spec.colocations.retain(|_, c| c.resource.resource.as_str() != name && c.with.resource.as_str() != name);
    spec.locations.retain(|_, location| location.resource.as_str() != name);
    if known { Ok(()) } else { Err(format!("there is no `{name}`")) }
}

fn clone(b: &mut Builder, name: &str, resource: &str, mut rest: &[&str]) -> Result<(), String> {
    let clone = b.cloned(name, resource);
    loop {
        rest = match rest {
            [] => return Ok(()),
            [number, "copies", rest @ ..] => {
                clone.max = Some(parse(number)?);
                rest
            }
            [number, "promoted", rest @ ..] => {
                clone.promotable = Some(Promotable { max: parse(number)?, per_node: 1 });
                rest
            }
            ["notified", rest @ ..] => {
                clone.notify = true;
                rest
            }
            ["interleaved", rest @ ..] => {
                clone.interleave = true;
                rest
            }
            [other, ..] => return Err(format!("a clone cannot be `{other}`")),
        };
    }
}

fn resource<'a>(b: &'a mut Builder, name: &str) -> Result<&'a mut Resource, String> {
    b.spec.resources.get_mut(name).ok_or_else(|| format!("no resource `{name}`"))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// One of several values by the name it has in manifests.
fn word<T: Copy + Debug>(text: &str, all: &[T]) -> Result<T, String> {
    let found = all.iter().find(|value| format!("{value:?}").eq_ignore_ascii_case(text)).copied();
    found.ok_or_else(|| format!("`{text}` is none of {all:?}"))
}
