//! Do the times leave room for what they are for: is everything looked at, can failures add up, can devices use their time?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → findings. The times of the watchdog and of detection are judged where
//! their evidence is (`check_fencing`, `check_nodes`), those that agents suggest in `check_agents`.

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::RawResource;
use super::report::Report;
use super::resolve::{Chain, FAILURE, FENCING_TIMEOUT, MONITOR_INTERVAL};
use super::topology::Topology;
use crate::model::{OpName, duration};
use std::time::Duration;

pub(super) fn check(tree: &Tree, topology: &Topology, report: &mut Report) {
    for (doc, resource) in tree.resources() {
        let chain = Chain::of(tree, topology, &doc.name, resource);
        if !chain.is_in_maintenance() {
            monitor(doc, resource, &chain, report);
        }
    }
    devices(tree, report);
}

fn monitor(doc: &Doc, resource: &RawResource, chain: &Chain, report: &mut Report) {
    let interval = chain.operation(OpName::Monitor).and_then(|operation| operation.interval);
    let interval = interval.map_or(MONITOR_INTERVAL, |time| time.0);
    if interval.is_zero() {
        let message = format!("`{}` is never looked at: `interval: 0s` switches its monitor off", doc.name);
        let help = "write how often its agent shall look, such as `monitor: { interval: 10s }`".to_owned();
        report.add(Code::NoMonitor, doc.file, doc.span(&["operations", "monitor", "interval"]), message, Some(help));
        return;
    }
    let threshold = chain.threshold().unwrap_or(FAILURE.threshold);
    let forgotten = chain.failure_timeout().unwrap_or(FAILURE.timeout);
    // What fails at every look fails for the last time so long after the first.
    let needed = interval.checked_mul(threshold.saturating_sub(1)).unwrap_or(Duration::MAX);
    if threshold > 1 && !forgotten.is_zero() && needed >= forgotten {
        let (each, within) = (duration::format(interval), duration::format(forgotten));
        let message = format!(
            "`{}` never reaches {threshold} failures: it is looked at every {each}, and failures are forgotten after {within}",
            doc.name
        );
        let help = format!(
            "make `failure.timeout` longer than {}, or `monitor.interval` or `failure.threshold` smaller",
            duration::format(needed)
        );
        let path: &[&str] = match (&resource.failure, &resource.operations) {
            (Some(_), _) => &["failure"],
            (None, Some(_)) => &["operations", "monitor", "interval"],
            (None, None) => &["agent"],
        };
        report.add(Code::ForgottenFailures, doc.file, doc.span(path), message, Some(help));
    }
}

/// An attempt ends all that is done in it.
fn devices(tree: &Tree, report: &mut Report) {
    let fencing = tree.clusters().next().and_then(|(_, cluster)| cluster.fencing.as_ref());
    let attempt = fencing.and_then(|fencing| fencing.timeout).map_or(FENCING_TIMEOUT, |time| time.0);
    for (doc, raw) in tree.devices() {
        if let Some(timeout) = raw.timeout.map(|time| time.0).filter(|timeout| *timeout > attempt) {
            let (timeout, attempt) = (duration::format(timeout), duration::format(attempt));
            let message = format!("the device may take {timeout}, but the whole attempt ends after {attempt}");
            let help = format!("give the Cluster `fencing: {{ timeout: {timeout} }}` or more, or the device less");
            report.add(Code::DeviceOutlivesAttempt, doc.file, doc.span(&["timeout"]), message, Some(help));
        }
    }
}
