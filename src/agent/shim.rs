//! Pacemaker's tools as OCF agents call them: `crm_attribute`, `crm_master`, `crm_node`, `crm_resource`, `attrd_updater`.
//!
//! A command line → [`ShimCall`] by [`parse`], which is pure; [`ShimAnswer`] → what the tool would have printed, and its
//! exit code, by [`render`]. Between the two lies the daemon's socket, which is not reached from here. The tools
//! themselves are scripts that [`install_shims`] writes: they run `hafen shim NAME …`.
//!
//! Covered is what the agents of Debian's `resource-agents` do; anything else is [`ShimCall::Unsupported`], which
//! fails with a reason and never pretends. Promotion scores are attributes called `master-INSTANCE`, as in Pacemaker.

use super::AgentError;
use crate::model::{NodeId, ResourceId};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// The tools that agents find in their search path.
pub const TOOLS: [&str; 5] = ["crm_attribute", "crm_master", "crm_node", "crm_resource", "attrd_updater"];
/// What nfsnotify and clvm look for in `HA_SBIN_DIR`, which is the folder of the shims.
const FROM_SBIN: [&str; 4] = ["sm-notify", "clvmd", "cmirrord", "lvmconf"];
/// Pacemaker's exit code for an object that does not exist (`CRM_EX_NOSUCH`).
const NO_SUCH: i32 = 105;
/// sysexits.h: the command line is wrong, and the tool cannot do that here.
const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;

/// How long an attribute lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// Until the node's next boot.
    Reboot,
    Forever,
}

/// Whose attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// A node; None: the one on which the tool runs.
    Node { node: Option<NodeId>, lifetime: Lifetime },
    /// The whole cluster.
    Cluster,
}

/// What a tool is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimCall {
    SetAttribute {
        owner: Owner,
        name: String,
        value: String,
    },
    GetAttribute {
        owner: Owner,
        name: String,
        default: Option<String>,
        style: Style,
    },
    DeleteAttribute {
        owner: Owner,
        name: String,
    },
    /// The name of this node.
    NodeName,
    /// The number of this node: its place among the members, from 1.
    NodeNumber,
    NodeNameOf {
        number: u32,
    },
    /// All known nodes, with number, name and state.
    Members,
    /// The names of the nodes that are online.
    Partition,
    Quorate,
    /// Keep the resource away from a node; None: the one it runs on.
    Ban {
        resource: ResourceId,
        node: Option<NodeId>,
    },
    Unsupported {
        what: String,
    },
}

/// How a tool prints an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Style {
    /// `value`
    Bare,
    /// `scope=status  name=NAME value=VALUE`
    CrmAttribute,
    /// `name="NAME" host="NODE" value="VALUE"`; agents run it through `eval`.
    Attrd,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimAnswer {
    Done,
    /// None: there is no such attribute. With the node that was meant, if one was.
    Value {
        node: Option<NodeId>,
        value: Option<String>,
    },
    Name(NodeId),
    Number(u32),
    Nodes(Vec<ShimNode>),
    Quorate(bool),
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimNode {
    pub number: u32,
    pub name: NodeId,
    pub online: bool,
}

/// What the tool prints and exits with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// Reads the arguments of a tool. `instance` is `OCF_RESOURCE_INSTANCE` of the calling agent, whose promotion score is
/// meant where none is named.
pub fn parse(tool: &str, args: &[String], instance: Option<&str>) -> ShimCall {
    let known = match tool {
        "crm_attribute" | "crm_master" => ATTRIBUTE,
        "attrd_updater" => ATTRD,
        "crm_node" => NODE,
        "crm_resource" => RESOURCE,
        _ => return unsupported(format!("`{tool}` is not a tool that hafen stands in for")),
    };
    let options = match options(known, args) {
        Ok(options) => options,
        Err(why) => return unsupported(format!("{tool}: {why}")),
    };
    let call = match tool {
        "crm_node" => node_call(&options),
        "crm_resource" => resource_call(&options),
        "attrd_updater" => attribute_call(&options, Tool::Attrd, instance),
        "crm_master" => attribute_call(&options, Tool::Master, instance),
        _ => attribute_call(&options, Tool::Attribute, instance),
    };
    call.unwrap_or_else(|why| unsupported(format!("{tool}: {why}")))
}

/// What the tool prints for an answer to that call.
pub fn render(call: &ShimCall, answer: &ShimAnswer) -> Rendered {
    let out = |stdout: String| Rendered { stdout, ..Rendered::default() };
    let err = |code, stderr: String| Rendered { stdout: String::new(), stderr: stderr + "\n", code };
    match (call, answer) {
        (ShimCall::Unsupported { what }, _) => err(USAGE, what.clone()),
        (_, ShimAnswer::Failed(why)) => err(UNAVAILABLE, why.clone()),
        (ShimCall::GetAttribute { owner, name, default, style }, ShimAnswer::Value { node, value }) => {
            attribute(owner, name, value.as_ref().or(default.as_ref()), *style, node.as_ref())
        }
        (_, ShimAnswer::Done) => out(String::new()),
        (_, ShimAnswer::Value { value, .. }) => out(value.clone().unwrap_or_default() + "\n"),
        (_, ShimAnswer::Name(name)) => out(format!("{name}\n")),
        (_, ShimAnswer::Number(number)) => out(format!("{number}\n")),
        (_, ShimAnswer::Quorate(quorate)) => out(format!("{}\n", u8::from(*quorate))),
        (ShimCall::Partition, ShimAnswer::Nodes(nodes)) => {
            let online = nodes.iter().filter(|node| node.online).map(|node| format!("{} ", node.name));
            out(online.collect::<String>() + "\n")
        }
        (_, ShimAnswer::Nodes(nodes)) => {
            let state = |node: &ShimNode| if node.online { "member" } else { "lost" };
            out(nodes.iter().map(|node| format!("{} {} {}\n", node.number, node.name, state(node))).collect())
        }
    }
}

/// Writes the tools into a folder that comes first in the agents' search path, and links to what a few agents look for
/// beside them. Existing files of these names are replaced.
pub fn install_shims(shim_dir: &Path, hafen_binary: &Path) -> Result<(), AgentError> {
    fs::create_dir_all(shim_dir).map_err(|source| AgentError::CreateFolder { path: shim_dir.into(), source })?;
    let binary = hafen_binary.display().to_string().replace('\'', r"'\''");
    for tool in TOOLS {
        let path = shim_dir.join(tool);
        let text = format!("#!/bin/sh\nexec '{binary}' shim {tool} \"$@\"\n");
        // Written beside and moved: an agent may be running the old one.
        let new = shim_dir.join(format!(".{tool}.new"));
        let written = fs::write(&new, text)
            .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| AgentError::Write { path, source })?;
    }
    for name in FROM_SBIN {
        let (real, link) = (Path::new("/usr/sbin").join(name), shim_dir.join(name));
        if real.exists() && !link.exists() {
            symlink(real, &link).map_err(|source| AgentError::Write { path: link, source })?;
        }
    }
    Ok(())
}

fn attribute(owner: &Owner, name: &str, value: Option<&String>, style: Style, node: Option<&NodeId>) -> Rendered {
    let missing = value.is_none();
    let stdout = match (style, value) {
        (Style::Bare, Some(value)) => format!("{value}\n"),
        (Style::CrmAttribute, value) => {
            let scope = match owner {
                Owner::Cluster => "crm_config",
                Owner::Node { lifetime: Lifetime::Reboot, .. } => "status",
                Owner::Node { lifetime: Lifetime::Forever, .. } => "nodes",
            };
            format!("scope={scope}  name={name} value={}\n", value.map_or("(null)", String::as_str))
        }
        (Style::Attrd, Some(value)) => {
            let host = node.map_or("", NodeId::as_str);
            format!("name=\"{}\" host=\"{}\" value=\"{}\"\n", quoted(name), quoted(host), quoted(value))
        }
        (Style::Bare | Style::Attrd, None) => String::new(),
    };
    let stderr = if missing { format!("no attribute `{name}`\n") } else { String::new() };
    Rendered { stdout, stderr, code: if missing { NO_SUCH } else { 0 } }
}

/// Within double quotes of a shell.
fn quoted(text: &str) -> String {
    text.chars().fold(String::new(), |mut quoted, c| {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
        quoted
    })
}

fn unsupported(what: String) -> ShimCall {
    ShimCall::Unsupported { what }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Attribute,
    Master,
    Attrd,
}

fn attribute_call(options: &[Parsed], tool: Tool, instance: Option<&str>) -> Result<ShimCall, String> {
    if has(options, 'z') {
        return Err("utilization is declared in git: `capacity` of nodes, `utilization` of resources".into());
    }
    if has(options, 'P') || has(options, 'A') {
        return Err("patterns and all nodes at once are not supported".into());
    }
    // For attrd_updater `-p` means private: kept out of the CIB, which there is none of.
    let promotion = tool == Tool::Master || (tool == Tool::Attribute && has(options, 'p'));
    let name = match (value(options, 'n'), promotion) {
        (Some(name), false) => name.to_owned(),
        (_, true) => {
            let given = if tool == Tool::Attribute { value(options, 'p') } else { value(options, 'r') };
            let instance = given.or(instance).ok_or("no resource is named and OCF_RESOURCE_INSTANCE is not set")?;
            format!("master-{instance}")
        }
        (None, false) => return Err("no attribute is named".into()),
    };
    let owner = owner(options, tool, promotion)?;
    let update = value(options, 'v').or_else(|| value(options, 'U'));
    Ok(match update {
        _ if has(options, 'D') => ShimCall::DeleteAttribute { owner, name },
        Some(value) if !has(options, 'G') => ShimCall::SetAttribute { owner, name, value: value.to_owned() },
        Some(_) | None => {
            let style = match tool {
                Tool::Attrd => Style::Attrd,
                Tool::Attribute | Tool::Master if has(options, 'q') => Style::Bare,
                Tool::Attribute | Tool::Master => Style::CrmAttribute,
            };
            ShimCall::GetAttribute { owner, name, default: value(options, 'd').map(str::to_owned), style }
        }
    })
}

fn owner(options: &[Parsed], tool: Tool, promotion: bool) -> Result<Owner, String> {
    let node = value(options, 'N').filter(|name| !matches!(*name, "auto" | "localhost")).map(NodeId::from);
    let owned = |lifetime| Ok(Owner::Node { node: node.clone(), lifetime });
    if tool == Tool::Attrd {
        return owned(Lifetime::Reboot);
    }
    match (value(options, 'l'), value(options, 't')) {
        (Some("reboot"), _) | (None, Some("status")) => owned(Lifetime::Reboot),
        (Some("forever"), _) | (None, Some("nodes")) => owned(Lifetime::Forever),
        (Some(other), _) => Err(format!("lifetime `{other}` is neither `reboot` nor `forever`")),
        (None, Some("crm_config")) => Ok(Owner::Cluster),
        (None, Some(other)) => Err(format!("attributes of type `{other}` are not supported")),
        (None, None) if promotion => owned(Lifetime::Reboot),
        (None, None) if has(options, 'N') => owned(Lifetime::Forever),
        (None, None) => Ok(Owner::Cluster),
    }
}

fn node_call(options: &[Parsed]) -> Result<ShimCall, String> {
    // As in Pacemaker the last command wins: `crm_node -l -p` lists the partition.
    let command = options.iter().rev().find(|(short, _)| "nilpqNR".contains(*short));
    Ok(match command {
        Some(('n', _)) => ShimCall::NodeName,
        Some(('i', _)) => ShimCall::NodeNumber,
        Some(('l', _)) => ShimCall::Members,
        Some(('p', _)) => ShimCall::Partition,
        Some(('q', _)) => ShimCall::Quorate,
        Some(('N', Some(number))) => ShimCall::NodeNameOf {
            number: number.parse().map_err(|_| format!("`{number}` is not the number of a node"))?,
        },
        Some(_) => return Err("nodes are removed by taking their document out of git".into()),
        None => return Err("no command is given".into()),
    })
}

fn resource_call(options: &[Parsed]) -> Result<ShimCall, String> {
    if has(options, 'B') {
        let resource = value(options, 'r').ok_or("no resource is named")?;
        // Copies are banned together.
        let resource = resource.split(':').next().unwrap_or(resource).into();
        return Ok(ShimCall::Ban { resource, node: value(options, 'N').map(NodeId::from) });
    }
    if has(options, 'z') {
        return Err("utilization is declared in git: `utilization` of resources".into());
    }
    Err("only `--ban` is supported".into())
}

/// An option by its short name, with its value.
type Parsed = (char, Option<String>);

fn has(options: &[Parsed], short: char) -> bool {
    options.iter().any(|(found, _)| *found == short)
}

/// The last one wins.
fn value(options: &[Parsed], short: char) -> Option<&str> {
    options.iter().rev().find(|(found, _)| *found == short).and_then(|(_, value)| value.as_deref())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// Attached, or the next argument unless that is an option.
    MaybeValue,
}
use Takes::{MaybeValue, Nothing, Value};

/// Short name, long names, and whether a value follows.
type Known = &'static [(char, &'static [&'static str], Takes)];

const ATTRIBUTE: Known = &[
    ('n', &["name", "attr-name"], Value),
    ('P', &["pattern"], Value),
    ('p', &["promotion"], MaybeValue),
    ('N', &["node", "node-uname"], Value),
    ('v', &["update", "attr-value"], Value),
    ('D', &["delete"], Nothing),
    ('G', &["query", "get-value"], Nothing),
    ('l', &["lifetime"], Value),
    ('t', &["type"], Value),
    ('s', &["set-name"], Value),
    ('d', &["default"], Value),
    ('i', &["id", "attr-id"], Value),
    ('r', &["resource", "resource-id"], Value),
    ('z', &["utilization"], Nothing),
    ('q', &["quiet"], Nothing),
    ('V', &["verbose"], Nothing),
];
const ATTRD: Known = &[
    ('n', &["name"], Value),
    ('P', &["pattern"], Value),
    ('U', &["update"], Value),
    ('v', &["value"], Value),
    ('B', &["update-both"], Value),
    ('D', &["delete"], Nothing),
    ('G', &["query"], Nothing),
    ('A', &["all"], Nothing),
    ('N', &["node"], Value),
    ('S', &["section"], Value),
    ('s', &["set"], Value),
    ('d', &["delay"], Value),
    ('p', &["private"], Nothing),
    ('q', &["quiet"], Nothing),
    ('V', &["verbose"], Nothing),
];
const NODE: Known = &[
    ('n', &["name"], Nothing),
    ('i', &["cluster-id"], Nothing),
    ('l', &["list"], Nothing),
    ('p', &["partition"], Nothing),
    ('q', &["quorum"], Nothing),
    ('N', &["name-for-id"], Value),
    ('R', &["remove"], Value),
    ('f', &["force"], Nothing),
    ('Q', &["quiet"], Nothing),
    ('V', &["verbose"], Nothing),
];
const RESOURCE: Known = &[
    ('r', &["resource"], Value),
    ('N', &["node"], Value),
    ('B', &["ban"], Nothing),
    ('z', &["utilization"], Nothing),
    ('m', &["meta"], Nothing),
    ('g', &["get-parameter"], Value),
    ('p', &["set-parameter"], Value),
    ('d', &["delete-parameter"], Value),
    ('v', &["parameter-value"], Value),
    ('W', &["locate"], Nothing),
    ('C', &["cleanup"], Nothing),
    ('O', &["list-operations"], Nothing),
    ('Q', &["quiet"], Nothing),
    ('V', &["verbose"], Nothing),
];

/// Reads options as getopt_long(3) does. Words that are no options are passed over, as the tools do: agents give a bare
/// delay to `attrd_updater`.
fn options(known: Known, args: &[String]) -> Result<Vec<Parsed>, String> {
    let mut parsed = Vec::new();
    let mut args = args.iter().map(String::as_str).peekable();
    while let Some(arg) = args.next() {
        let mut next = |takes: Takes| match takes {
            Nothing => None,
            Value => args.next().map(str::to_owned),
            MaybeValue => args.next_if(|next| !next.starts_with('-')).map(str::to_owned),
        };
        if let Some(long) = arg.strip_prefix("--") {
            let (name, attached) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let (short, _, takes) =
                known.iter().find(|(_, names, _)| names.contains(&name)).ok_or_else(|| unknown(arg))?;
            let value = attached.map(str::to_owned).or_else(|| next(*takes));
            parsed.push(complete(*short, value, *takes, arg)?);
        } else if let Some(cluster) = arg.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
            let mut rest = cluster.chars();
            while let Some(short) = rest.next() {
                // Older names: `-Q` is quiet for crm_attribute and crm_master, and query for attrd_updater.
                let short = match (short, std::ptr::eq(known, ATTRIBUTE), std::ptr::eq(known, ATTRD)) {
                    ('Q', true, _) => 'q',
                    ('Q', _, true) => 'G',
                    ('U', true, _) => 'N',
                    _ => short,
                };
                let (_, _, takes) = known.iter().find(|(known, ..)| *known == short).ok_or_else(|| unknown(arg))?;
                if *takes == Nothing {
                    parsed.push((short, None));
                    continue;
                }
                let attached = Some(rest.as_str()).filter(|rest| !rest.is_empty()).map(str::to_owned);
                parsed.push(complete(short, attached.or_else(|| next(*takes)), *takes, arg)?);
                break;
            }
        }
    }
    Ok(parsed)
}

fn complete(short: char, value: Option<String>, takes: Takes, arg: &str) -> Result<Parsed, String> {
    if takes == Value && value.is_none() { Err(format!("`{arg}` needs a value")) } else { Ok((short, value)) }
}

fn unknown(arg: &str) -> String {
    format!("`{arg}` is not supported")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> ShimCall {
        let mut words = line.split(' ').map(|word| if word == "''" { String::new() } else { word.to_owned() });
        let tool = words.next().unwrap();
        parse(&tool, &words.collect::<Vec<_>>(), Some("db"))
    }

    fn node(name: &str, lifetime: Lifetime) -> Owner {
        Owner::Node { node: (!name.is_empty()).then(|| name.into()), lifetime }
    }

    #[test]
    fn attributes_are_set_as_agents_do_it() {
        use Lifetime::{Forever, Reboot};
        for (line, owner, name, value) in [
            ("crm_attribute -p -v 5", node("", Reboot), "master-db", "5"),
            ("crm_attribute -p -N n2 -v -INFINITY", node("n2", Reboot), "master-db", "-INFINITY"),
            ("crm_attribute --promotion=other -v 1", node("", Reboot), "master-other", "1"),
            ("crm_master -Q -l reboot -v 100", node("", Reboot), "master-db", "100"),
            ("crm_master -N n1 -l reboot -v 10", node("n1", Reboot), "master-db", "10"),
            ("crm_attribute -N n1 -l reboot --name db-bootstrap -v true", node("n1", Reboot), "db-bootstrap", "true"),
            ("crm_attribute -l forever --node=n3 -n a -v x", node("n3", Forever), "a", "x"),
            ("crm_attribute --lifetime=reboot --name=a --node=n1 --update=''", node("n1", Reboot), "a", "''"),
            ("crm_attribute --lifetime=reboot --name a --node=n1 --update ''", node("n1", Reboot), "a", ""),
            ("crm_attribute -t nodes -N n1 -n standby -v on --lifetime=forever", node("n1", Forever), "standby", "on"),
            ("crm_attribute --type crm_config --name R -s mysql_replication -v n1|2", Owner::Cluster, "R", "n1|2"),
            ("crm_attribute --name a --update b", Owner::Cluster, "a", "b"),
            ("crm_attribute -n runs_ers_X -v 1 -l reboot", node("", Reboot), "runs_ers_X", "1"),
            ("attrd_updater -p -n db-gtid -U 0-1-2", node("", Reboot), "db-gtid", "0-1-2"),
            ("attrd_updater 30s -S status -n ip -v 7", node("", Reboot), "ip", "7"),
            ("attrd_updater -p --name a --node n2 --update 3", node("n2", Reboot), "a", "3"),
        ] {
            let expected = ShimCall::SetAttribute { owner, name: name.into(), value: value.into() };
            assert_eq!(call(line), expected, "{line}");
        }
    }

    #[test]
    fn attributes_are_read_and_deleted_as_agents_do_it() {
        use Lifetime::{Forever, Reboot};
        let get = |owner, name: &str, style| ShimCall::GetAttribute { owner, name: name.into(), default: None, style };
        let delete = |owner, name: &str| ShimCall::DeleteAttribute { owner, name: name.into() };
        for (line, expected) in [
            ("crm_attribute -l reboot -N n1 -n pg -G -q", get(node("n1", Reboot), "pg", Style::Bare)),
            ("crm_attribute -N n1 -l reboot --name b --quiet", get(node("n1", Reboot), "b", Style::Bare)),
            ("crm_attribute -N n1 -l reboot --name b --query", get(node("n1", Reboot), "b", Style::CrmAttribute)),
            ("crm_attribute --type nodes --node n1 -n a -G -q", get(node("n1", Forever), "a", Style::Bare)),
            ("crm_attribute -p -G -N n1", get(node("n1", Reboot), "master-db", Style::CrmAttribute)),
            ("crm_master -N n1 -l reboot -G --quiet", get(node("n1", Reboot), "master-db", Style::Bare)),
            ("attrd_updater -p -N n1 -n g -Q", get(node("n1", Reboot), "g", Style::Attrd)),
            ("attrd_updater --query -n g -N n1", get(node("n1", Reboot), "g", Style::Attrd)),
            ("crm_attribute -p -D", delete(node("", Reboot), "master-db")),
            ("crm_attribute -N n1 -l reboot --name b -D", delete(node("n1", Reboot), "b")),
            ("attrd_updater -D -S state -n ip", delete(node("", Reboot), "ip")),
        ] {
            assert_eq!(call(line), expected, "{line}");
        }
    }

    #[test]
    fn the_rest_is_a_question_about_nodes_a_ban_or_refused() {
        assert_eq!(call("crm_node -n"), ShimCall::NodeName);
        assert_eq!(call("crm_node -l -p"), ShimCall::Partition);
        assert_eq!(call("crm_node --list"), ShimCall::Members);
        assert_eq!(call("crm_node -q"), ShimCall::Quorate);
        assert_eq!(call("crm_node -N 2"), ShimCall::NodeNameOf { number: 2 });
        let ban = ShimCall::Ban { resource: "pg".into(), node: Some("n1".into()) };
        assert_eq!(call("crm_resource -B -r pg:0 -N n1 -Q"), ban);
        for line in [
            "crm_resource -Q -r vm -z -g cpu",
            "crm_resource --list-operations -N n1",
            "crm_attribute --quiet -t nodes --node n1 -z -n cpu",
            "crm_attribute -n",
            "crm_attribute --frobnicate",
            "crm_node",
            "cibadmin -Q",
            "crm_node -N x",
        ] {
            let refused = call(line);
            assert!(matches!(&refused, ShimCall::Unsupported { what } if !what.is_empty()), "{line}");
            assert_eq!(render(&refused, &ShimAnswer::Done).code, USAGE);
        }
    }

    #[test]
    fn answers_are_printed_as_the_tools_would() {
        let value =
            |value: Option<&str>| ShimAnswer::Value { node: Some("n1".into()), value: value.map(str::to_owned) };
        let nodes = ShimAnswer::Nodes(vec![
            ShimNode { number: 1, name: "n1".into(), online: true },
            ShimNode { number: 2, name: "n2".into(), online: false },
        ]);
        for (line, answer, stdout, code) in [
            ("crm_attribute -N n1 -l reboot -n a -G", value(Some("x")), "scope=status  name=a value=x\n", 0),
            ("crm_attribute -N n1 -l reboot -n a -G", value(None), "scope=status  name=a value=(null)\n", NO_SUCH),
            ("crm_attribute -N n1 -n a -G -q", value(None), "", NO_SUCH),
            ("crm_attribute -N n1 -n a -G -q -d 7", value(None), "7\n", 0),
            ("attrd_updater -n a -Q", value(Some("$(x)")), "name=\"a\" host=\"n1\" value=\"\\$(x)\"\n", 0),
            ("crm_attribute -n a -v x", ShimAnswer::Done, "", 0),
            ("crm_node -l", nodes.clone(), "1 n1 member\n2 n2 lost\n", 0),
            ("crm_node -p", nodes, "n1 \n", 0),
            ("crm_node -q", ShimAnswer::Quorate(true), "1\n", 0),
            ("crm_node -n", ShimAnswer::Failed("no quorum".into()), "", UNAVAILABLE),
        ] {
            let rendered = render(&call(line), &answer);
            assert_eq!((rendered.stdout.as_str(), rendered.code), (stdout, code), "{line}");
        }
    }

    #[test]
    fn installed_shims_run_hafen() {
        let folder = tempfile::tempdir().unwrap();
        let hafen = folder.path().join("it's hafen");
        fs::write(&hafen, "#!/bin/sh\necho \"$@\"\n").unwrap();
        fs::set_permissions(&hafen, fs::Permissions::from_mode(0o755)).unwrap();
        let shims = folder.path().join("shims");
        for _ in 0..2 {
            install_shims(&shims, &hafen).unwrap();
        }
        let output = std::process::Command::new("sh")
            .args(["-c", "\"$0\" -p -v 5", &shims.join("crm_attribute").display().to_string()])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "shim crm_attribute -p -v 5\n");
    }
}
