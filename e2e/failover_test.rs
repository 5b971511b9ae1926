//! Nodes, links and services that die, and what clients see of it.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON, UNDISTURBED, quickstart};
use crate::lab::{Link, Loss, PduMode};

/// Cuts the power of a node while clients ask, and returns what they saw.
fn power_cut(cluster: &Cluster, victim: &str) -> Duration {
    cluster.gap_while(|probe| {
        let cut = Instant::now();
        cluster.lab.node(victim).off();
        cluster
            .lab
            .wait_until(SOON, "another node answers", || probe.who_after(cut).is_some_and(|who| who.trim() != victim));
    })
}

fn wait_for_all(cluster: &Cluster, victim: &str) {
    // Fenced with `reboot`, it is switched on and joins by itself.
    let other = cluster.other_than(victim);
    let all = cluster.lab.nodes().len();
    cluster.lab.wait_until(SOON, "the victim is back", || {
        cluster.lab.node(victim).is_up() && cluster.online(&other).len() == all
    });
    cluster.settle();
}

#[test]
fn a_power_cut_of_the_active_node_moves_the_service_and_the_node_comes_back() {
    let Some(cluster) = Cluster::quickstart() else { return };
    for round in 0..2 {
        let victim = cluster.served_by().expect("served");
        let led = cluster.leader(&cluster.other_than(&victim)).as_deref() == Some(&victim);
        let gap = power_cut(&cluster, &victim);
        eprintln!("round {round}: {victim} was cut (leader: {led}), outage {} ms", gap.as_millis());
        assert!(gap < Duration::from_secs(10), "an outage of {gap:?}");
        wait_for_all(&cluster, &victim);
    }
    the_leader_is_cut(&cluster);
    a_node_cut_off_from_the_others_is_fenced(&cluster);
    a_node_that_is_heard_and_hears_nobody_is_fenced(&cluster);
}

/// Another node serves: nobody notices.
fn the_leader_is_cut(cluster: &Cluster) {
    let leader = cluster.leader("n1").expect("somebody leads");
    if cluster.served_by().as_deref() == Some(&leader) {
        let to = cluster.other_than(&leader);
        cluster.hafen(&to, &format!("move web --to {to}")).ok();
        cluster.settle();
    }
    let gap = cluster.gap_while(|_| {
        cluster.lab.node(&leader).off();
        let other = cluster.other_than(&leader);
        cluster.lab.wait_until(SOON, "another node leads", || cluster.leader(&other).is_some_and(|now| now != leader));
    });
    eprintln!("the leader {leader} was cut while another node served: longest gap {} ms", gap.as_millis());
    assert!(gap < UNDISTURBED, "a gap of {gap:?}");
    // Nothing runs there, so nobody switches it on.
    cluster.lab.wait_until(SOON, "it is suspected", || {
        cluster.status(&cluster.other_than(&leader)).is_some_and(|s| s["health"] == "Degraded")
    });
    cluster.lab.node(&leader).on();
    wait_for_all(cluster, &leader);
}

/// Clients still reach it, and it still holds the address: only fencing makes a second owner impossible.
fn a_node_cut_off_from_the_others_is_fenced(cluster: &Cluster) {
    let victim = cluster.served_by().expect("served");
    let boot = cluster.lab.node(&victim).boot_id();
    let gap = cluster.gap_while(|probe| {
        let cut = Instant::now();
        cluster.lab.isolate(&victim);
        cluster
            .lab
            .wait_until(SOON, "another node answers", || probe.who_after(cut).is_some_and(|who| who.trim() != victim));
    });
    eprintln!("{victim} was cut off from the others: outage {} ms", gap.as_millis());
    cluster.lab.heal();
    wait_for_all(cluster, &victim);
    assert_ne!(cluster.lab.node(&victim).boot_id(), boot, "it was not fenced");
}

/// Its beats go on saying that it is there: that it hears no majority is its own word, and enough.
fn a_node_that_is_heard_and_hears_nobody_is_fenced(cluster: &Cluster) {
    let leader = cluster.leader("n1").expect("somebody leads");
    if cluster.served_by().as_ref() == Some(&leader) {
        let to = cluster.other_than(&leader);
        cluster.hafen(&to, &format!("move web --to {to}")).ok();
        cluster.settle();
    }
    let victim = cluster.served_by().expect("served");
    let others = cluster.lab.nodes().into_iter().map(|node| node.name().to_owned()).filter(|name| *name != victim);
    let losses = others.map(|other| Loss { from: Some(other), to: Some(victim.clone()), link: None, percent: 100 });
    let (losses, boot) = (losses.collect::<Vec<_>>(), cluster.lab.node(&victim).boot_id());
    let gap = cluster.gap_while(|probe| {
        let cut = Instant::now();
        cluster.lab.set_losses(&losses);
        cluster
            .lab
            .wait_until(SOON, "another node answers", || probe.who_after(cut).is_some_and(|who| who.trim() != victim));
    });
    eprintln!("{victim} hears nobody: outage {} ms", gap.as_millis());
    assert!(gap < Duration::from_secs(10), "an outage of {gap:?}");
    let told = cluster.events(&cluster.other_than(&victim));
    assert!(told.contains("it hears too few of the voters"), "{told}");
    cluster.lab.set_losses(&[]);
    wait_for_all(cluster, &victim);
    assert_ne!(cluster.lab.node(&victim).boot_id(), boot, "it was not fenced");
}

#[test]
fn the_cut_of_one_link_is_noticed_by_the_status_and_by_nobody_else() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let active = cluster.served_by().expect("served");
    let other = cluster.other_than(&active);
    for link in Link::BOTH {
        let gap = cluster.gap_while(|_| {
            for name in cluster.lab.nodes().iter().map(|node| node.name()).filter(|name| **name != active) {
                cluster.lab.cut_link(&active, name, link);
            }
            let cut = Instant::now();
            let is_down = || {
                let status = cluster.status(&other)?;
                let node = status["nodes"].as_array()?.iter().find(|node| node["name"] == *active)?.clone();
                Some(node["links"][link.number()]["up"] == false && node["links"][1 - link.number()]["up"] == true)
            };
            cluster.lab.wait_until(SOON, "the status shows the link as down", || is_down() == Some(true));
            eprintln!("{link:?} of {active} was cut, shown after {} ms", cut.elapsed().as_millis());
            // Longer than a node is suspected after.
            std::thread::sleep(Duration::from_millis(2500));
        });
        eprintln!("longest gap with {link:?} cut: {} ms", gap.as_millis());
        assert!(gap < UNDISTURBED, "a gap of {gap:?}");
        let events = cluster.events(&other);
        assert!(!events.contains("Suspected") && !events.contains("FenceStarted"), "{events}");
        assert!(cluster.hafen(&other, "status").stdout.contains(" down for "));
        cluster.lab.heal();
        cluster.lab.wait_until(SOON, "the link is up again", || {
            cluster.status(&other).is_some_and(|status| !status["summary"].to_string().contains("link"))
        });
    }
    assert_eq!(cluster.served_by(), Some(active));
}

#[test]
fn a_killed_service_is_recovered_in_place_and_moves_at_the_threshold() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let active = cluster.served_by().expect("served");
    for kill in ["kill -9 $(cat /run/nginx.pid)", "kill -9 $(pgrep -x nginx)"] {
        let gap = cluster.gap_while(|_| {
            // Later than the watch of a start that just ended.
            std::thread::sleep(Duration::from_millis(300));
            let master = cluster.lab.node(&active).sh("cat /run/nginx.pid").ok();
            cluster.lab.node(&active).sh(kill).ok();
            cluster.lab.wait_until(SOON, "the service has a new master", || {
                let now = cluster.lab.node(&active).sh("cat /run/nginx.pid").stdout;
                !now.trim().is_empty() && now.trim() != master && cluster.served_by().as_ref() == Some(&active)
            });
        });
        eprintln!("`{kill}`: outage {} ms", gap.as_millis());
        assert!(gap < Duration::from_secs(2), "an outage of {gap:?}");
        cluster.settle();
    }
    let status = cluster.status(&active).expect("asked");
    let server = status["resources"].as_array().and_then(|all| all.iter().find(|r| r["instance"] == "web-server"));
    assert_eq!(server.expect("shown")["failCount"], 2, "{status:#}");
    let gap = cluster.gap_while(|_| {
        cluster.lab.node(&active).sh("kill -9 $(pgrep -x nginx)").ok();
        cluster.lab.wait_until(SOON, "another node answers", || {
            cluster.served_by().is_some_and(|by| by != active) && cluster.status(&active).is_some()
        });
    });
    eprintln!("the third failure moves it: outage {} ms", gap.as_millis());
    cluster.settle();
    let why = cluster.hafen(&active, &format!("why web-server --not {active}"));
    eprintln!("{}", why.stdout);
    assert!(why.stdout.contains("failed 3 times"), "{why:#?}");
    cluster.hafen(&active, "cleanup web-server").ok();
    assert!(!cluster.hafen(&active, "status").stdout.contains("failed"));
}

#[test]
fn without_a_working_fencing_device_all_is_blocked_until_an_operator_confirms() {
    let Some(cluster) = Cluster::quickstart() else { return };
    cluster.lab.set_pdu("pdu-a", PduMode::Fails);
    let victim = cluster.served_by().expect("served");
    let other = cluster.other_than(&victim);
    let refused = cluster.hafen(&other, &format!("fence confirm {victim} --yes --reason 'wrong machine'"));
    assert_eq!(refused.status, Some(107), "{refused:#?}");
    cluster.lab.node(&victim).off();
    cluster.lab.wait_until(SOON, "the fencing has failed", || cluster.events(&other).contains("FenceFailed"));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(cluster.served_by(), None, "it runs elsewhere without evidence");
    let status = cluster.hafen(&other, "status");
    eprintln!("{}", status.stdout);
    assert_eq!(status.status, Some(1));
    let why = cluster.hafen(&other, "why web-server");
    eprintln!("{}", why.stdout);
    assert_eq!(why.status, Some(1));
    assert!(why.stdout.contains(&victim), "{why:#?}");
    let confirmed = Instant::now();
    cluster.hafen(&other, &format!("fence confirm {victim} --yes --reason 'pulled its plug'")).ok();
    cluster.lab.wait_until(SOON, "another node answers", || cluster.served_by().is_some());
    eprintln!("served {} ms after the confirmation", confirmed.elapsed().as_millis());
    cluster.lab.set_pdu("pdu-a", PduMode::Works);
    cluster.lab.node(&victim).on();
    wait_for_all(&cluster, &victim);
}

#[test]
fn when_the_executor_of_a_fencing_is_lost_another_takes_over() {
    let Some(cluster) = Cluster::with(5, &five(&quickstart())) else { return };
    cluster.lab.wait_until(SOON, "the web server answers", || cluster.served_by().is_some());
    cluster.settle();
    cluster.lab.set_pdu("pdu-a", PduMode::Hangs);
    let victim = cluster.served_by().expect("served");
    cluster.lab.node(&victim).off();
    let asked = cluster.other_than(&victim);
    let executor = || {
        let status = cluster.status(&asked)?;
        let open = status["fencing"].as_array()?.iter().find(|attempt| attempt["outcome"] == "Open")?.clone();
        open["executor"].as_str().map(str::to_owned)
    };
    cluster.lab.wait_until(SOON, "a fencing is going on", || executor().is_some());
    let first = executor().expect("just seen");
    let cut = Instant::now();
    cluster.lab.node(&first).off();
    cluster.lab.set_pdu("pdu-a", PduMode::Works);
    cluster.lab.wait_until(SOON, "another node answers", || cluster.served_by().is_some());
    eprintln!("the executor {first} was cut as well: served after another {} ms", cut.elapsed().as_millis());
}

/// Two more voters.
fn five(manifests: &crate::cluster::Manifests) -> crate::cluster::Manifests {
    let mut manifests = manifests.clone();
    let nodes = manifests.get_mut("nodes.yaml").expect("the example has nodes");
    let third = nodes.split("---\n").last().expect("one at least").to_owned();
    for number in ["4", "5"] {
        let another = third.replace("n3", &format!("n{number}")).replace(".13", &format!(".1{number}"));
        *nodes = format!("{nodes}\n---\n{another}");
    }
    manifests
}
