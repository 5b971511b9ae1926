//! A database on shared storage whose node loses power, again and again, while a client inserts rows through its address.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::{Cluster, SOON, mariadb};
use crate::lab::{PduMode, services};

const VIP: &str = "10.77.0.101";
const ROWS_BEFORE_A_CUT: usize = 1000;

/// In this round the first fencing level does not work.
const ROUND_OF_THE_BROKEN_PDU: usize = 1;

/// What the promise was accepted with.
const ROUNDS: usize = 10;

/// The moments of one failover, in ms after the cut, from the events.
fn phases(events: &[Value], cut_ms: u64) -> Vec<(String, u64)> {
    let after = |kind: &str, instance: Option<&str>| {
        let fits = |event: &&Value| event["kind"] == kind && instance.is_none_or(|name| event["instance"] == name);
        let at = events.iter().rev().find(fits)?["atMs"].as_u64()?;
        Some(at.saturating_sub(cut_ms))
    };
    let moments = [
        ("suspected", after("Suspected", None)),
        ("fence started", after("FenceStarted", None)),
        ("off", after("FenceSucceeded", None)),
        ("address granted", after("Claimed", Some("db-ip"))),
        ("address up", after("Started", Some("db-ip"))),
        ("database granted", after("Claimed", Some("mariadb"))),
    ];
    moments.into_iter().filter_map(|(name, at)| Some((name.to_owned(), at?))).collect()
}

fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

#[test]
fn no_acknowledged_row_is_lost_when_the_node_of_the_database_loses_power() {
    let Some(cluster) = Cluster::new(3) else { return };
    let lab = &cluster.lab;
    services::prepare_mariadb(lab);
    let servers = lab.watch_directory("mariadbd", "mysql");
    let addresses = lab.watch_vip(VIP);
    cluster.push("n1", &mariadb(), "").ok();
    cluster.settle();
    let sql = |text: &str| {
        let node = cluster.runs_on(&cluster.other_than(""), "mariadb").expect("the database runs");
        lab.node(&node).sh(&format!("mariadb -NB -e \"{text}\"")).ok()
    };
    sql("CREATE DATABASE shop; CREATE TABLE shop.orders (id BIGINT PRIMARY KEY) ENGINE=InnoDB; \
         CREATE USER client@'%'; GRANT INSERT ON shop.* TO client@'%'");
    let rows = lab.insert_rows(&format!("{VIP}:3306"), "client", "shop.orders");

    for round in 0..ROUNDS {
        let had = rows.count();
        lab.wait_until(SOON, "enough rows are acknowledged", || rows.count() >= had + ROWS_BEFORE_A_CUT);
        let victim = cluster.runs_on(&cluster.other_than(""), "mariadb").expect("the database runs");
        let other = cluster.other_than(&victim);
        let led = cluster.leader(&other).as_deref() == Some(&victim);
        let index = cluster.status(&other).expect("asked")["index"].as_u64().expect("a number");
        if round == ROUND_OF_THE_BROKEN_PDU {
            lab.set_pdu("pdu-a", PduMode::Fails);
        }
        let (cut, cut_ms) = (Instant::now(), wall_ms());
        lab.node(&victim).off();
        let stopped = rows.count();
        lab.wait_until(SOON, "rows are acknowledged again", || rows.count() > stopped + 10 && rows.flows());
        let outage = rows.gap_since(cut);
        let events = cluster.events_after(&other, index);
        let told: Vec<String> = phases(&events, cut_ms).iter().map(|(name, at)| format!("{name} {at}")).collect();
        eprintln!(
            "round {round}: {} rows, {victim} cut (leader: {led}), outage {} ms; ms after the cut: {}",
            rows.count(),
            outage.as_millis(),
            told.join(", ")
        );
        let fenced: Vec<&str> =
            events.iter().filter(|e| e["kind"] == "FenceStarted").filter_map(|e| e["text"].as_str()).collect();
        if round == ROUND_OF_THE_BROKEN_PDU {
            assert!(
                fenced.last().is_some_and(|text| text.contains("pdu-b")),
                "the second level was not used: {fenced:?}"
            );
            lab.set_pdu("pdu-a", PduMode::Works);
        } else {
            assert!(fenced.iter().all(|text| text.contains("pdu-a")), "more than the first level: {fenced:?}");
        }
        lab.wait_until(SOON, "the victim is back", || lab.node(&victim).is_up() && cluster.online(&other).len() == 3);
        cluster.settle();
    }

    let acknowledged = rows.finish();
    let there: BTreeSet<u64> =
        sql("SELECT id FROM shop.orders").lines().map(|line| line.parse().expect("a number")).collect();
    let lost: Vec<_> = acknowledged.rows.difference(&there).collect();
    eprintln!("{} rows acknowledged, {} there", acknowledged.rows.len(), there.len());
    assert!(acknowledged.rows.len() >= ROUNDS * ROWS_BEFORE_A_CUT);
    assert!(lost.is_empty(), "{} acknowledged rows are lost: {lost:?}", lost.len());
    let (servers, addresses) = (servers.finish(), addresses.finish());
    assert_eq!(servers.overlap, Duration::ZERO, "two servers worked on the data: {:?}", servers.holders);
    assert_eq!(addresses.overlap, Duration::ZERO, "two nodes held {VIP}: {:?}", addresses.holders);
    assert!(servers.holders.iter().filter(|nodes| !nodes.is_empty()).count() > ROUNDS, "the observer saw too little");
}
