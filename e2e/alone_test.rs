//! Nodes that are alone, stand still, or were declared off although they live.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Manifests, SOON, UNDISTURBED, quickstart};
use crate::lab::{PduMode, ProbeKind};
use crate::life_test::{membership, neither, was_fenced};

const VIP: &str = "10.77.0.100";

/// The quickstart, with something of its own for its resources.
fn quickstart_with(line: &str) -> Manifests {
    let mut files = quickstart();
    let text = files.get_mut("web.yaml").expect("it has one");
    *text = text.replace("  operations:", &format!("  {line}\n  operations:"));
    files
}

fn held_by(cluster: &Cluster, node: &str) -> bool {
    cluster.lab.node(node).sh(&format!("ip -4 addr show | grep -q {VIP}/")).success()
}

/// A cluster that serves; and who serves.
fn serving(manifests: &Manifests) -> Option<(Cluster, String)> {
    let cluster = Cluster::with(3, manifests)?;
    cluster.lab.wait_until(SOON, "the web server answers", || cluster.served_by().is_some());
    cluster.settle();
    let active = cluster.served_by().expect("served");
    Some((cluster, active))
}

#[test]
fn without_a_quorum_a_service_stops_and_comes_back_with_it() {
    let Some((cluster, active)) = serving(&quickstart()) else { return };
    let lab = &cluster.lab;
    let watch = lab.watch_vip(VIP);
    let others: Vec<_> = lab.nodes().into_iter().filter(|node| node.name() != active).collect();
    let cut = Instant::now();
    others.iter().for_each(|node| node.off());
    lab.wait_until(SOON, "the service is stopped", || !held_by(&cluster, &active));
    eprintln!("quorum lost: stopped after {} ms", cut.elapsed().as_millis());
    let back = Instant::now();
    others.iter().for_each(|node| node.on());
    lab.wait_until(SOON, "it serves again", || cluster.served_by().is_some());
    eprintln!("quorum back: served after {} ms", back.elapsed().as_millis());
    cluster.settle();
    assert_eq!(watch.finish().overlap, Duration::ZERO);
}

#[test]
fn without_a_quorum_a_frozen_service_goes_on_and_nobody_takes_it_over_unproven() {
    let Some((cluster, active)) = serving(&quickstart_with("quorumLoss: Freeze")) else { return };
    let lab = &cluster.lab;
    let others: Vec<_> = lab.nodes().into_iter().filter(|node| node.name() != active).collect();
    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    others.iter().for_each(|node| node.off());
    std::thread::sleep(Duration::from_secs(4));
    assert!(held_by(&cluster, &active));
    let gap = probe.finish().gap();
    eprintln!("quorum lost with Freeze: gap {} ms", gap.as_millis());
    assert!(gap < UNDISTURBED, "a frozen service was disturbed: {gap:?}");
    // What dies meanwhile is restarted in place, without anybody's leave.
    lab.node(&active).sh("kill -9 $(pgrep -x nginx)").ok();
    lab.wait_until(SOON, "it is restarted alone", || cluster.served_by().as_deref() == Some(active.as_str()));
    others.iter().for_each(|node| node.on());
    lab.wait_until(SOON, "all are online", || cluster.online(&active).len() == 3);
    cluster.settle();
    assert_eq!(cluster.served_by().as_deref(), Some(active.as_str()));

    // The minority side keeps it; the majority cannot prove it off, and so starts nothing.
    for pdu in ["pdu-a", "pdu-b"] {
        lab.set_pdu(pdu, PduMode::Fails);
    }
    let watch = lab.watch_vip(VIP);
    lab.isolate(&active);
    let other = neither(&cluster, &[&active]);
    lab.wait_until(SOON, "fencing fails", || was_fenced_in_vain(&cluster, &other));
    std::thread::sleep(Duration::from_secs(2));
    assert!(held_by(&cluster, &active));
    assert_eq!(cluster.runs_on(&other, "web-ip").unwrap_or_else(|| active.clone()), active);
    let holders = watch.finish();
    assert_eq!(holders.overlap, Duration::ZERO, "{:?}", holders.holders);
    for pdu in ["pdu-a", "pdu-b"] {
        lab.set_pdu(pdu, PduMode::Works);
    }
    lab.heal();
    lab.wait_until(SOON, "all are online", || cluster.online(&other).len() == 3);
    cluster.settle();
    assert!(cluster.served_by().is_some());
}

fn was_fenced_in_vain(cluster: &Cluster, seen_by: &str) -> bool {
    let attempts = cluster.status(seen_by).and_then(|status| status["fencing"].as_array().cloned());
    attempts.unwrap_or_default().iter().any(|attempt| attempt["outcome"] == "Failed")
}

#[test]
fn a_short_stall_is_forgiven_and_a_long_one_is_fenced() {
    let Some((cluster, active)) = serving(&quickstart()) else { return };
    let lab = &cluster.lab;
    let other = neither(&cluster, &[&active]);

    let node = lab.node(&active);
    node.pause_daemon();
    std::thread::sleep(Duration::from_secs(1));
    node.resume_daemon();
    std::thread::sleep(Duration::from_millis(500));
    cluster.settle();
    assert!(!was_fenced(&cluster, &other), "a stall of 1 s was fenced: {}", cluster.events(&other));

    // The daemon alone stands still; the service goes on until the node is fenced.
    let replaced = |what: &str, stall: &dyn Fn(), wake: &dyn Fn()| {
        let victim = cluster.served_by().expect("served");
        let other = neither(&cluster, &[&victim]);
        let led = cluster.leader(&other).as_deref() == Some(&victim);
        let watch = lab.watch_vip(VIP);
        let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
        std::thread::sleep(Duration::from_millis(50));
        let boot = lab.node(&victim).boot_id();
        let began = Instant::now();
        stall();
        lab.wait_until(SOON, "it serves elsewhere", || probe.who_after(began).is_some_and(|who| who.trim() != victim));
        let gap = probe.finish().gap();
        eprintln!(
            "{what} of {victim} (leader: {led}): taken over after {} ms, outage {} ms",
            began.elapsed().as_millis(),
            gap.as_millis()
        );
        wake();
        lab.wait_until(SOON, "the victim is back", || {
            lab.node(&victim).is_up() && membership(&cluster, &other, &victim).as_deref() == Some("Online")
        });
        cluster.settle();
        assert_ne!(lab.node(&victim).boot_id(), boot, "it was not rebooted");
        let seen = watch.finish();
        assert_eq!(seen.overlap, Duration::ZERO, "{:?}", seen.holders);
    };
    let victim = lab.node(&active);
    replaced("stall of the daemon", &|| victim.pause_daemon(), &|| {});
    let victim = cluster.served_by().expect("served");
    let victim = lab.node(&victim);
    replaced("freeze of the node", &|| victim.freeze(), &|| {});

    // The leader, whoever it is by now, while it runs nothing or everything.
    let leader = cluster.leader(&neither(&cluster, &[])).expect("led");
    let other = neither(&cluster, &[&leader]);
    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    let served = cluster.served_by().as_deref() == Some(&leader);
    let began = Instant::now();
    lab.node(&leader).freeze();
    lab.wait_until(SOON, "another leads", || cluster.leader(&other).is_some_and(|now| now != leader));
    eprintln!("leader {leader} frozen (served: {served}): another leads after {} ms", began.elapsed().as_millis());
    std::thread::sleep(Duration::from_secs(4).saturating_sub(began.elapsed()));
    if lab.node(&leader).is_on() && !served {
        lab.node(&leader).thaw();
    }
    lab.wait_until(SOON, "all are online", || cluster.online(&other).len() == 3);
    cluster.settle();
    eprintln!("leader frozen for 4 s: gap {} ms", probe.finish().gap().as_millis());
}

#[test]
fn a_boot_that_was_declared_off_and_lives_raises_an_alarm_and_runs_nothing() {
    let Some((cluster, active)) = serving(&quickstart_with("quorumLoss: Freeze")) else { return };
    let lab = &cluster.lab;
    for pdu in ["pdu-a", "pdu-b"] {
        lab.set_pdu(pdu, PduMode::Lies);
    }
    let other = neither(&cluster, &[&active]);
    lab.isolate(&active);
    lab.wait_until(SOON, "another has it", || cluster.runs_on(&other, "web-ip").is_some_and(|node| node != active));
    assert!(held_by(&cluster, &active), "the victim lives and serves: that is the harm of a lying device");
    let began = Instant::now();
    lab.heal();
    lab.wait_until(SOON, "the victim stops what it runs", || !held_by(&cluster, &active));
    eprintln!("declared off, heard again: it stops everything after {} ms", began.elapsed().as_millis());
    let alarm = |text: &str| {
        let status = cluster.status(&other).unwrap_or_default();
        status["alarms"]
            .as_array()
            .is_some_and(|all| all.iter().any(|a| a["text"].as_str().unwrap_or_default().contains(text)))
    };
    lab.wait_until(SOON, "the alarm is shown", || alarm("was proven off, but its boot"));
    eprintln!("the alarm is shown after {} ms", began.elapsed().as_millis());
    assert_eq!(membership(&cluster, &other, &active).as_deref(), Some("Suspect"));
    // Only a reboot lets it in again.
    for pdu in ["pdu-a", "pdu-b"] {
        lab.set_pdu(pdu, PduMode::Works);
    }
    lab.node(&active).off();
    lab.node(&active).on();
    lab.wait_until(SOON, "it is let in", || membership(&cluster, &other, &active).as_deref() == Some("Online"));
    cluster.settle();
}
