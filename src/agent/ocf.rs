//! What an OCF agent is told: its environment and arguments (OCF 1.1, "Resource Agent Actions" and "Parameter passing").
//!
//! A request and where this node keeps things → variables. Pure but for [`inherited`].
//!
//! As Pacemaker does it, since that is what the agents were written for: `OCF_RESKEY_*` for parameters,
//! `OCF_RESKEY_CRM_meta_*` for what surrounds them, interval 0 for a probe. The instance is called `db`, and `db:0` only
//! for a globally unique clone: agents use the name for cluster-wide attributes, which anonymous copies share.

use super::process::CUT;
use super::secrets::Opened;
use crate::model::{ActionKind, AgentRequest, CloneMeta, Moment, NoticeView};
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

/// At or above 3.10.0 agents set their promotion score by `crm_attribute --promotion`, below by `crm_master`.
const CRM_FEATURE_SET: &str = "3.16.2";
/// After the shims. Agents are written for root's search path.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of this node an agent is told.
pub struct Surroundings<'a> {
    pub ocf_root: &'a Path,
    pub shim_dir: &'a Path,
    pub socket: &'a Path,
    /// For state that must not survive a boot (`HA_RSCTMP`).
    pub scratch: &'a Path,
    pub extra: &'a [(String, String)],
}

/// The name of an action in OCF 1.1.
fn argument(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Probe | ActionKind::Monitor => "monitor",
        ActionKind::Start => "start",
        ActionKind::Stop => "stop",
        ActionKind::Promote => "promote",
        ActionKind::Demote => "demote",
        ActionKind::MigrateTo => "migrate_to",
        ActionKind::MigrateFrom => "migrate_from",
        ActionKind::Notify => "notify",
        ActionKind::Reload => "reload-agent",
    }
}

/// The one argument of the agent for this request.
pub fn argument_of(request: &AgentRequest) -> &'static str {
    match request.kind {
        ActionKind::Reload if request.legacy_reload => "reload",
        kind => argument(kind),
    }
}

/// The name of the instance, as agents know it.
pub fn instance_name(request: &AgentRequest) -> String {
    match &request.definition.clone {
        Some(clone) if clone.globally_unique => request.instance.to_string(),
        Some(_) | None => request.instance.resource.to_string(),
    }
}

/// The whole environment of one run.
pub fn environment(
    request: &AgentRequest,
    provider: &str,
    name: &str,
    around: &Surroundings<'_>,
    secrets: &Opened,
) -> BTreeMap<String, String> {
    let mut env = base(around.ocf_root, around.shim_dir);
    let mut set = |name: &str, value: String| {
        env.insert(name.to_owned(), value);
    };
    set("OCF_RESOURCE_INSTANCE", instance_name(request));
    set("OCF_RESOURCE_TYPE", name.to_owned());
    set("OCF_RESOURCE_PROVIDER", provider.to_owned());
    set("HA_RSCTMP", around.scratch.display().to_string());
    set("HAFEN_SOCKET", around.socket.display().to_string());
    set("HAFEN_NODE", request.node.to_string());
    set("HAFEN_INSTANCE", request.instance.to_string());
    if let Some(epoch) = request.epoch {
        set("HAFEN_EPOCH", epoch.to_string());
    }
    for (param, value) in &request.definition.resource.params {
        set(&format!("OCF_RESKEY_{param}"), value.clone());
    }
    for (param, value) in secrets {
        set(&format!("OCF_RESKEY_{param}"), value.to_string());
    }
    // After the parameters, so that none of them can pose as one of these.
    set("OCF_RESKEY_crm_feature_set", CRM_FEATURE_SET.to_owned());
    let mut meta = |name: &str, value: String| {
        env.insert(format!("OCF_RESKEY_CRM_meta_{name}"), value);
    };
    meta("name", argument_of(request).to_owned());
    meta("timeout", request.timeout.as_millis().to_string());
    let interval = if request.kind == ActionKind::Monitor { request.interval.as_millis() } else { 0 };
    meta("interval", interval.to_string());
    meta("on_node", request.node.to_string());
    meta("on_node_uuid", request.node.to_string());
    if let Some(clone) = &request.definition.clone {
        about_clone(clone, request.instance.number, &mut meta);
    }
    if let Some(notice) = &request.notice {
        about_notice(notice, &mut meta);
    }
    if let Some(peer) = &request.peer {
        let (source, target) = match request.kind {
            ActionKind::MigrateFrom => (peer, &request.node),
            ActionKind::Probe
            | ActionKind::Monitor
            | ActionKind::Start
            | ActionKind::Stop
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::MigrateTo
            | ActionKind::Notify
            | ActionKind::Reload => (&request.node, peer),
        };
        meta("migrate_source", source.to_string());
        meta("migrate_target", target.to_string());
    }
    env.extend(around.extra.iter().cloned());
    env
}

/// What every program of hafen's gets, agents of both kinds and their metadata runs.
pub fn base(ocf_root: &Path, shim_dir: &Path) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("OCF_ROOT".to_owned(), ocf_root.display().to_string()),
        ("OCF_RA_VERSION_MAJOR".to_owned(), "1".to_owned()),
        ("OCF_RA_VERSION_MINOR".to_owned(), "1".to_owned()),
        ("PATH".to_owned(), format!("{}:{SEARCH_PATH}", shim_dir.display())),
        // The agents call `${HA_SBIN_DIR}/crm_attribute`: without this they would miss the shims.
        ("HA_SBIN_DIR".to_owned(), shim_dir.display().to_string()),
        // Debug lines off; without a log facility and file, ocf_log writes to standard error, which is captured.
        ("HA_debug".to_owned(), "0".to_owned()),
        ("LC_ALL".to_owned(), "C".to_owned()),
    ]);
    env.extend(inherited());
    env
}

/// What programs expect of their surroundings: a home, which a service of systemd does not get, and the time zone.
pub fn inherited() -> impl Iterator<Item = (String, String)> {
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let zone = std::env::var("TZ").ok().map(|zone| ("TZ".to_owned(), zone));
    [("HOME".to_owned(), home)].into_iter().chain(zone)
}

fn about_clone(clone: &CloneMeta, number: Option<u32>, meta: &mut impl FnMut(&str, String)) {
    meta("clone", number.unwrap_or(0).to_string());
    meta("clone_max", clone.max.to_string());
    meta("clone_node_max", clone.per_node.to_string());
    meta("notify", clone.notify.to_string());
    meta("globally_unique", clone.globally_unique.to_string());
    meta("interleave", clone.interleave.to_string());
    meta("ordered", clone.ordered.to_string());
    meta("promotable", clone.promoted_max.is_some().to_string());
    if let Some(max) = clone.promoted_max {
        // Both names: OCF 1.1 and what older agents read.
        for name in ["promoted_max", "master_max"] {
            meta(name, max.to_string());
        }
        for name in ["promoted_node_max", "master_node_max"] {
            meta(name, clone.promoted_per_node.to_string());
        }
    }
}

/// Who is active and who will be, in the words of Pacemaker Explained, "Clone notifications".
fn about_notice(notice: &NoticeView, meta: &mut impl FnMut(&str, String)) {
    if let Some((moment, operation)) = notice.about {
        let moment = match moment {
            Moment::Before => "pre",
            Moment::After => "post",
        };
        meta("notify_type", moment.to_owned());
        meta("notify_operation", argument(operation).to_owned());
    }
    let copies = &notice.copies;
    let lists = [
        ("start", &copies.start),
        ("stop", &copies.stop),
        ("promote", &copies.promote),
        ("demote", &copies.demote),
        ("active", &copies.active),
        ("promoted", &copies.promoted),
        ("master", &copies.promoted),
        ("unpromoted", &copies.unpromoted),
        ("slave", &copies.unpromoted),
    ];
    for (name, list) in lists {
        meta(&format!("notify_{name}_resource"), words(list.iter().map(|(instance, _)| instance.to_string())));
        meta(&format!("notify_{name}_uname"), words(list.iter().map(|(_, node)| node.to_string())));
    }
    meta("notify_inactive_resource", words(copies.inactive.iter().map(ToString::to_string)));
    let available = words(copies.available.iter().map(ToString::to_string));
    for name in ["notify_available_uname", "notify_all_uname", "notify_all_hosts"] {
        meta(name, available.clone());
    }
}

/// As Pacemaker joins them; an empty list is one space there, and agents compare with that.
fn words(names: impl Iterator<Item = String>) -> String {
    let joined = names.collect::<Vec<_>>().join(" ");
    if joined.is_empty() { " ".to_owned() } else { joined }
}

/// Values of parameters whose names speak of secrets.
pub fn secret_values<'a>(params: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Zeroizing<String>> {
    let speaks = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["passw", "passwd", "secret", "token", "credential", "apikey", "api_key"].iter().any(|word| name.contains(word))
    };
    params.into_iter().filter(|(name, _)| speaks(name)).map(|(_, value)| Zeroizing::new(value.clone())).collect()
}

/// Replaces secrets in a text, also what is left of one where the text was cut off at either end. Very short ones are left:
/// they are in every text by chance.
pub fn scrub(text: String, secrets: &[Zeroizing<String>]) -> String {
    let mut secrets: Vec<&str> = secrets.iter().map(|secret| secret.as_str()).collect();
    // One that is a part of another would leave the rest of that.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.retain(|secret| secret.len() >= SECRET_LENGTH_MIN);
    secrets.into_iter().fold(text, |text, secret| cover_ends(text.replace(secret, COVER), secret))
}

/// Output is cut at the beginning when there is too much of it, and at the end when its program is killed.
fn cover_ends(mut text: String, secret: &str) -> String {
    let parts = || secret.char_indices().map(|(at, _)| at).filter(|at| *at > 0);
    let begin = if text.starts_with(CUT) { CUT.len() } else { 0 };
    // What is left of a character that was cut through.
    let begin = begin + text[begin..].len() - text[begin..].trim_start_matches(char::REPLACEMENT_CHARACTER).len();
    let rest = parts().find(|at| secret.len() - at >= SECRET_LENGTH_MIN && text[begin..].starts_with(&secret[*at..]));
    if let Some(at) = rest.filter(|_| begin > 0) {
        text.replace_range(begin..begin + secret.len() - at, COVER);
    }
    let start = parts().rev().find(|at| *at >= SECRET_LENGTH_MIN && text.ends_with(&secret[..*at]));
    if let Some(at) = start {
        text.truncate(text.len() - at);
        text.push_str(COVER);
    }
    text
}

const COVER: &str = "********";
const SECRET_LENGTH_MIN: usize = 3;

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::model::*;
    use std::sync::Arc;
    use std::time::Duration;

    pub fn resource(agent: &str, params: &[(&str, &str)]) -> Resource {
        Resource {
            agent: agent.parse().unwrap(),
            params: params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            operations: BTreeMap::new(),
            failure: FailurePolicy { threshold: 3, timeout: Duration::from_secs(600) },
            stickiness: 1,
            priority: 0,
            target_role: TargetRole::Started,
            managed: true,
            maintenance: false,
            requires: Requires::Quorum,
            quorum_loss: QuorumLoss::Stop,
            migratable: false,
            multiple_active: MultipleActive::StopStart,
            secrets: BTreeMap::new(),
            utilization: BTreeMap::new(),
            rank: 0,
            influence: Influence::Always,
            inside: None,
            max_outage: None,
        }
    }

    pub fn request(
        kind: ActionKind,
        instance: InstanceId,
        resource: Resource,
        clone: Option<CloneMeta>,
    ) -> AgentRequest {
        AgentRequest {
            kind,
            instance,
            definition: Arc::new(Definition { resource, clone }),
            epoch: (kind != ActionKind::Probe).then_some(Epoch(7)),
            node: "n1".into(),
            timeout: Duration::from_secs(20),
            interval: Duration::from_secs(10),
            peer: None,
            notice: None,
            legacy_reload: false,
        }
    }

    pub fn promotable() -> CloneMeta {
        CloneMeta {
            max: 2,
            per_node: 1,
            promoted_max: Some(1),
            promoted_per_node: 1,
            notify: true,
            globally_unique: false,
            interleave: true,
            ordered: false,
        }
    }

    fn env_of(request: &AgentRequest) -> BTreeMap<String, String> {
        let around = Surroundings {
            ocf_root: Path::new("/usr/lib/ocf"),
            shim_dir: Path::new("/run/hafen/shims"),
            socket: Path::new("/var/lib/hafen/hafen.sock"),
            scratch: Path::new("/run/hafen/scratch"),
            extra: &[],
        };
        environment(request, "heartbeat", "Stateful", &around, &Opened::new())
    }

    #[test]
    fn an_agent_is_told_what_pacemaker_would_tell_it() {
        let resource = resource("ocf:heartbeat:Stateful", &[("state", "/tmp/x"), ("CRM_meta_timeout", "forged")]);
        let env = env_of(&request(ActionKind::Monitor, InstanceId::numbered("db", 1), resource, Some(promotable())));
        for (name, value) in [
            ("OCF_RESOURCE_INSTANCE", "db"),
            ("OCF_RESKEY_state", "/tmp/x"),
            ("OCF_RESKEY_CRM_meta_timeout", "20000"),
            ("OCF_RESKEY_CRM_meta_interval", "10000"),
            ("OCF_RESKEY_CRM_meta_clone", "1"),
            ("OCF_RESKEY_CRM_meta_master_max", "1"),
            ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
            ("OCF_RESKEY_CRM_meta_notify", "true"),
            ("HAFEN_EPOCH", "7"),
            ("HAFEN_INSTANCE", "db:1"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(env["PATH"].starts_with("/run/hafen/shims:"));
    }

    #[test]
    fn a_probe_has_interval_zero_and_no_epoch() {
        let resource = resource("ocf:heartbeat:Dummy", &[]);
        let env = env_of(&request(ActionKind::Probe, InstanceId::plain("d"), resource, None));
        assert_eq!(env["OCF_RESKEY_CRM_meta_interval"], "0");
        assert_eq!(env["OCF_RESKEY_CRM_meta_name"], "monitor");
        assert!(!env.contains_key("HAFEN_EPOCH") && !env.contains_key("OCF_RESKEY_CRM_meta_clone_max"));
    }

    #[test]
    fn both_ends_of_a_migration_know_where_from_and_where_to() {
        for (kind, source, target) in [(ActionKind::MigrateTo, "n1", "n2"), (ActionKind::MigrateFrom, "n2", "n1")] {
            let mut request =
                request(kind, InstanceId::plain("vm"), resource("ocf:heartbeat:VirtualDomain", &[]), None);
            request.peer = Some("n2".into());
            let env = env_of(&request);
            assert_eq!(env["OCF_RESKEY_CRM_meta_migrate_source"], source);
            assert_eq!(env["OCF_RESKEY_CRM_meta_migrate_target"], target);
        }
    }

    #[test]
    fn only_a_globally_unique_copy_has_its_number_in_its_name() {
        let unique = CloneMeta { globally_unique: true, ..promotable() };
        let resource = resource("ocf:heartbeat:IPaddr2", &[]);
        let env = env_of(&request(ActionKind::Start, InstanceId::numbered("ip", 1), resource, Some(unique)));
        assert_eq!(env["OCF_RESOURCE_INSTANCE"], "ip:1");
    }

    #[test]
    fn a_notified_agent_is_told_of_what_and_about_whom() {
        let resource = resource("ocf:heartbeat:Stateful", &[]);
        let mut request = request(ActionKind::Notify, InstanceId::numbered("db", 1), resource, Some(promotable()));
        let at = |number, node: &str| (InstanceId::numbered("db", number), NodeId::from(node));
        let copies = Copies {
            promote: vec![at(1, "n1")],
            active: vec![at(0, "n2"), at(1, "n1")],
            inactive: vec![InstanceId::numbered("db", 2)],
            available: vec!["n1".into(), "n2".into()],
            ..Copies::default()
        };
        request.notice =
            Some(Arc::new(NoticeView { about: Some((Moment::Before, ActionKind::Promote)), copies: copies.clone() }));
        let env = env_of(&request);
        for (name, value) in [
            ("type", "pre"),
            ("operation", "promote"),
            ("promote_resource", "db:1"),
            ("promote_uname", "n1"),
            ("active_uname", "n2 n1"),
            ("start_uname", " "),
            ("master_uname", " "),
            ("promoted_uname", " "),
            ("inactive_resource", "db:2"),
            ("available_uname", "n1 n2"),
            ("all_hosts", "n1 n2"),
        ] {
            assert_eq!(env[&format!("OCF_RESKEY_CRM_meta_notify_{name}")], value, "{name}");
        }
        // The operation itself is told the lists, and is no notification.
        request.kind = ActionKind::Promote;
        request.notice = Some(Arc::new(NoticeView { about: None, copies }));
        let env = env_of(&request);
        assert_eq!(env["OCF_RESKEY_CRM_meta_notify_promote_uname"], "n1");
        assert!(!env.contains_key("OCF_RESKEY_CRM_meta_notify_type"));
    }

    #[test]
    fn secrets_are_scrubbed() {
        let params =
            BTreeMap::from([("passwd".to_owned(), "hunter2".to_owned()), ("user".to_owned(), "admin".to_owned())]);
        assert_eq!(scrub("admin:hunter2 refused".into(), &secret_values(&params)), "admin:******** refused");
    }

    #[test]
    fn what_is_left_of_a_secret_at_the_ends_of_a_text_is_scrubbed_too() {
        let secrets = ["correct horse", "horse", "pässword"].map(|secret| Zeroizing::new(secret.to_owned()));
        let scrubbed = |text: &str| scrub(text.to_owned(), &secrets);
        assert_eq!(scrubbed("a correct horse, a horse"), "a ********, a ********");
        assert_eq!(scrubbed(&format!("{CUT}ect horse said no")), format!("{CUT}******** said no"));
        assert_eq!(scrubbed("killed at passwd=corre"), "killed at passwd=********");
        assert_eq!(scrubbed(&format!("{CUT}ssword and pässw")), format!("{CUT}******** and ********"));
        assert_eq!(scrubbed(&format!("{CUT}\u{fffd}ssword")), format!("{CUT}\u{fffd}********"));
        assert_eq!(scrubbed("horses co"), "********s co", "two letters are there by chance");
        assert_eq!(scrubbed("ect horse"), "ect ********", "nothing was cut off here");
    }
}
