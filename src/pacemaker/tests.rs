//! Small clusters, as a CIB tells them.

use super::*;
use crate::manifest::{Purpose, SourceFile, load_for};
use crate::model::{AgentCatalogue, OnLoss, OrderStrength, ResourceId, Role, Strength, TargetRole};
use crate::state::{Membership, Phase};

const NODES: &str = r#"<nodes><node id="1" uname="a"/><node id="2" uname="b"/></nodes>"#;

/// A CIB of two nodes with these parts; `history` is that of node `a`.
fn cib(options: &str, resources: &str, constraints: &str, history: &str) -> Import {
    let up = r#"in_ccm="true" crmd="online" join="member" expected="member""#;
    let text = format!(
        r#"<cib have-quorum="1"><configuration>
        <crm_config><cluster_property_set id="o">{options}</cluster_property_set></crm_config>{NODES}
        <resources>{resources}</resources><constraints>{constraints}</constraints></configuration>
        <status><node_state id="1" uname="a" {up}>{history}</node_state><node_state id="2" uname="b" {up}/></status></cib>"#
    );
    import(&text, Some(1_000_000)).unwrap()
}

fn nv(name: &str, value: &str) -> String {
    format!(r#"<nvpair id="{name}" name="{name}" value="{value}"/>"#)
}

fn meta(pairs: &str) -> String {
    format!(r#"<meta_attributes id="m">{pairs}</meta_attributes>"#)
}

fn dummy(id: &str, inside: &str) -> String {
    format!(r#"<primitive id="{id}" class="ocf" provider="pacemaker" type="Dummy">{inside}</primitive>"#)
}

/// `operation/interval/rc/expected`, in order.
fn history(resource: &str, ops: &[&str]) -> String {
    let op = |(call, op): (usize, &&str)| {
        let parts: Vec<&str> = op.split('/').collect();
        format!(
            r#"<lrm_rsc_op id="{resource}_{call}" operation="{}" interval="{}" rc-code="{}" op-status="0" call-id="{call}"
            transition-key="1:1:{}:x" op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"/>"#,
            parts[0], parts[1], parts[2], parts[3]
        )
    };
    let ops: String = ops.iter().enumerate().map(op).collect();
    format!(
        r#"<lrm id="1"><lrm_resources><lrm_resource id="{resource}" class="ocf" provider="pacemaker" type="Dummy">{ops}</lrm_resource></lrm_resources></lrm>"#
    )
}

#[test]
fn what_is_no_cib_is_refused() {
    assert!(matches!(import("<cib/>", None), Err(ImportError::NoConfiguration)));
    assert!(matches!(import("<html/>", None), Err(ImportError::NotACib { .. })));
    assert!(matches!(import("<cib>", None), Err(ImportError::Xml(_))));
}

#[test]
fn a_setting_is_the_own_one_then_the_groups_then_the_default() {
    let member = dummy("x", &meta(&nv("priority", "7")));
    let group = format!(r#"<group id="g">{}{member}</group>"#, meta(&(nv("priority", "5") + &nv("is-managed", "no"))));
    let found = cib("", &group, "", "");
    let x = &found.spec.resources["x"];
    // A group is placed as one: a member has no priority of its own.
    assert_eq!((x.priority, x.managed, x.stickiness), (5, false, 0));
    assert!(found.spec.groups["g"].rank < x.rank);
}

#[test]
fn the_nearest_target_role_counts_and_what_stands_for_the_default_is_nothing() {
    let role = |own: &str, clones: &str| {
        let clone = format!(r#"<clone id="c">{}{}</clone>"#, meta(clones), dummy("x", &meta(own)));
        cib("", &clone, "", "").spec.resources["x"].target_role
    };
    let (started, stopped) = (nv("target-role", "Started"), nv("target-role", "Stopped"));
    assert_eq!(role(&started, &stopped), TargetRole::Started);
    assert_eq!(role("", &stopped), TargetRole::Stopped);
    assert_eq!(role(&stopped, &started), TargetRole::Stopped);
    assert_eq!(role(&nv("target-role", "#default"), &stopped), TargetRole::Stopped);
}

#[test]
fn a_rule_names_its_nodes_and_infinity_leaves_others_to_fall_back_on() {
    let rule = r##"<rsc_location id="l" rsc="x"><rule id="r" score="INFINITY">
        <expression id="e" attribute="#uname" operation="eq" value="a"/></rule></rsc_location>"##;
    let found = cib("", &dummy("x", ""), rule, "");
    let location = &found.spec.locations["l"];
    assert_eq!((location.strength, location.weight), (Strength::Preferred, 1_000_000));
    assert_eq!(location.nodes, crate::model::NodeSelector::Names(vec!["a".into()]));
}

#[test]
fn sets_are_taken_apart_into_pairs() {
    let set = |id: &str, members: [&str; 2], more: &str| {
        let [first, second] = members;
        format!(
            r#"<resource_set id="{id}" {more}><resource_ref id="{first}"/><resource_ref id="{second}"/></resource_set>"#
        )
    };
    let resources: String = ["w", "x", "y", "z"].iter().map(|id| dummy(id, "")).collect();
    let sets = set("s", ["w", "x"], "") + &set("t", ["y", "z"], r#"sequential="false""#);
    let order = format!(r#"<rsc_order id="o" kind="Optional">{sets}</rsc_order>"#);
    let found = cib("", &resources, &order, "");
    let pairs: Vec<(&str, &str)> =
        found.spec.orders.values().map(|o| (o.first.resource.as_str(), o.then.resource.as_str())).collect();
    assert_eq!(pairs, [("w", "x"), ("x", "y"), ("x", "z")]);
    assert!(found.spec.orders.values().all(|order| order.strength == OrderStrength::Advisory));
    let colocation = format!(r#"<rsc_colocation id="k" score="INFINITY">{sets}</rsc_colocation>"#);
    let found = cib("", &resources, &colocation, "");
    let ties = found.spec.colocations.values();
    let pairs: Vec<(&str, &str)> = ties.map(|k| (k.resource.resource.as_str(), k.with.resource.as_str())).collect();
    assert_eq!(pairs, [("x", "w"), ("w", "y"), ("w", "z")]);
}

#[test]
fn what_runs_is_a_claim_and_what_was_seen_stopped_a_probe() {
    let found = cib("", &dummy("x", ""), "", &history("x", &["monitor/0/7/7", "start/0/0/0"]));
    let (key, claim) = found.state.claims.iter().next().unwrap();
    assert_eq!((key.to_string(), claim.phase, claim.role), ("x@a".to_owned(), Phase::Running, Role::Started));
    assert!(claim.failure.is_none());
    let found = cib("", &dummy("x", ""), "", &history("x", &["start/0/0/0", "stop/0/0/0"]));
    assert!(found.state.claims.is_empty());
    assert_eq!(found.state.probes.len(), 1);
}

#[test]
fn a_failure_is_what_was_not_expected_and_a_stop_forgets_it() {
    let failed = |ops: &[&str]| {
        let found = cib("", &dummy("x", ""), "", &history("x", ops));
        found.state.claims.values().next().map(|claim| claim.failure.is_some())
    };
    assert_eq!(failed(&["start/0/0/0", "monitor/10000/7/0"]), Some(true));
    assert_eq!(failed(&["monitor/0/0/7"]), Some(false));
    assert_eq!(failed(&["start/0/1/0"]), Some(true));
    assert_eq!(failed(&["start/0/1/0", "stop/0/0/0"]), None);
}

#[test]
fn a_failed_stop_fences_where_it_can_and_blocks_where_it_cannot() {
    let ops = history("x", &["start/0/0/0", "stop/0/1/0"]);
    let failure = |fencing: &str| {
        let found = cib(&nv("stonith-enabled", fencing), &dummy("x", ""), "", &ops);
        let failure = found.state.claims.values().next().and_then(|claim| claim.failure.clone()).unwrap();
        (failure.fence, failure.blocked)
    };
    assert_eq!(failure("true"), (true, false));
    assert_eq!(failure("false"), (false, true));
}

#[test]
fn changed_parameters_show_in_the_digest() {
    let params = format!(r#"<instance_attributes id="i">{}</instance_attributes>"#, nv("fake", "new"));
    let found = cib("", &dummy("x", &params), "", &history("x", &["start/0/0/0"]));
    let claim = found.state.claims.values().next().unwrap();
    assert_ne!(claim.definition, found.state.current[&ResourceId::new("x")]);
    let found = cib("", &dummy("x", ""), "", &history("x", &["start/0/0/0"]));
    let claim = found.state.claims.values().next().unwrap();
    assert_eq!(claim.definition, found.state.current[&ResourceId::new("x")]);
}

#[test]
fn copies_on_one_node_have_one_number_and_old_numbers_stay() {
    let clone = format!(r#"<clone id="c">{}</clone>"#, dummy("x", ""));
    let found = cib("", &clone, "", &history("x:1", &["start/0/0/0"]));
    assert_eq!(found.state.claims.keys().next().unwrap().to_string(), "x:1@a");
}

#[test]
fn nodes_are_online_unclean_or_gone() {
    let membership = |state: &str, options: &str| {
        let text = format!(
            r#"<cib><configuration><crm_config><cluster_property_set id="o">{options}</cluster_property_set></crm_config>
            <nodes><node id="1" uname="a"/></nodes></configuration><status>{state}</status></cib>"#
        );
        let found = import(&text, None).unwrap();
        found.state.nodes.get(&NodeId::new("a")).map(|node| node.membership)
    };
    let state = |words: &str| format!(r#"<node_state id="1" {words}/>"#);
    let member = r#"join="member" expected="member""#;
    let is = |words: &str| membership(&state(&format!("{words} {member}")), "");
    assert_eq!(is(r#"in_ccm="1700000000" crmd="1700000000""#), Some(Membership::Online));
    assert_eq!(is(r#"in_ccm="false" crmd="offline""#), Some(Membership::Suspect));
    assert_eq!(is(r#"in_ccm="true" crmd="offline""#), Some(Membership::Suspect));
    assert_eq!(
        membership(&state(r#"in_ccm="false" crmd="offline" join="down" expected="down""#), ""),
        Some(Membership::Left)
    );
    assert_eq!(
        membership(&state(r#"in_ccm="true" crmd="online" join="pending" expected="down""#), ""),
        Some(Membership::Joining)
    );
    assert_eq!(membership("", ""), Some(Membership::Suspect));
    assert_eq!(membership("", &nv("startup-fencing", "false")), None);
}

#[test]
fn a_ticket_says_what_needs_it_and_how_it_goes() {
    let ticket = |policy: &str| format!(r#"<rsc_ticket id="t" rsc="x" ticket="T" loss-policy="{policy}"/>"#);
    let runs = history("x", &["start/0/0/0"]);
    let with = |policy: &str| cib("", &dummy("x", ""), &ticket(policy), &runs);
    let policy = |word: &str| with(word).spec.tickets["t"].on_loss;
    assert_eq!(
        ["stop", "freeze", "fence", "what"].map(policy),
        [OnLoss::Stop, OnLoss::Freeze, OnLoss::Fence, OnLoss::Stop]
    );
    assert_eq!(with("stop").spec.tickets["t"].resources, ["x".into()]);
}

#[test]
fn a_bundle_is_a_clone_told_of_by_the_names_of_its_parts() {
    let bundle = format!(
        r#"<bundle id="web"><docker image="i" replicas="2"/><network ip-range-start="10.0.0.9"/>{}</bundle>"#,
        dummy("httpd", "")
    );
    let found = cib(&nv("stonith-enabled", "false"), &bundle, "", &history("web-docker-1", &["start/0/0/0"]));
    let members: Vec<&str> = found.spec.groups["web-replica"].members.iter().map(|member| member.as_str()).collect();
    assert_eq!(members, ["web-ip", "web-docker", "web-remote", "httpd"]);
    assert_eq!(found.state.claims.keys().next().unwrap().to_string(), "web-docker:1@a");
    let outcome = crate::plan::transition(&found.spec, &found.state);
    let told = |name: &str| outcome.actions.iter().any(|action| action.resource == name);
    assert!(told("web-ip-10.0.0.10") && told("httpd:1"), "{outcome:?}");
    assert!(outcome.placement.contains_key("web-1") && !outcome.placement.contains_key("httpd"), "{outcome:?}");
}

#[test]
fn what_is_left_out_is_named() {
    let found = cib("", "<mystery id=\"m\"/>", r#"<rsc_order id="o" first="m" then="m"/>"#, "");
    let words: Vec<(&str, bool)> = found.losses.iter().map(|loss| (loss.at.as_str(), loss.changes_plan)).collect();
    assert_eq!(words, [("mystery m", true), ("rsc_order o", true)]);
    assert!(found.is_lossy());
}

#[test]
fn written_manifests_leave_defaults_out_and_keep_names() {
    let resources = dummy("x", &meta(&nv("priority", "3")));
    let found = cib("", &resources, "", "");
    let text: Vec<(&str, String)> = manifests::write(&found.spec, &found.sets);
    let (_, resources) = text.iter().find(|(name, _)| *name == "resources.yaml").unwrap();
    assert_eq!(
        resources,
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata:\n  name: x\nspec:\n  agent: ocf:pacemaker:Dummy\n  priority: 3\n"
    );
}

/// What one history of a resource on node `a` leads to, with fencing disabled.
fn outcome(inside: &str, ops: &[&str]) -> crate::plan::Outcome {
    let found = cib(&nv("stonith-enabled", "false"), &dummy("x", inside), "", &history("x", ops));
    crate::plan::transition(&found.spec, &found.state)
}

fn where_x_runs(outcome: &crate::plan::Outcome) -> Vec<&str> {
    outcome.placement.get("x").into_iter().flat_map(|nodes| nodes.keys().map(|node| node.as_str())).collect()
}

#[test]
fn some_exit_statuses_ban_a_node_and_one_bans_all() {
    let runs = |ops: &[&str]| where_x_runs(&outcome("", ops)).join(" ");
    assert_eq!(runs(&["start/0/1/0"]), "a", "an error is tried again");
    for rc in [2, 3, 4, 5] {
        assert_eq!(runs(&[&format!("start/0/{rc}/0")]), "b", "start with {rc}");
    }
    assert_eq!(runs(&["start/0/0/0", "monitor/10000/3/0"]), "a", "a repeated monitor may not be implemented");
    assert_eq!(runs(&["monitor/0/3/7"]), "b");
    assert_eq!(runs(&["start/0/6/0"]), "", "not configured anywhere");
}

#[test]
fn what_is_said_of_a_monitor_is_not_said_of_a_probe() {
    let ops = r#"<operations><op id="m" name="monitor" interval="10s" on-fail="block"/></operations>"#;
    assert!(outcome(ops, &["start/0/0/0", "monitor/10000/1/0"]).actions.is_empty());
    assert_eq!(outcome(ops, &["monitor/0/1/7"]).actions.len(), 1);
}

#[test]
fn what_is_unmanaged_does_not_fail_and_is_not_running_when_it_says_so() {
    let left_alone = meta(&nv("is-managed", "false"));
    assert_eq!(where_x_runs(&outcome(&left_alone, &["start/0/0/0", "monitor/10000/1/0"])), ["a"]);
    assert!(where_x_runs(&outcome(&left_alone, &["start/0/0/0", "monitor/10000/7/0"])).is_empty());
}

#[test]
fn the_last_failure_of_a_repeated_operation_comes_when_it_happened() {
    let op = |id: &str, rc: u32, at: u32| {
        format!(
            r#"<lrm_rsc_op id="{id}" operation="monitor" interval="10000" rc-code="{rc}" op-status="0" call-id="5"
            transition-key="1:1:0:x" last-rc-change="{at}"/>"#
        )
    };
    let failed = |first: String, second: String| {
        let start = r#"<lrm_rsc_op id="s" operation="start" interval="0" rc-code="0" op-status="0" call-id="2"
            transition-key="1:1:0:x" op-digest="f2317cad3d54cec5d7d7aa7d0bf35cf8"/>"#;
        let history = format!(
            r#"<lrm id="1"><lrm_resources><lrm_resource id="x" class="ocf" provider="pacemaker" type="Dummy">{first}{start}{second}</lrm_resource></lrm_resources></lrm>"#
        );
        cib("", &dummy("x", ""), "", &history).state.claims.values().all(|claim| claim.failure.is_some())
    };
    assert!(!failed(op("now", 0, 20), op("last_failure", 1, 10)));
    assert!(failed(op("now", 0, 10), op("last_failure", 1, 20)));
}

#[test]
fn without_a_fence_device_nothing_is_done_unless_nobody_fences() {
    let stopped = meta(&nv("target-role", "Stopped"));
    let run = history("x", &["start/0/0/0"]);
    let done = |options: &str| {
        let found = cib(options, &dummy("x", &stopped), "", &run);
        crate::plan::transition(&found.spec, &found.state).actions.len()
    };
    assert_eq!((done(""), done(&nv("stonith-enabled", "false")), done(&nv("have-watchdog", "true"))), (0, 1, 1));
}

#[test]
fn another_agent_asks_for_a_restart() {
    let found = cib(
        &nv("stonith-enabled", "false"),
        &dummy("x", ""),
        "",
        &history("x", &["start/0/0/0"]).replace("Dummy", "Other"),
    );
    let actions = crate::plan::transition(&found.spec, &found.state).actions;
    assert_eq!(actions.iter().map(|action| action.op).collect::<Vec<_>>(), [crate::plan::Op::Restart]);
}

#[test]
fn remote_nodes_guests_and_bundles_come_back_from_their_manifests() {
    let connection = |id: &str| format!(r#"<primitive id="{id}" class="ocf" provider="pacemaker" type="remote"/>"#);
    let bundle = format!(
        r#"<bundle id="web">{}<podman image="i" replicas="2" options="-e A=1" promoted-max="1"/>
        <network ip-range-start="10.0.0.9" host-netmask="24" control-port="3121"><port-mapping id="p" port="80"/></network>
        <storage><storage-mapping id="s" source-dir-root="/srv" target-dir="/www" options="rw"/></storage>{}</bundle>"#,
        meta(&(nv("container-attribute-target", "host") + &nv("priority", "3"))),
        dummy("httpd", &meta(&nv("priority", "4")))
    );
    let resources = [
        connection("far"),
        dummy("vm", &meta(&nv("remote-node", "guest"))),
        dummy("app", &meta(&nv("container", "vm2"))),
        dummy("vm2", ""),
        bundle,
    ];
    let location = r#"<rsc_location id="l" rsc="web" role="Promoted" node="web-1" score="5"/>"#;
    let found = cib("", &resources.concat(), location, "");
    assert_eq!(found.spec.nodes["guest"].connection, Some("guest".into()));
    assert_eq!(found.spec.resources["guest"].inside, Some("vm".into()));
    assert_eq!(found.spec.resources["app"].inside, Some("vm2".into()));
    let files = manifests::write(&found.spec, &found.sets).into_iter();
    let files: Vec<SourceFile> =
        files.map(|(path, text)| SourceFile { path: path.into(), bytes: text.into_bytes() }).collect();
    let loaded = load_for(Purpose::Plan, &files, &AgentCatalogue::default());
    let spec = loaded.spec.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    assert_eq!(Spec { origins: BTreeMap::new(), ..spec }, found.spec);
}

#[test]
fn a_guest_that_is_configured_no_more_is_emptied_before_its_connection_goes() {
    let up = r#"in_ccm="true" crmd="online" join="member" expected="member""#;
    let ran = |id: &str, kind: &str| {
        format!(
            r#"<lrm_resource id="{id}" class="ocf" provider="pacemaker" type="{kind}"><lrm_rsc_op id="{id}_0"
            operation="start" interval="0" rc-code="0" op-status="0" call-id="1" transition-key="1:1:0:x"/></lrm_resource>"#
        )
    };
    let lrm = |inside: String| format!("<lrm><lrm_resources>{inside}</lrm_resources></lrm>");
    let text = format!(
        r#"<cib have-quorum="1"><configuration><crm_config><cluster_property_set id="o">{}</cluster_property_set></crm_config>
        {NODES}<resources/><constraints/></configuration><status>
        <node_state id="1" uname="a" {up}>{}</node_state><node_state id="2" uname="b" {up}/>
        <node_state id="guest" uname="guest" remote_node="true">{}</node_state></status></cib>"#,
        nv("stonith-enabled", "false"),
        lrm(ran("vm", "Dummy") + &ran("guest", "remote")),
        lrm(ran("app", "Dummy")),
    );
    let found = import(&text, None).unwrap();
    assert!(!found.spec.nodes.contains_key("guest"));
    let outcome = crate::plan::transition(&found.spec, &found.state);
    let stops: Vec<(&str, &str)> =
        outcome.actions.iter().map(|a| (a.resource.as_str(), a.from.as_ref().unwrap().as_str())).collect();
    assert_eq!(stops, [("app", "guest"), ("guest", "a"), ("vm", "a")]);
}

#[test]
fn a_second_monitor_and_one_of_stopped_copies_are_named() {
    let op = |id: &str, rest: &str| format!(r#"<op id="{id}" name="monitor" {rest}/>"#);
    let of_stopped = op("s", r#"interval="30s" role="Stopped""#);
    let ops = of_stopped + &op("a", r#"interval="10s""#) + &op("b", r#"interval="20s""#);
    let found = cib("", &dummy("x", &format!("<operations>{ops}</operations>")), "", "");
    let lost: Vec<&str> = found.losses.iter().map(|loss| loss.what.as_str()).collect();
    assert!(lost.contains(&"one monitor of each role is kept, the first: not that of every 20s"), "{lost:?}");
    assert!(lost.contains(&"copies that are to be stopped are not watched: no monitor every 30s"), "{lost:?}");
    let monitor = &found.spec.resources["x"].operations[&crate::model::OpName::Monitor];
    assert_eq!(monitor.interval, std::time::Duration::from_secs(10));
    assert!(!found.is_lossy());
}

#[test]
fn moments_at_the_end_of_time_are_read() {
    for (at, runs) in [(i64::MAX, true), (i64::MIN, false)] {
        let op = format!(
            r#"<lrm_rsc_op id="o" operation="monitor" interval="10000" call-id="3" rc-code="1" op-status="0" last-rc-change="{at}" transition-key="1:1:0:u"/>"#
        );
        let lrm = format!(
            r#"<lrm id="1"><lrm_resources><lrm_resource id="x" class="ocf" provider="pacemaker" type="Dummy" shutdown-lock="{at}">{op}</lrm_resource></lrm_resources></lrm>"#
        );
        let timeout = meta(&nv("failure-timeout", "PT99999999999999999H"));
        let options = nv("shutdown-lock", "true") + &nv("shutdown-lock-limit", "99999999999999h");
        let found = cib(&options, &dummy("x", &timeout), "", &lrm);
        // What failed that long ago is forgotten.
        assert_eq!(!found.state.claims.is_empty(), runs);
    }
}

#[test]
fn what_is_too_much_is_left_out_and_said() {
    let losses = |resources: &str, constraints: &str| -> Vec<String> {
        let import = cib("", resources, constraints, "");
        import.losses.iter().filter(|loss| loss.changes_plan).map(ToString::to_string).collect()
    };
    let names = |from: usize| (from..from + 750).map(|n| format!("r{n}"));
    let all: String = names(0).chain(names(1000)).map(|name| dummy(&name, "")).collect();
    let set = |from: usize| {
        let members: String = names(from).map(|name| format!(r#"<resource_ref id="{name}"/>"#)).collect();
        format!(r#"<resource_set id="s{from}" sequential="false">{members}</resource_set>"#)
    };
    let order = format!(r#"<rsc_order id="wide">{}{}</rsc_order>"#, set(0), set(1000));
    let found = losses(&all, &order);
    assert!(found.len() == 1 && found[0].contains("562500 pairs"), "{found:?}");

    let copies = |max: &str, unique: &str| {
        let meta = meta(&(nv("clone-max", max) + &nv("globally-unique", unique)));
        format!(r#"<clone id="c">{meta}{}</clone>"#, dummy("r", ""))
    };
    let found = losses(&copies("20000", "true"), "");
    assert!(found.len() == 1 && found[0].contains("clone c: of its copies 10000 are planned"), "{found:?}");
    assert_eq!(losses(&copies("INFINITY", "false"), ""), Vec::<String>::new(), "there is one per node at most");
    let found = losses(r#"<bundle id="b"><podman image="i" replicas="3200"/></bundle>"#, "");
    assert!(found.len() == 1 && found[0].contains("of its replicas 1000 are planned"), "{found:?}");
}

#[test]
fn a_copy_without_a_number_is_a_name_and_a_written_state_can_be_read() {
    let import = cib("", "", "", &history("db:", &["start/0/0/0"]));
    let text = crate::state::StateDocument::of(&import.state).text();
    assert!(crate::state::StateDocument::parse(&text).is_ok(), "{text}");
    assert!(text.contains("db:"), "{text}");
}
