//! Every code a finding can have, with its severity and what it means: `hafen explain CODE`.
//!
//! Codes are stable: one that is no longer used is never given to something else. Groups: 01 syntax, 02 structure,
//! 03 values, 04 references and names, 05 meaning, 06 agents, 09 about the list itself.

use crate::model::Severity;
use std::fmt;

macro_rules! codes {
    ($($name:ident = $number:literal $severity:ident $title:literal $text:literal)*) => {
        /// What a finding is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $name = $number,)* }

        impl Code {
            /// In ascending order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
            /// Whether nothing can be planned for manifests with such a finding. Findings about their meaning or their
            /// agents keep a cluster from following them, but leave what they ask for clear.
            pub fn hinders_planning(self) -> bool {
                !matches!(self as u16, 500..700)
            }
            /// One line, lower case.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
            /// Why it matters and what to do.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    NotText = 101 Error "the file is not text"
        "Manifests are UTF-8 text without control characters. Convert the file with iconv, or remove the character."
    Syntax = 102 Error "the file is not YAML"
        "The parser could not make sense of the text from this place on; often a quote or a bracket above it is not closed, or a line is indented differently from its neighbours. The documents after the next `---` were read all the same."
    Tab = 103 Error "a tab in the indentation"
        "YAML indents with spaces only. Set your editor to spaces, or replace the tab."
    DuplicateKey = 104 Error "a key is written twice"
        "YAML demands unique keys; most readers take the last one silently, so one of the two settings would be lost."
    Unsupported = 105 Error "a feature of YAML that manifests do not have"
        "Tags, merge keys, lists or maps as keys, and aliases within themselves are refused, since readers differ in what they make of them. Anchors and aliases of plain values work."
    TooMuch = 106 Error "the file is too large or too deep"
        "Limits on size, nesting, aliases and the number of syntax errors keep a damaged or hostile file from stopping the cluster."
    Yaml11 = 107 Error "a word that YAML 1.1 and 1.2 read differently"
        "`no`, `on`, `0777`, `1_000` and `12:30` are a string or a decimal number in YAML 1.2, and a boolean, an octal number or seconds in YAML 1.1. Tools on your way here may rewrite it. Put it in quotes if you mean the text; write `true` or `false` if you mean a boolean."

    NotADocument = 201 Error "a document that is not a map"
        "A manifest is a map with apiVersion, kind, metadata and spec. Several manifests in one file are separated by a line `---`."
    UnknownApiVersion = 202 Error "an unknown apiVersion"
        "This version of hafen reads `hafen/v1alpha1`."
    UnknownKind = 203 Error "an unknown kind"
        "The kinds are Cluster, Node, FencingDevice, Resource, Group, Clone, Bundle, Order, Colocation, Location and Ticket."
    UnknownField = 204 Error "an unknown field"
        "A misspelt field would be a setting that silently does nothing, so unknown fields are refused. `hafen schema` prints all fields."
    MissingField = 205 Error "a required field is missing"
        "Nothing sensible can be assumed for this field."
    WrongType = 206 Error "a value of the wrong type"
        "The field wants a string, a number, a boolean, a list or a map, and something else was written. A quoted `\"5\"` is a string; an unquoted `5` is a number."
    NoValue = 207 Error "a field without a value"
        "A field that is written but left empty is `null` in YAML. Give it a value, or remove the line to get the default."

    UnknownValue = 301 Error "a word that is not one of the choices"
        "The field takes one of a few words, written exactly so, with capitals."
    BadDuration = 302 Error "not a duration"
        "Durations carry their unit: `250ms`, `10s`, `1m30s`, `2h`, `1d`. A bare number is refused, since nobody can tell seconds from milliseconds."
    BadName = 303 Error "not a name"
        "Names begin with a letter, a digit or `_`, go on with those, `.` and `-`, and have at most 128 characters."
    BadAddress = 304 Error "not an address of a node"
        "An IPv4 or IPv6 address without a prefix length. Names are refused: a cluster must not need a name server to find its nodes."
    OutOfRange = 305 Error "a number out of its range"
        "The message names the range."
    NotAString = 306 Error "a parameter that is not a string"
        "Agents take their parameters as strings. A bare number or boolean could reach them in another form than you wrote (`0700` as 448, `1.10` as 1.1), so quote it."
    BadAgent = 307 Error "not an agent"
        "Write `ocf:PROVIDER:TYPE`, such as `ocf:heartbeat:IPaddr2`, or `systemd:UNIT`; for fencing devices the name of a fence agent (`fence_…`), `redfish` or `watchdog`."
    ZeroDuration = 308 Error "a time-out of zero"
        "A time-out of zero would fail every action before it began. Remove the field to get the default."
    BadPath = 309 Error "not an absolute path"
        "Secrets are read by the daemon, whose working directory is nobody's business: write the path from the root."

    DuplicateName = 401 Error "a name that is taken"
        "Resources, groups and clones share one name space; every other kind has its own. The message says where the name was given first."
    UnknownReference = 402 Error "a reference to something that does not exist"
        "The name is not among the manifests of this tree. Names are case-sensitive."
    NoCluster = 403 Error "no Cluster document"
        "A tree has exactly one document of kind Cluster. An empty tree is refused: it would stop everything."
    SeveralClusters = 404 Error "more than one Cluster document"
        "A tree describes one cluster. Give each cluster a folder of its own and set its path."
    DuplicateAddress = 405 Error "two nodes with one address"
        "An address leads to one node. The message says where it was written first."
    InTwoGroups = 406 Error "a resource in two groups"
        "A group keeps its members on one node in one order; a resource can be a member of one group, once."
    WrongReference = 407 Error "a reference to the wrong kind"
        "Members of groups are resources. A clone copies a resource or a group; a clone of a clone is refused, as are two clones of one thing and a clone of a group's member (clone the group)."

    OrderCycle = 501 Error "orderings that form a cycle"
        "Each of these would wait for the next, and the last for the first, so none would ever start. Remove one of the constraints in the message, or make it `Advisory`. Members of a group are ordered too, as are a promotion after its start."
    AdvisoryCycle = 502 Warning "advisory orderings that form a cycle"
        "The required orderings hold; the advisory ones of the cycle cannot all be kept, and which is dropped is not defined."
    SelfReference = 503 Error "a constraint of something with itself"
        "Both ends are the same thing, or one contains the other."
    Contradiction = 504 Error "constraints that contradict each other"
        "They cannot hold together, so the resource would run nowhere. Weaken one to `Preferred` or `Avoid`, or remove it."
    NoFencing = 505 Error "a node that cannot be fenced"
        "When this node falls silent, what runs on it may still run. Nothing that may run only once can be started elsewhere until the node is proven off, and without a fencing device nothing can prove that. Give the node `fencing` levels, forbid the resource on all nodes but one, or set `fencing.enabled: false` and accept that an operator must confirm each loss."
    FencingDisabled = 506 Warning "fencing is disabled"
        "After the loss of a node its resources are started elsewhere only once the node comes back with a new boot or an operator confirms that it is off."
    AssumeOff = 507 Warning "silent nodes are taken to be off"
        "UNSAFE: a node that cannot be heard but runs is taken for dead, and its resources run twice. Data on shared storage will be damaged."
    TwoVoters = 508 Warning "two voters without a witness"
        "When either is lost the other has no majority and stops what needs quorum. Add a third voter, or a node with `role: Witness`, which runs nothing and may be tiny."
    EvenVoters = 509 Warning "an even number of voters"
        "An even number survives no more losses than one voter less, and can split into halves of which neither goes on. Make one an `Agent`, or add a voter."
    NoVoters = 510 Warning "no node votes"
        "Without a voter the cluster can decide nothing, so a running cluster refuses to take this tree."
    TooManyVoters = 511 Warning "more than seven voters"
        "Every decision waits for a majority; more than seven voters make it slow and no safer. Make the others `Agent`."
    FabricFencing = 512 Warning "a fencing device that does not cut power"
        "Devices that take the storage away (`fence_scsi`, `fence_mpath`) and `requires: Unfencing` are understood and planned, but not run by this version: such a device gives no evidence that a node is off."
    NotPromotable = 513 Error "a promoted role of something that is not promotable"
        "Only a Clone with `promotable` has promoted copies. Refer to the clone, and give it `promotable: { max: 1 }`."
    NoEffect = 514 Warning "a setting without effect"
        "The field is well-formed, but nothing reads it in this combination."
    ContradictingFields = 515 Error "fields that exclude each other"
        "One of the two must go."
    BadDetection = 516 Error "a detection that cannot work"
        "`suspectAfter` must be longer than `heartbeat`, or every node would always be suspect."
    HastyDetection = 517 Warning "a detection without slack"
        "One or two lost packets make a node suspect, and a suspect node is fenced. Leave room for three heartbeats at least."
    SecretInParams = 518 Warning "a secret in the open"
        "Manifests are in git and in every backup of it. Write the secret to a file on the nodes, mode 0600, and name it: `secrets: { password: { file: /etc/hafen/secrets/NAME } }`."
    RunsNowhere = 519 Warning "a resource that may run nowhere"
        "Every node that runs resources is forbidden or not allowed to it."
    MatchesNothing = 520 Warning "labels that no node has"
        "The constraint applies to no node. Labels are compared exactly."
    UnusedDevice = 521 Note "a fencing device that no node uses"
        "No level of any node names it."
    EmptyList = 522 Error "a list that must not be empty"
        "A group without members, a fencing level without devices, a node without addresses or a constraint without nodes says nothing."
    WatchdogQuorumLoss = 523 Error "a node that only its watchdog fences, and a resource that outlives its quorum"
        "A watchdog proves a node off only because the node stops its resources, or is reset, when it has lost the quorum. A resource that would be frozen or demoted instead breaks that proof. Use `Stop` or `Fence`, or give the node another device."
    WatchdogVoters = 524 Warning "a watchdog among too few voters"
        "That a watchdog has run out is evidence only if a majority without its node agrees on it, so it takes three voters at least, a witness included."

    NoAddress = 525 Error "a node without addresses"
        "Nobody can reach this node. Fill in its addresses, one per network: `addresses: [192.0.2.1]`. Manifests that were imported lack them, since a CIB does not have them; a plan can be made all the same (`hafen plan DIR --state FILE`)."
    PlannedOnly = 526 Warning "something that is planned but not run"
        "Remote nodes (`role: Remote`), what runs inside of something else (`inside`) and Bundles are placed and ordered in the plans of imported clusters, as Pacemaker would do it. A running cluster gives no node the right to start any of it, and places nothing on a remote node. Replace it before you rely on it: give the machine a hafen of its own (`role: Agent`), and run the service without the container around it."
    RemoteWithoutConnection = 527 Error "a remote node without a connection"
        "A remote node is there as long as a resource runs, its connection (`ocf:pacemaker:remote`). Name it: `connection: RESOURCE`. Other nodes have none."

    PlannedTicket = 529 Error "a ticket, which only plans know"
        "This version has no way to grant a ticket to a running cluster, so what needs one would never run, and `onLoss: Fence` would power its nodes off at once. Tickets are planned for (`hafen plan DIR --state FILE`); take the document out before you push."

    UnknownAgent = 601 Error "an agent that is not installed"
        "Other agents of this provider are installed where the manifests were checked, this one is not: most likely a typing mistake."
    UnknownFenceAgent = 602 Warning "a fence agent that is not installed"
        "Other fence agents are installed where the manifests were checked, this one is not. It must be installed on the nodes that fence with it."
    UnknownParameter = 603 Error "a parameter that the agent does not have"
        "Agents ignore parameters they do not know, so a misspelt one silently does nothing."
    MissingParameter = 604 Error "a required parameter is missing"
        "The agent's metadata says that it cannot work without it."
    ShortTimeout = 605 Note "the agent suggests longer time-outs"
        "No time-out is written, so the default of 20s holds, which is less than what the agent's authors suggest. Write the time-out you want."
    SharedUnique = 606 Warning "two resources with one unique parameter"
        "The agent says that no two resources may have the same value for this parameter."

    ForeignAgent = 607 Warning "an agent that is planned but not run"
        "Only `ocf:` and `systemd:` agents are run, and of fencing devices fence agents (`fence_…`). Resources of other classes (`lsb:`, `service:`, `stonith:` …) are placed and ordered in plans, but no node is ever given the right to start them. Replace it before you push: a service by `systemd:UNIT`, a fence device by a FencingDevice."

    MoreErrors = 901 Error "more findings than shown"
        "The list is bounded. Correct what is shown and check again."
    MoreFindings = 902 Note "more findings than shown"
        "The list is bounded. Correct what is shown and check again."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HA{:04}", *self as u16)
    }
}

/// Finds a code as it is written in a finding, such as `HA0302`, in either case.
pub fn find(text: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.to_string().eq_ignore_ascii_case(text))
}

/// What `hafen explain CODE` prints; None if there is no such code.
pub fn explain(text: &str) -> Option<String> {
    let code = find(text)?;
    Some(format!("{code} ({}): {}\n\n{}\n", code.severity(), code.title(), code.explanation()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_each_is_explained() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        for code in Code::ALL {
            let text = explain(&code.to_string().to_lowercase()).expect("it is in the table");
            assert!(text.contains(code.title()) && code.explanation().ends_with('.'), "{code}");
        }
        assert_eq!(explain("HA9999"), None);
    }
}
