//! Faults as they are given on the command line.
//!
//! Input → output: words → [`Fault`]s of things that the manifests know; a name they do not know is refused, with the
//! nearest one.

use crate::cli::error::{CliError, Kind};
use crate::model::scenario::{FailedOperation, Fault};
use crate::model::{NodeRole, OpName, Spec, suggest};

/// What fails, all at once.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FaultArgs {
    /// This node loses its power
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub node_down: Vec<String>,
    /// An operation fails: a monitor at once, a start, stop, promote or demote whenever it is tried
    #[arg(long, value_name = "RESOURCE:OPERATION@NODE")]
    pub fail: Vec<Failing>,
    /// This fencing device answers no more
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    pub device_down: Vec<String>,
    /// The network of the addresses with this number is down; 0 is that of the first ones
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub link_down: Vec<usize>,
}

/// `db:monitor@n1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    resource: String,
    operation: OpName,
    node: String,
}

impl std::str::FromStr for Failing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(resource, rest)| Some((resource, rest.split_once('@')?)));
        let Some((resource, (operation, node))) = parts else {
            return Err("write `RESOURCE:OPERATION@NODE`, such as `db:monitor@n1`".into());
        };
        const WORDS: [(&str, OpName); 5] = [
            ("monitor", OpName::Monitor),
            ("start", OpName::Start),
            ("stop", OpName::Stop),
            ("promote", OpName::Promote),
            ("demote", OpName::Demote),
        ];
        let Some((_, operation)) = WORDS.iter().find(|(word, _)| *word == operation) else {
            let all = WORDS.map(|(word, _)| word).join(", ");
            return Err(format!("`{operation}` is no operation that can fail here: {all}"));
        };
        Ok(Self { resource: resource.to_owned(), operation: *operation, node: node.to_owned() })
    }
}

impl FaultArgs {
    /// The faults, devices and links before nodes; refused where the manifests do not know what is meant.
    pub fn of(&self, spec: &Spec) -> Result<Vec<Fault>, CliError> {
        let mut faults = Vec::new();
        for device in &self.device_down {
            known("fencing device", device, spec.devices.keys().map(|name| name.as_str()))?;
            faults.push(Fault::DeviceDown(device.as_str().into()));
        }
        let links = spec.nodes.values().map(|node| node.addresses.len()).max().unwrap_or(0);
        for &link in &self.link_down {
            if link >= links {
                let has = match links {
                    0 => "no node has an address".to_owned(),
                    1 => "the only one is 0, that of the first addresses".to_owned(),
                    _ => format!("they are 0 to {}", links - 1),
                };
                return Err(CliError::new(Kind::NoSuchObject, format!("there is no link {link}: {has}")));
            }
            faults.push(Fault::LinkDown(link));
        }
        for node in &self.node_down {
            member(spec, node)?;
            faults.push(Fault::NodeDown(node.as_str().into()));
        }
        for failing in &self.fail {
            known("resource", &failing.resource, spec.resources.keys().map(|name| name.as_str())).map_err(|error| {
                let name = failing.resource.as_str().into();
                let members = spec.primitives_of(&name);
                let group = members.iter().any(|member| spec.resources.contains_key(*member));
                let names: Vec<&str> = members.iter().map(|member| member.as_str()).collect();
                let hint = || format!("{} stands for {}: name one of these", failing.resource, names.join(", "));
                if group { error.hint(hint()) } else { error }
            })?;
            member(spec, &failing.node)?;
            faults.push(Fault::Fail(FailedOperation {
                resource: failing.resource.as_str().into(),
                operation: failing.operation,
                node: failing.node.as_str().into(),
            }));
        }
        Ok(faults)
    }
}

/// A node that takes part in the cluster.
fn member(spec: &Spec, name: &str) -> Result<(), CliError> {
    let members = spec.nodes.iter().filter(|(_, node)| node.role != NodeRole::Remote);
    known("node", name, members.map(|(name, _)| name.as_str()))
}

fn known<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> Result<(), CliError> {
    let names: Vec<&str> = names.collect();
    if names.contains(&name) {
        return Ok(());
    }
    let error = CliError::new(Kind::NoSuchObject, format!("the manifests have no {what} `{name}`"));
    Err(match suggest::nearest(name, names.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => error,
        None => error.hint(format!("there are {}", names.iter().take(20).copied().collect::<Vec<_>>().join(", "))),
    })
}
