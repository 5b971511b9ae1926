//! What agents say of themselves: the parts of OCF and fence agent metadata that hafen uses.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The metadata of one agent (OCF 1.1, "meta-data"; fence agents use the same XML).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AgentMetadata {
    pub name: String,
    pub shortdesc: String,
    pub parameters: BTreeMap<String, ParameterMeta>,
    /// Suggested time-outs by action (`start`, `monitor`, …).
    pub actions: BTreeMap<String, ActionMeta>,
    /// It says that it follows OCF 1.1 or later.
    #[serde(default)]
    pub ocf_1_1: bool,
}

impl AgentMetadata {
    /// Of a fence agent: whether it says that it can tell on from off.
    pub fn reads_power(&self) -> bool {
        self.actions.contains_key("status")
    }
}

/// What a push resolves of an agent's metadata, so that every node decides the same without having the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AgentTraits {
    /// Parameters that tell one service from another, by group: no two may share the values of a whole group.
    pub unique: BTreeMap<String, BTreeSet<String>>,
    /// None: changed parameters mean a stop and a start.
    pub reload: Option<Reload>,
}

/// How an agent takes changed parameters over while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// OCF 1.0: the action `reload`; else `reload-agent`.
    pub legacy: bool,
    pub params: BTreeSet<String>,
}

impl AgentMetadata {
    /// As Pacemaker Explained, "Reloading an agent after a definition change", has it: from OCF 1.1 on `reload-agent` and
    /// what is marked `reloadable`; before, `reload` and whatever is not unique.
    pub fn traits(&self) -> AgentTraits {
        let mut unique: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, parameter) in self.parameters.iter().filter(|(_, parameter)| parameter.unique) {
            let group = parameter.unique_group.as_ref().unwrap_or(name);
            unique.entry(group.clone()).or_default().insert(name.clone());
        }
        let those = |wanted: &dyn Fn(&ParameterMeta) -> bool| {
            self.parameters.iter().filter(|(_, meta)| wanted(meta)).map(|(name, _)| name.clone()).collect()
        };
        let reload = match self.ocf_1_1 {
            true if self.actions.contains_key("reload-agent") => {
                Some(Reload { legacy: false, params: those(&|parameter| parameter.reloadable) })
            }
            false if self.actions.contains_key("reload") => {
                Some(Reload { legacy: true, params: those(&|parameter| !parameter.unique) })
            }
            true | false => None,
        };
        AgentTraits { unique, reload: reload.filter(|reload| !reload.params.is_empty()) }
    }
}

impl AgentTraits {
    /// How a running instance takes over these parameters instead of those; None: it must be stopped and started.
    pub fn reload(&self, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Option<&Reload> {
        let changed = |name: &&String| old.get(*name) != new.get(*name);
        let reload = self.reload.as_ref()?;
        old.keys().chain(new.keys()).filter(changed).all(|name| reload.params.contains(name)).then_some(reload)
    }

    /// Whether two resources of this agent are the same files, address or device under two names: they share what the
    /// agent says no two may share, or, where it says nothing of what they set, everything.
    pub fn is_same(&self, one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
        let set = |params: &BTreeMap<String, String>, group: &BTreeSet<String>| {
            group.iter().any(|name| params.contains_key(name))
        };
        let mut groups = self.unique.values().filter(|group| set(one, group) && set(other, group)).peekable();
        match groups.peek() {
            None => one == other,
            Some(_) => groups.any(|group| group.iter().all(|name| one.get(name) == other.get(name))),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ParameterMeta {
    pub required: bool,
    /// Two resources may not share this value (OCF 1.1 `unique-group`, 1.0 `unique`).
    pub unique: bool,
    /// Together with which others.
    #[serde(default)]
    pub unique_group: Option<String>,
    pub reloadable: bool,
    pub default: Option<String>,
    pub shortdesc: String,
    #[serde(default)]
    pub kind: ParameterKind,
}

/// What values a parameter takes, as far as agents say it (the `type` of `content`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum ParameterKind {
    /// Anything; also of parameters whose metadata says nothing or contradicts itself.
    #[default]
    Text,
    Integer,
    Boolean,
    /// Whole seconds (of fence agents).
    Seconds,
    /// One of these, in any case.
    Choice(Vec<String>),
}

impl ParameterKind {
    /// Whether an agent would understand a value.
    pub fn takes(&self, value: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let signed = |text: &str| digits(text.strip_prefix(['-', '+']).unwrap_or(text));
        match self {
            Self::Text => true,
            Self::Integer => signed(value),
            // `ocf_is_true` of resource-agents knows yes, true, 1, ja and on; everything else is false to it.
            Self::Boolean => ["yes", "no", "true", "false", "1", "0", "on", "off", "ja", "nein"]
                .iter()
                .any(|word| word.eq_ignore_ascii_case(value)),
            Self::Seconds => signed(value.strip_suffix('s').unwrap_or(value)),
            Self::Choice(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
        }
    }
}

impl ParameterMeta {
    /// Whether leaving it out is a mistake. Most agents write `default=""` for what has no default.
    pub fn must_be_given(&self) -> bool {
        self.required && self.default.as_ref().is_none_or(String::is_empty)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ActionMeta {
    pub timeout: Option<Duration>,
    pub interval: Option<Duration>,
}

/// What is known of agents where the manifests are checked. Empty on a machine without agents: then nothing is said of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct AgentCatalogue {
    /// Metadata of the agents that the manifests name, by `ocf:PROVIDER:TYPE` or `fence_…`.
    pub metadata: BTreeMap<String, AgentMetadata>,
    /// Every agent installed here, by the same names. A provider without entries is not installed: unknown, not wrong.
    pub installed: BTreeSet<String>,
    /// Agents known only from the snapshot that comes with the program, and the package and version it was made from.
    /// The metadata of those that the manifests name is in `metadata`.
    #[serde(default)]
    pub bundled: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(actions: &[&str], ocf_1_1: bool) -> AgentMetadata {
        let parameter = |unique, reloadable| ParameterMeta { unique, reloadable, ..ParameterMeta::default() };
        let parameters =
            [("ip", parameter(true, false)), ("size", parameter(false, true)), ("log", parameter(false, false))];
        AgentMetadata {
            parameters: parameters.map(|(name, meta)| (name.to_owned(), meta)).into(),
            actions: actions.iter().map(|name| ((*name).to_owned(), ActionMeta::default())).collect(),
            ocf_1_1,
            ..AgentMetadata::default()
        }
    }

    fn params(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace().map(|pair| pair.split_once('=').unwrap()).map(|(a, b)| (a.into(), b.into())).collect()
    }

    #[test]
    fn values_fit_the_kinds_that_agents_give_them() {
        let choice = ParameterKind::Choice(vec!["Digest".into()]);
        let good = [
            (ParameterKind::Text, ""),
            (ParameterKind::Integer, "-7"),
            (ParameterKind::Boolean, "Yes"),
            (ParameterKind::Seconds, "10s"),
            (choice.clone(), "digest"),
        ];
        let bad = [
            (ParameterKind::Integer, "24bit"),
            (ParameterKind::Integer, ""),
            (ParameterKind::Boolean, "treu"),
            (ParameterKind::Seconds, "1m"),
            (choice, "md5"),
        ];
        assert!(good.iter().all(|(kind, value)| kind.takes(value)));
        assert!(bad.iter().all(|(kind, value)| !kind.takes(value)));
    }

    #[test]
    fn what_can_be_reloaded_follows_the_version_of_ocf() {
        let newer = metadata(&["reload-agent", "reload"], true).traits();
        assert_eq!(
            newer.reload(&params("ip=1 size=1"), &params("ip=1 size=2")).map(|reload| reload.legacy),
            Some(false)
        );
        assert_eq!(newer.reload(&params("ip=1"), &params("ip=1 log=2")), None);
        let older = metadata(&["reload"], false).traits();
        assert_eq!(older.reload(&params("ip=1"), &params("ip=1 log=2")).map(|reload| reload.legacy), Some(true));
        assert_eq!(older.reload(&params("ip=1"), &params("ip=2")), None);
        // In OCF 1.1 `reload` is the service's own and says nothing of parameters.
        assert_eq!(metadata(&["reload"], true).traits().reload, None);
        assert_eq!(metadata(&["start"], false).traits().reload, None);
    }

    #[test]
    fn the_same_service_shares_what_is_unique_or_all_if_nothing_is() {
        let traits = metadata(&[], false).traits();
        assert!(traits.is_same(&params("ip=1 size=1"), &params("ip=1 size=2")));
        assert!(!traits.is_same(&params("ip=1 size=1"), &params("ip=2 size=1")));
        // Its unique parameter is left to a default that may differ: then all of them count.
        assert!(traits.is_same(&params("size=1"), &params("size=1")));
        assert!(!traits.is_same(&params("size=1"), &params("size=2")));
        let none = AgentTraits::default();
        assert!(none.is_same(&params("a=1"), &params("a=1")) && !none.is_same(&params("a=1"), &params("a=2")));
    }

    #[test]
    fn a_group_of_unique_parameters_is_shared_as_a_whole() {
        let mut agent = metadata(&[], true);
        for name in ["ip", "log"] {
            let meta = agent.parameters.get_mut(name).unwrap();
            (meta.unique, meta.unique_group) = (true, Some("address".to_owned()));
        }
        let traits = agent.traits();
        assert!(traits.is_same(&params("ip=1 log=a"), &params("ip=1 log=a size=3")));
        assert!(!traits.is_same(&params("ip=1 log=a"), &params("ip=2 log=a")));
    }
}
