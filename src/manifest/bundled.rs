//! What the agents of Debian's packages say of themselves, for machines that do not have them.
//!
//! Input → output: `agents.txt`, a snapshot made from installed packages (`make agents`) → what [`AgentCatalogue`] lacks.
//! A line per agent with its package and suggested time-outs, below it a line per parameter; `write` makes the form.
//!
//! Invariants: what is installed where the manifests are checked is believed before the snapshot; of a provider that
//! neither has, nothing is known.
//!
//! Deliberately absent: descriptions of what need not be given, defaults, and what agents say of reloading: resolving for
//! a cluster takes only what its nodes have.

use crate::model::{ActionMeta, AgentCatalogue, AgentMetadata, ParameterKind, ParameterMeta, duration};
use std::collections::{BTreeMap, BTreeSet};

const SNAPSHOT: &str = include_str!("agents.txt");

/// Adds what the snapshot knows: all its agents of providers that have nothing installed here, and the metadata of the
/// named ones that are not installed here.
pub fn complete(mut catalogue: AgentCatalogue, names: &BTreeSet<String>) -> AgentCatalogue {
    let families: BTreeSet<String> =
        catalogue.installed.iter().filter_map(|name| super::check_agents::family(name)).map(str::to_owned).collect();
    for agent in agents(SNAPSHOT) {
        let known = catalogue.installed.contains(agent.name) || catalogue.metadata.contains_key(agent.name);
        let named = names.contains(agent.name);
        let family_is_here = super::check_agents::family(agent.name).is_some_and(|family| families.contains(family));
        if known || (family_is_here && !named) {
            continue;
        }
        catalogue.bundled.insert(agent.name.to_owned(), agent.package.to_owned());
        if named {
            catalogue.metadata.insert(agent.name.to_owned(), agent.read());
        }
    }
    catalogue
}

/// The packages that the snapshot was made from, with their versions, as `PACKAGE VERSION`.
pub fn packages() -> BTreeSet<&'static str> {
    agents(SNAPSHOT).map(|agent| agent.package).collect()
}

/// The snapshot's text for these agents: name → package with version, metadata.
pub fn write(agents: &BTreeMap<String, (String, AgentMetadata)>) -> String {
    let mut text = String::from(
        "# What agents say of themselves, from the packages named here. Generated: `make agents`.\n\
         # AGENT; PACKAGE VERSION; ACTION=TIME-OUT …\n\
         #  PARAMETER FLAGS KIND DESCRIPTION: `!` must be given, `u` is unique; i integer, b boolean, s seconds, a|b one of\n",
    );
    for (name, (package, metadata)) in agents {
        let timeout = |(action, meta): (&String, &ActionMeta)| {
            let timeout = meta.timeout.filter(|_| ACTIONS.contains(&action.as_str()))?;
            Some(format!("{action}={}", duration::format(timeout)))
        };
        let timeouts: Vec<String> = metadata.actions.iter().filter_map(timeout).collect();
        text += &format!("{name}; {package}{}{}\n", if timeouts.is_empty() { "" } else { "; " }, timeouts.join(" "));
        for (name, meta) in &metadata.parameters {
            let flags = [(meta.must_be_given(), '!'), (meta.unique, 'u')];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
            let kind = match &meta.kind {
                ParameterKind::Text => "-".to_owned(),
                ParameterKind::Integer => "i".to_owned(),
                ParameterKind::Boolean => "b".to_owned(),
                ParameterKind::Seconds => "s".to_owned(),
                ParameterKind::Choice(words) => words.join("|").replace(' ', SPACE) + "|",
            };
            let flags = if flags.is_empty() { "-" } else { &flags };
            let description = if meta.must_be_given() { meta.shortdesc.as_str() } else { "" };
            text += format!(" {name} {flags} {kind} {description}").trim_end();
            text.push('\n');
        }
    }
    text
}

/// A space within a word that a parameter takes: words of a line end at spaces.
const SPACE: &str = "%20";

/// Actions whose suggested time-outs are compared with what is written, or that an agent may lack.
const ACTIONS: [&str; 7] = ["start", "stop", "monitor", "promote", "demote", "migrate_to", "migrate_from"];

/// One agent of a snapshot.
struct Bundled<'a> {
    name: &'a str,
    package: &'a str,
    timeouts: &'a str,
    parameters: &'a str,
}

/// The agents of a snapshot. Lines that do not have the form are passed over; a test reads all of ours.
fn agents(snapshot: &str) -> impl Iterator<Item = Bundled<'_>> {
    let mut rest = snapshot;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let mut below = 0;
            while after[below..].starts_with(' ') {
                below += after[below..].find('\n').map_or(after.len() - below, |end| end + 1);
            }
            let parameters = &after[..below];
            rest = &after[below..];
            let mut parts = line.split("; ").take_while(|_| !line.starts_with('#'));
            if let (Some(name), Some(package)) = (parts.next(), parts.next()) {
                return Some(Bundled { name, package, timeouts: parts.next().unwrap_or_default(), parameters });
            }
        }
        None
    })
}

impl Bundled<'_> {
    fn read(&self) -> AgentMetadata {
        let action = |word: &str| {
            let (name, timeout) = word.split_once('=')?;
            let meta = ActionMeta { timeout: duration::parse(timeout).ok(), interval: None };
            Some((name.to_owned(), meta))
        };
        let parameter = |line: &str| {
            let mut words = line.trim_start().splitn(4, ' ');
            let (name, flags, kind) = (words.next()?, words.next()?, words.next()?);
            let kind = match kind {
                "i" => ParameterKind::Integer,
                "b" => ParameterKind::Boolean,
                "s" => ParameterKind::Seconds,
                _ if kind.contains('|') => {
                    let words = kind.split('|').filter(|word| !word.is_empty());
                    ParameterKind::Choice(words.map(|word| word.replace(SPACE, " ")).collect())
                }
                _ => ParameterKind::Text,
            };
            let meta = ParameterMeta {
                required: flags.contains('!'),
                unique: flags.contains('u'),
                kind,
                shortdesc: words.next().unwrap_or_default().to_owned(),
                ..ParameterMeta::default()
            };
            Some((name.to_owned(), meta))
        };
        AgentMetadata {
            name: self.name.to_owned(),
            actions: self.timeouts.split(' ').filter_map(action).collect(),
            parameters: self.parameters.lines().filter_map(parameter).collect(),
            ..AgentMetadata::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_reads_back_as_it_was_written() {
        let read = agents(SNAPSHOT)
            .map(|agent| (agent.name.to_owned(), (agent.package.to_owned(), agent.read())))
            .collect::<BTreeMap<_, _>>();
        assert!(read.len() > 200, "{}", read.len());
        let again = write(&read);
        let differs = again.lines().zip(SNAPSHOT.lines()).find(|(one, other)| one != other);
        assert!(again == SNAPSHOT, "written again it differs, run `make agents`: {differs:?}");
        let (package, address) = &read["ocf:heartbeat:IPaddr2"];
        assert!(package.starts_with("resource-agents "));
        assert!(address.parameters["ip"].must_be_given() && address.parameters["ip"].unique);
        assert_eq!(address.parameters["cidr_netmask"].kind, ParameterKind::Text);
        assert_eq!(read["fence_ipmilan"].1.parameters["lanplus"].kind, ParameterKind::Boolean);
    }

    #[test]
    fn what_is_installed_is_believed_before_the_snapshot() {
        let names: BTreeSet<String> = ["ocf:heartbeat:IPaddr2", "fence_apc"].map(str::to_owned).into();
        let nothing = complete(AgentCatalogue::default(), &names);
        assert!(nothing.bundled.contains_key("ocf:heartbeat:Filesystem") && nothing.bundled.contains_key("fence_apc"));
        assert_eq!(nothing.metadata.keys().collect::<Vec<_>>(), ["fence_apc", "ocf:heartbeat:IPaddr2"]);
        let own = AgentMetadata { name: "mine".into(), ..AgentMetadata::default() };
        let here = AgentCatalogue {
            metadata: [("ocf:heartbeat:IPaddr2".to_owned(), own)].into(),
            installed: ["ocf:heartbeat:IPaddr2".to_owned()].into(),
            ..AgentCatalogue::default()
        };
        let here = complete(here, &names);
        assert_eq!(here.metadata["ocf:heartbeat:IPaddr2"].name, "mine");
        assert!(!here.bundled.contains_key("ocf:heartbeat:Filesystem"), "this machine has its own of that provider");
        assert!(here.metadata.contains_key("fence_apc"));
    }
}
