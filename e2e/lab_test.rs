//! Tests of the lab itself: what the other end-to-end tests take for granted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Cable, Feeds, Lab, Link, PduMode, ProbeKind, services};

const VIP: &str = "10.77.0.100";

#[test]
fn nodes_boot_and_see_each_other_on_both_networks() {
    let Some(lab) = Lab::new(3) else { return };
    let begin = Instant::now();
    lab.node("n1").off();
    let off = begin.elapsed();
    let begin = Instant::now();
    lab.node("n1").on();
    let on = begin.elapsed();
    eprintln!("power off {off:?}, on {on:?}");
    assert!(on < Duration::from_secs(5), "a boot took {on:?}");
    assert_eq!(lab.node("n2").sh("hostname").ok(), "n2");
    for link in Link::BOTH {
        for peer in ["n2", "n3"] {
            let address = lab.node(peer).address(link);
            assert!(reaches(&lab, "n1", &address), "n1 does not reach {address}");
        }
    }
}

#[test]
fn a_node_has_its_own_processes_files_devices_and_cgroup() {
    let Some(lab) = Lab::new(1) else { return };
    let node = lab.node("n1");
    assert_eq!(node.sh("cat /proc/1/comm").ok(), "init.sh");
    assert_eq!(node.sh("ls -d /boot /home/* /old/* /dev/watchdog* 2>/dev/null").stdout, "");
    assert_eq!(node.sh("cat /proc/self/cgroup | grep ^0::").ok(), "0::/shell");
    node.sh("touch /etc/of-n1 /usr/of-n1 /var/of-n1 /tmp/of-n1 /dev/shm/of-n1").ok();
    for path in ["/etc/of-n1", "/usr/of-n1", "/var/of-n1", "/tmp/of-n1", "/dev/shm/of-n1"] {
        assert!(!std::path::Path::new(path).exists(), "a node wrote {path} of the host");
    }
    node.sh("(sleep 0.01 &) ; sleep 0.1").ok();
    assert_eq!(node.sh("cat /proc/[0-9]*/stat | grep -c ') Z '").stdout, "0\n", "PID 1 does not reap orphans");
    let timed_out = node.sh_for("echo begun; sleep 60", Duration::from_millis(200));
    assert_eq!((timed_out.status, timed_out.stdout.as_str()), (None, "begun\n"));
}

#[test]
fn a_power_cut_kills_everything_keeps_the_disk_and_changes_the_boot() {
    let Some(lab) = Lab::new(2) else { return };
    let node = lab.node("n1");
    serve_name(&lab, "n1");
    lab.wait_until(Duration::from_secs(5), "n1 answers", || lab.client_http(VIP).as_deref() == Ok("n1"));
    let boot = node.boot_id();
    node.sh("echo kept >/var/lib/kept; echo lost >/run/lost; setsid sleep 1000 >/dev/null 2>&1 &").ok();

    let namespace = pid_namespace(node.pid().expect("is on")).expect("PID 1 is there");
    assert!(processes_in(&namespace) > 3);
    node.off();
    assert!(!node.is_on());
    assert!(node.sh("true").stderr.contains("is off"));
    assert_eq!(processes_in(&namespace), 0, "processes outlived their node's power");
    assert!(lab.client_http(VIP).is_err(), "the address answers after its node lost power");

    node.on();
    assert_ne!(node.boot_id(), boot);
    assert_eq!(node.sh("cat /var/lib/kept").ok(), "kept");
    assert!(!node.sh("test -e /run/lost").success());
    let names = node.sh("cat /proc/[0-9]*/comm | sort -u").ok();
    assert!(!names.contains("nginx"), "a service came back by itself: {names}");
}

#[test]
fn a_stack_starts_at_power_on_and_lives_and_dies_on_its_own() {
    let Some(lab) = Lab::new(1) else { return };
    let node = lab.node("n1");
    node.set_stack("bash -c 'trap \"echo stopped; exit\" TERM; echo started on $(cat $HAFEN_BOOT_ID_FILE); while :; do sleep 0.01; done'");
    assert_eq!(node.daemon_pid(), None);
    node.start_daemon();
    lab.wait_until(Duration::from_secs(5), "the stack logs", || node.logs().contains("started on"));
    let first = node.daemon_pid().expect("runs");
    node.start_daemon();
    assert_eq!(node.daemon_pid(), Some(first), "a second one was started");
    node.stop_daemon();
    assert_eq!(node.daemon_pid(), None);
    assert!(node.logs().contains("stopped"));

    node.start_daemon();
    let started = || node.logs().matches("started on").count();
    lab.wait_until(Duration::from_secs(5), "the stack logs again", || started() == 2);
    node.freeze();
    let lines = node.logs().lines().count();
    let pid = node.daemon_pid().expect("a frozen process is there");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("is there");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(node.logs().lines().count(), lines, "a frozen node did something");
    node.thaw();
    lab.wait_until(Duration::from_secs(5), "the signal arrives after the thaw", || node.logs().lines().count() > lines);
    lab.wait_until(Duration::from_secs(5), "the stack ends", || node.daemon_pid().is_none());

    node.start_daemon();
    node.kill_daemon();
    lab.wait_until(Duration::from_secs(5), "the stack is gone", || node.daemon_pid().is_none());
    node.off();
    node.on();
    let boot = node.boot_id();
    lab.wait_until(Duration::from_secs(5), "the stack of the new boot logs", || node.logs().contains(&boot));
    assert!(node.daemon_pid().is_some());
}

#[test]
fn cables_and_cuts_separate_exactly_what_they_name() {
    let Some(lab) = Lab::new(3) else { return };
    let at = |name: &str, link| lab.node(name).address(link);
    lab.node("n1").set_cable(Link::Eth0, Cable::Pulled);
    assert!(!reaches(&lab, "n2", &at("n1", Link::Eth0)));
    assert!(reaches(&lab, "n2", &at("n1", Link::Eth1)));
    lab.node("n1").plug_cables();
    lab.wait_until(Duration::from_secs(5), "the cable works again", || reaches(&lab, "n2", &at("n1", Link::Eth0)));

    lab.cut("n1", "n2");
    for link in Link::BOTH {
        assert!(!reaches(&lab, "n1", &at("n2", link)));
        assert!(reaches(&lab, "n1", &at("n3", link)));
        assert!(lab.client_sh(&format!("ping -c1 -W1 {}", at("n1", link))).success());
    }
    lab.heal();
    lab.cut_link("n1", "client", Link::Eth0);
    assert!(reaches(&lab, "n1", &at("n2", Link::Eth0)));
    assert!(!lab.client_sh(&format!("ping -c1 -W1 {}", at("n1", Link::Eth0))).success());
    assert!(lab.client_sh(&format!("ping -c1 -W1 {}", at("n1", Link::Eth1))).success());
}

#[test]
fn the_fence_agent_switches_power_and_reports_it() {
    let Some(lab) = Lab::new(2) else { return };
    let (n1, n2) = (lab.node("n1"), lab.node("n2"));
    assert!(n1.sh("fence_lab -o metadata").ok().contains("delay_ms"));
    assert_eq!(n1.sh("echo action=list | fence_lab").ok(), "n1,\nn2,");
    assert_eq!(fence(&lab, "action=monitor"), Some(0));
    assert_eq!(fence(&lab, "action=status plug=n2"), Some(0));
    let begin = Instant::now();
    assert_eq!(fence(&lab, "action=off plug=n2"), Some(0));
    eprintln!("fence_lab off took {:?}", begin.elapsed());
    assert!(!n2.is_on());
    assert_eq!(fence(&lab, "action=status plug=n2"), Some(2));
    assert_eq!(fence(&lab, "action=on plug=n2 pdu=pdu-b"), Some(0));
    lab.wait_until(Duration::from_secs(5), "n2 is up again", || n2.is_up());
    let boot = n2.boot_id();
    assert_eq!(fence(&lab, "action=reboot port=n2 delay_ms=50"), Some(0));
    lab.wait_until(Duration::from_secs(5), "n2 is up again", || n2.is_up());
    assert_ne!(n2.boot_id(), boot);
    assert_eq!(fence(&lab, "action=off plug=n9"), Some(1));
    assert!(lab.events().iter().any(|line| line.ends_with("pdu-a answered: ok")));
}

#[test]
fn a_pdu_fails_hangs_lies_and_sticks_when_told() {
    let Some(lab) = Lab::new(2) else { return };
    let n2 = lab.node("n2");
    lab.set_pdu("pdu-a", PduMode::Fails);
    assert_eq!(fence(&lab, "action=off plug=n2"), Some(1));
    assert_eq!(fence(&lab, "action=status plug=n2"), Some(1));
    lab.set_pdu("pdu-a", PduMode::Hangs);
    let hung = lab.node("n1").sh_for("printf 'action=off\\nplug=n2\\n' | fence_lab", Duration::from_millis(300));
    assert_eq!(hung.status, None);
    lab.set_pdu("pdu-a", PduMode::Lies);
    assert_eq!(fence(&lab, "action=off plug=n2"), Some(0));
    assert_eq!(fence(&lab, "action=status plug=n2"), Some(2));
    lab.set_pdu("pdu-a", PduMode::Sticks);
    assert_eq!(fence(&lab, "action=off plug=n2"), Some(0));
    assert_eq!(fence(&lab, "action=status plug=n2"), Some(0));
    assert!(n2.is_on(), "a PDU that does not work has switched");
    lab.set_pdu("pdu-a", PduMode::Works);

    lab.set_feeds(Feeds::BothNeeded);
    assert_eq!(fence(&lab, "action=off plug=n2"), Some(0));
    assert_eq!(fence(&lab, "action=status plug=n2"), Some(2));
    assert!(n2.is_on(), "one of two power supplies is enough");
    assert_eq!(fence(&lab, "action=off plug=n2 pdu=pdu-b"), Some(0));
    assert!(!n2.is_on());
}

#[test]
fn the_prober_and_the_observer_measure_a_move_of_the_address() {
    let Some(lab) = Lab::new(2) else { return };
    serve_name(&lab, "n1");
    serve_name(&lab, "n2");
    lab.node("n2").sh(&format!("ip addr del {VIP}/24 dev eth0")).ok();
    lab.wait_until(Duration::from_secs(5), "n1 answers", || lab.client_http(VIP).as_deref() == Ok("n1"));
    let probe = lab.probe("10.77.0.100:80", ProbeKind::Http);
    let watch = lab.watch_vip(VIP);
    std::thread::sleep(Duration::from_millis(200));
    lab.node("n1").sh(&format!("ip addr del {VIP}/24 dev eth0; sleep 0.4")).ok();
    let begin = Instant::now();
    take_address(&lab, "n2");
    lab.wait_until(Duration::from_secs(5), "n2 answers", || probe.who_after(begin).as_deref() == Some("n2"));
    lab.node("n1").sh(&format!("ip addr add {VIP}/24 dev eth0; sleep 0.3; ip addr del {VIP}/24 dev eth0")).ok();
    let (report, seen) = (probe.finish(), watch.finish());
    eprintln!("gap {:?}, overlap {:?}, {} answers", report.gap(), seen.overlap, report.answered());
    assert!((400..1500).contains(&report.gap().as_millis()), "gap {:?}", report.gap());
    assert_eq!(report.who()[..2], ["n1", "n2"]);
    assert!(report.failed() > 0);
    assert!((250..1500).contains(&seen.overlap.as_millis()), "overlap {:?}", seen.overlap);
    let counts: Vec<usize> = seen.holders.iter().map(|holders| holders.len()).collect();
    assert_eq!(counts, [1, 0, 1, 2, 1]);
}

#[test]
fn a_database_on_shared_storage_starts_stops_and_is_seen_when_it_runs_twice() {
    let Some(lab) = Lab::new(2) else { return };
    let n1 = lab.node("n1");
    services::prepare_mariadb(&lab);
    let watch = lab.watch_directory("mariadbd", "mysql");
    let probe = lab.probe("10.77.0.11:3306", ProbeKind::Greeting);
    let mysql = |action| {
        let begin = Instant::now();
        let output = services::ocf(n1, "mysql", services::MARIADB, action);
        eprintln!("mysql {action} took {:?}", begin.elapsed());
        output.status
    };
    assert_eq!(mysql("monitor"), Some(7));
    let begin = Instant::now();
    assert_eq!(mysql("start"), Some(0));
    assert_eq!(mysql("monitor"), Some(0));
    // A copy of the process on another node, as far as an observer can tell: same name, same folder.
    let copy = "cp /usr/bin/sleep /tmp/mariadbd && cd /srv/shared/mysql && timeout 0.3 /tmp/mariadbd 5";
    assert_eq!(lab.node("n2").sh(copy).status, Some(124));
    assert_eq!(mysql("stop"), Some(0));
    assert_eq!(mysql("monitor"), Some(7));
    let report = probe.finish();
    eprintln!("first greeting {:?} after start began", report.served_after(begin));
    assert!(report.answered() > 100);
    let seen = watch.finish();
    assert!((150..1000).contains(&seen.overlap.as_millis()), "overlap {:?}", seen.overlap);
    assert_eq!(seen.holders.iter().map(|nodes| nodes.len()).max(), Some(2));
    assert_eq!(seen.holders.last().map(|nodes| nodes.len()), Some(0));
}

#[test]
fn a_node_may_have_systemd_as_pid_1_with_units_and_d_bus() {
    let begin = Instant::now();
    let Some(lab) = Lab::with_systemd(2) else { return };
    eprintln!("two nodes with systemd up after {:?}", begin.elapsed());
    let n1 = lab.node("n1");
    assert_eq!(n1.sh("cat /proc/1/comm").ok(), "systemd");
    let unit = "[Service]\\nExecStart=/bin/sleep 1000\\n";
    n1.sh(&format!("printf '{unit}' >/etc/systemd/system/nap.service; systemctl daemon-reload; systemctl start nap"))
        .ok();
    assert_eq!(n1.sh("systemctl is-active nap").ok(), "active");
    let manager = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager";
    n1.sh(&format!("busctl call {manager} StopUnit ss nap.service replace")).ok();
    lab.wait_until(Duration::from_secs(5), "nap stops", || n1.sh("systemctl is-active nap").stdout == "inactive\n");
    assert_eq!(n1.sh("systemctl --failed --no-legend").ok(), "");
    let boot = n1.boot_id();
    n1.off();
    n1.on();
    assert_ne!(n1.boot_id(), boot);
    assert!(n1.sh("systemctl cat nap").success());
}

#[test]
fn a_lab_leaves_nothing_behind() {
    let Some(lab) = Lab::new(2) else { return };
    let dir = lab.dir().to_owned();
    let name = dir.file_name().expect("has one").to_string_lossy().into_owned();
    let pids: Vec<i32> = lab.nodes().iter().filter_map(|node| node.pid()).collect();
    lab.node("n2").sh("setsid sleep 1000 >/dev/null 2>&1 &").ok();
    drop(lab);
    assert!(!dir.exists());
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
    let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    assert!(!namespaces.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&name)));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(&name));
}

fn pid_namespace(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// How many processes of the host are in a pid namespace.
fn processes_in(namespace: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").expect("readable").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| pid_namespace(*pid).as_deref() == Some(namespace)).count()
}

fn reaches(lab: &Lab, from: &str, address: &str) -> bool {
    lab.node(from).sh(&format!("ping -c1 -W1 {address}")).success()
}

/// Runs `fence_lab` on n1 with these space-separated parameters.
fn fence(lab: &Lab, parameters: &str) -> Option<i32> {
    lab.node("n1").sh(&format!("printf '%s\\n' {parameters} | fence_lab")).status
}

/// A web server on the node that answers with the node's name, and the address of the service.
fn serve_name(lab: &Lab, name: &str) {
    services::prepare_web(lab);
    services::ocf(lab.node(name), "nginx", services::NGINX, "start").ok();
    take_address(lab, name);
}

fn take_address(lab: &Lab, name: &str) {
    services::ocf(lab.node(name), "IPaddr2", &[("ip", VIP), ("cidr_netmask", "24")], "start").ok();
}
