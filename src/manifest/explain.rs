//! Every code a finding can have, with its severity and what it means: `hafen explain CODE`.
//!
//! Codes are stable: one that is no longer used is never given to something else. Groups: 01 syntax, 02 structure,
//! 03 values, 04 references and names, 05 meaning, 06 agents, 07 promises, 09 about the list itself.

use super::examples::{self, Which};
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
                !matches!(self as u16, 500..800)
            }
            /// Whether it is about what agents there are and what they take.
            pub fn is_about_agents(self) -> bool {
                matches!(self as u16, 600..700)
            }
            /// Whether a comment in the file can bear it. Errors cannot be borne: what they are about cannot be read, means
            /// nothing, or is not safe. Only what agents say of themselves may be wrong.
            pub fn can_be_waived(self) -> bool {
                match self.severity() {
                    Severity::Error => self.is_about_agents(),
                    Severity::Warning | Severity::Note => (self as u16) < 900,
                }
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
    TooMuch = 106 Error "the file is too large or too deep, or stands for too much"
        "Limits on size, nesting, aliases, the pairs that sets stand for and the number of syntax errors keep a damaged or hostile file from stopping the cluster."
    Yaml11 = 107 Error "a word that YAML 1.1 and 1.2 read differently"
        "`no`, `on`, `0777`, `1_000` and `12:30` are a string or a decimal number in YAML 1.2, and a boolean, an octal number or seconds in YAML 1.1. Tools on your way here may rewrite it. Put it in quotes if you mean the text; write `true` or `false` if you mean a boolean."

    NotADocument = 201 Error "a document that is not a map"
        "A manifest is a map with apiVersion, kind, metadata and spec. Several manifests in one file are separated by a line `---`."
    UnknownApiVersion = 202 Error "an unknown apiVersion"
        "This version of hafen reads `hafen/v1alpha1`."
    UnknownKind = 203 Error "an unknown kind"
        "The kinds are Cluster, Node, FencingDevice, Resource, Group, Clone, Bundle, Order, Colocation, Location, Ticket, Scenario and Overlay."
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
    WrongVariable = 310 Error "a value that its variable does not take"
        "A variable of an Overlay has a type: String, Integer, Duration, Boolean, Enum (one of its `choices`) or List (of texts). Values and defaults are held against it, also where nothing refers to the variable. A value is taken as it is: it does not refer to other variables."
    BadVariable = 311 Error "a reference to a variable that cannot be read"
        "In a tree with an Overlay `${name}` stands for the value of a variable, in single values only: alone, or within a text. Names begin with a letter or `_`; nothing else may stand between the brackets, and keys have no variables. Write `$${` for the text `${`."

    BadUrl = 313 Error "not a web address"
        "An address of a forge or a page begins with `https://` and the name of a host, as you would type it into a browser."
    BadProject = 314 Error "not a project of the forge"
        "GitHub and Gitea know a repository as `OWNER/REPOSITORY`; GitLab as `GROUP/PROJECT`, with more groups in between if there are, or by its number, which must be quoted. No address, and no `.git`."

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
    UndefinedVariable = 411 Error "a variable that is not declared, or has no value"
        "Variables are declared below `variables` of an Overlay, of the cluster's folder or of one of its bases, with their type. Without a `default` every cluster says below `values` what they stand for."
    UnknownPatch = 412 Error "a patch of something that does not exist"
        "A patch names a document of the overlay's bases by kind and name, as it is with the values of the variables put in; it changes neither. Paths under `remove` are those that `hafen diff` prints. A patch that no longer meets anything would silently do nothing, so it is refused."
    DoublePatch = 413 Error "two patches of one field"
        "Which of the two counted would depend on their order. Keep one; an overlay that builds on this one may say something else."
    BadBase = 414 Error "a base that cannot be used"
        "A base is a folder of the same repository, written relative to the folder of the Overlay's file. It holds manifests, is named once, and does not lead back to where it is named."
    SeveralOverlays = 415 Error "more than one Overlay"
        "A folder has one Overlay, and what is read is one cluster. In a repository with several clusters name the folder of one: `hafen validate clusters/prod`; for pushes it is `path` in `source` of the Cluster."

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
    FabricFencing = 512 Error "a fencing device that proves nothing"
        "Agents that take the storage away (`fence_scsi`, `fence_mpath`), close ports of a switch (`fence_brocade`, `fence_cisco_mds`, `fence_ifmib`, `fence_sanbox2`), move virtual machines (`fence_compute`, `fence_evacuate`) block the network (`fence_azure_arm` with `network-fencing`), write a message that nobody may read (`fence_sbd`) or only look (`fence_crosslink`, `fence_heuristics_ping`, `fence_kdump`, `fence_ack_manual`) leave the node running: what it runs goes on, with its addresses, and only some of its disks are gone. An agent without the action `status` may cut power, but nothing reads the device afterwards. Neither is evidence, so they are not run, alone or beside others in a level. Name what switches the node off and can be read."
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
        "Manifests are in git and in every backup of it. Write the secret to a file on the nodes, mode 0600, and name it: `secrets: { password: { file: /etc/hafen/secrets/NAME } }`. Or encrypt it for the nodes with age or SOPS: `secrets: { password: { age: … } }`."
    RunsNowhere = 519 Warning "a resource that may run nowhere"
        "The Locations in the message leave none of the nodes that run resources. `Forbidden` takes the nodes it names away, `Required` all others, so two `Required` with different nodes leave nothing."
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

    WatchdogTiming = 532 Error "a lease that ends before its node surely has"
        "Others start what a silent node ran once its lease of `leaseTtl` is over. Until then the node must have noticed (`selfStopAfter`), stopped what it runs (`stopBudget`), or been reset by its watchdog: twice the driver's time-out and `resetLatency`, on clocks that drift apart, and a `margin`. The message prints the sum. Make `leaseTtl` longer, or one of the others shorter."
    PlannedUnfencing = 533 Warning "unfencing, which only plans know"
        "`requires: Unfencing` waits until a device has given a node its storage back. Such devices are not run (HA0512), so a cluster that follows these manifests takes it for `Fencing`."
    BlindTrust = 534 Warning "a BMC that is believed unproven"
        "What a BMC says about the power of a node decides whether its services are started elsewhere. Without TLS, or with `insecure: \"true\"`, whoever can get between can read the password and say `Off` of a node that runs. Copy the BMC's certificate (or that of its CA) to the nodes and name it in `ca`."
    LongDelay = 535 Error "a delay as long as the attempt"
        "`delay` of a FencingDevice is waited out within the attempt, and `fencing.timeout` of the Cluster is what one attempt may take with all its devices. With this delay every attempt would end before anything is switched off."

    NoMonitor = 536 Warning "a resource that is never looked at"
        "`interval: 0s` switches the monitor off. Then only the end of its processes is noticed, not that it hangs or answers nonsense. Give it an interval that is short beside the outage you can bear; hafen looks every 10s where nothing is written."
    ForgottenFailures = 537 Warning "failures that are forgotten before they count"
        "A resource leaves a node after `failure.threshold` failures there, and failures older than `failure.timeout` are forgotten. If it is looked at so rarely that the first is forgotten before the last can come, it is restarted on the broken node for ever."
    DeviceOutlivesAttempt = 538 Warning "a device with more time than the attempt"
        "`fencing.timeout` of the Cluster is what one attempt may take, with all its devices and retries; then it counts as failed. A device's own `timeout` beyond that is never used."
    NeverTogether = 539 Warning "a colocation that no node can keep"
        "Where each of the two may run is decided by the constraints in the message, and no node is left for what this one asks. What depends on it would never run."
    NoRoom = 540 Warning "something that fits on no node"
        "`utilization` is more than the `capacity` of each node that may run it, so it would never run. A node without a `capacity` of that name has none of it."

    PlainHttp = 545 Warning "a token without encryption"
        "Who can read the network between a node and the forge has the token then, and may do whatever it may. Use `https://`; if the forge has a certificate of a CA of your own, name that CA's file in `ca`. Bear it only where the forge is on the same machine."
    BadAgeSecret = 561 Error "a sealed secret that no node could open"
        "The value must be an age file in ASCII armor, whole, encrypted for the keys of the nodes that run the agent (`hafen keygen` on a node prints its recipient, `age1…`). Nodes have no passphrases, and no SSH keys."
    BadSops = 562 Error "a SOPS file or value that cannot be used"
        "`file` is a SOPS file (YAML, or JSON named `NAME.enc.json` or `NAME.sops.json`) beside the manifests, its path seen from the file that it is written in; `key` are the keys on the way to the value, joined by dots. It must have age recipients: nodes have no other keys."
    SopsInClear = 563 Error "a secret in a SOPS file that is not encrypted"
        "Manifests are in git and in every backup of it, and what was committed once is known. Encrypt it (`sops encrypt --in-place FILE`), and change the secret itself. Files named `NAME.enc.yaml` or `NAME.sops.yaml` are taken for SOPS files."

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

    UnpackagedAgent = 608 Warning "an agent that Debian's packages do not have"
        "No agent of this provider is installed where the manifests were checked, and the snapshot of Debian's packages that comes with hafen does not have it. It must be installed on the nodes; its parameters were not checked."
    WrongParameter = 609 Error "a value that the agent does not understand"
        "The agent's metadata says that the parameter is a number, yes or no, or one of a few words. Shell agents take what they do not understand for `no` or 0."
    TightTimeout = 610 Note "a time-out shorter than the agent suggests"
        "The agent's authors suggest more time for this operation. An operation that takes longer is killed and counts as failed, and a `stop` that failed means that the node is fenced. If you have measured it, waive this."

    NotMigratable = 611 Warning "an agent that cannot move what runs"
        "`migratable: true` asks the agent to move what runs (`migrate_to` where it is, `migrate_from` where it goes), and its metadata names no such actions. Each migration would fail, and end in a stop and a start. Leave `migratable` out: then it is stopped and started in order."

    DoesNotSurvive = 701 Error "a promise to survive losses that does not hold"
        "`survive` of the Cluster says how many nodes, racks (nodes with the same label `rack`), links or fencing devices may be lost at once without anything losing its home, or the cluster its quorum. The message names a loss and what forbids a home then. Allow the resource more nodes, give them more room, add voters or another level of fencing; or promise less. `hafen simulate --survive K` shows every loss."
    LongOutage = 702 Error "a service that may be down for longer than it should"
        "`maxOutage` is held against the worst case: every operation takes as long as its `timeout`, every level of fencing fails but the last, and all that the service needs is started before it. The message prints the sum. Shorten the time-outs that are longer than need be (`hafen output` and the events show what operations take), give fewer levels less time (`fencing.timeout`), or allow more."

    BadSignatureRule = 711 Error "a rule about signatures that nobody could satisfy"
        "`paths` are patterns from the root of the repository, of names with `*` and `?`, and `**` for any folders. `signers.ssh` are lines of an `allowed_signers` file: whose key it is, then the public key (`ada@example.org ssh-ed25519 AAAA…`, as `ssh-keygen -Y verify` reads them), `signers.gpg` are armored public keys (`gpg --armor --export ada@example.org`), and `signers.files` are files of the repository with either."
    UnprotectedRules = 712 Warning "rules about signatures that anybody may change"
        "No rule covers the file in which the rules, or their signers, are written: whoever may push could name other signers. A push of it is refused. Add the file to the `paths` of the rule whose signers may change the rules. Paths count from the root of the repository: where you check a part of it, waive this."

    MoreErrors = 901 Error "more findings than shown"
        "The list is bounded. Correct what is shown and check again."
    MoreFindings = 902 Note "more findings than shown"
        "The list is bounded. Correct what is shown and check again."
    UnusedWaiver = 903 Warning "a waiver that nothing needs"
        "What the comment bears is no longer found where it counts, so it would only hide the next mistake. A waiver behind something counts for that line; on a line of its own for what begins on the next line; above the first line of a document for the document."
    WaiverWithoutReason = 904 Warning "a waiver without a reason"
        "Whoever reads it next cannot tell whether it still holds, so it has no effect. Write the reason behind the bracket."
    BadWaiver = 905 Warning "a waiver that cannot be read, or not be granted"
        "The form is `# hafen: ignore[CODE] reason`, with several codes as `ignore[HA0518, HA0605]`. Warnings and notes can be waived, and errors about what agents say of themselves (HA06…). Other errors cannot: what they are about cannot be read, or is not safe."
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
    let mut text = format!("{code} ({}): {}\n\n{}\n", code.severity(), code.title(), code.explanation());
    for (word, which) in [("Wrong", Which::Wrong), ("Right", Which::Right)] {
        if let Some(example) = examples::find(code, which) {
            text += &format!("\n{word}:\n\n{}", example.shown());
        }
    }
    Some(text)
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
