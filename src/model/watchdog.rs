//! The times of leases and watchdogs, and the one sum that must hold between them.
//!
//! A node that only its watchdog fences is proven off by time alone: so long after the last heartbeat of it that the
//! leader acknowledged, it has let go of everything or was reset. [`LeaseTiming::sum`] is the whole argument:
//! `(selfStopAfter + stopBudget + 2 x watchdog time-out + resetLatency) x (1 + d) + margin <= leaseTtl x (1 - d)`.
//!
//! Twice the time-out, since some devices count it in two stages, and one pet may come just before the end. `d` bounds
//! how far two machines' clocks drift apart. Pure, in whole microseconds: rounded against the claim that it holds.

use super::duration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The agent name of a FencingDevice that means the watchdog of the node itself.
pub const WATCHDOG_AGENT: &str = "watchdog";
/// Below this a majority is left without some voter only if that voter cannot be the one that is lost.
pub const MIN_WATCHDOG_VOTERS: usize = 3;

/// `Cluster.spec.watchdog`: how long which step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTiming {
    /// A boot is over so long after its last acknowledged heartbeat.
    pub lease_ttl: Duration,
    /// A node whose newest acknowledged heartbeat was sent so long ago begins to stop what it runs.
    pub self_stop_after: Duration,
    /// It has so long for that; then it pets no more.
    pub stop_budget: Duration,
    /// What the driver is asked for. Drivers count whole seconds; what they answer counts.
    pub timeout: Duration,
    /// From the device's decision to a machine that does nothing any more.
    pub reset_latency: Duration,
    pub margin: Duration,
    /// How far clocks drift, in parts per million.
    pub drift_ppm: u32,
}

/// What a node says of its watchdog, as the driver answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogFacts {
    /// The driver's name for it.
    pub identity: String,
    /// Read back from the driver.
    pub timeout: Duration,
    pub kind: WatchdogKind,
}

/// What a watchdog is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WatchdogKind {
    Hardware,
    /// A timer of the kernel (softdog) on a machine of its own.
    Software,
    /// A timer of a guest's kernel. A guest can be paused, and its timer with it: no evidence.
    SoftwareInGuest,
}

impl LeaseTiming {
    /// 12 s: a takeover by watchdog alone within 15 s.
    pub const DEFAULT: Self = Self {
        lease_ttl: Duration::from_secs(12),
        self_stop_after: Duration::from_millis(1500),
        stop_budget: Duration::from_secs(2),
        timeout: Duration::from_secs(3),
        reset_latency: Duration::from_secs(1),
        margin: Duration::from_secs(1),
        drift_ppm: 1_000,
    };

    /// The time-out that a driver can be asked for: whole seconds, one at least.
    pub fn whole_timeout(&self) -> Duration {
        Duration::from_secs((self.timeout.as_micros() as u64).div_ceil(1_000_000).max(1))
    }

    /// How long after its newest acknowledged heartbeat was sent a node may pet at most.
    pub fn pet_until(&self) -> Duration {
        self.self_stop_after + self.stop_budget
    }

    /// The sum for a device with this time-out.
    pub fn sum(&self, timeout: Duration) -> LeaseSum {
        let us = |duration: Duration| duration.as_micros();
        let million = 1_000_000u128;
        let (drift, ttl) = (u128::from(self.drift_ppm).min(million), us(self.lease_ttl));
        let steps = us(self.self_stop_after) + us(self.stop_budget) + 2 * us(timeout) + us(self.reset_latency);
        let needed = (steps * (million + drift)).div_ceil(million) + us(self.margin);
        let micros = |us: u128| Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX));
        LeaseSum { timing: *self, timeout, needed: micros(needed), allowed: micros(ttl * (million - drift) / million) }
    }
}

/// The sum, worked out: print it to see every addend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSum {
    timing: LeaseTiming,
    timeout: Duration,
    /// So long after its last acknowledged heartbeat the node surely runs nothing.
    pub needed: Duration,
    /// So long the others surely wait.
    pub allowed: Duration,
}

impl LeaseSum {
    pub fn holds(&self) -> bool {
        self.needed <= self.allowed
    }
}

impl fmt::Display for LeaseSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.timing;
        let show = |time: Duration| duration::format(Duration::from_millis(time.as_micros().div_ceil(1000) as u64));
        let percent = f64::from(t.drift_ppm) / 10_000.0;
        write!(
            f,
            "({} selfStopAfter + {} stopBudget + 2 x {} watchdog time-out + {} resetLatency) x (1 + {percent}%) + {} \
             margin = {}, {} {} leaseTtl x (1 - {percent}%) = {}",
            show(t.self_stop_after),
            show(t.stop_budget),
            show(self.timeout),
            show(t.reset_latency),
            show(t.margin),
            show(self.needed),
            if self.holds() { "within" } else { "more than" },
            show(t.lease_ttl),
            duration::format(self.allowed),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_the_sum_prints_every_addend() {
        let sum = LeaseTiming::DEFAULT.sum(LeaseTiming::DEFAULT.whole_timeout());
        assert!(sum.holds());
        assert_eq!(
            sum.to_string(),
            "(1s500ms selfStopAfter + 2s stopBudget + 2 x 3s watchdog time-out + 1s resetLatency) x (1 + 0.1%) + 1s \
             margin = 11s511ms, within 12s leaseTtl x (1 - 0.1%) = 11s988ms"
        );
    }

    #[test]
    fn every_addend_counts() {
        let ok = |timing: LeaseTiming| timing.sum(timing.timeout).holds();
        let more = Duration::from_millis(500);
        let t = LeaseTiming::DEFAULT;
        assert!(!ok(LeaseTiming { self_stop_after: t.self_stop_after + more, ..t }));
        assert!(!ok(LeaseTiming { stop_budget: t.stop_budget + more, ..t }));
        assert!(!ok(LeaseTiming { timeout: t.timeout + more, ..t }), "twice the time-out");
        assert!(ok(LeaseTiming { timeout: t.timeout + Duration::from_millis(200), ..t }));
        assert!(!ok(LeaseTiming { reset_latency: t.reset_latency + more, ..t }));
        assert!(!ok(LeaseTiming { margin: t.margin + more, ..t }));
        assert!(!ok(LeaseTiming { lease_ttl: t.lease_ttl - more, ..t }));
        assert!(!ok(LeaseTiming { drift_ppm: 50_000, ..t }));
    }

    #[test]
    fn drivers_count_whole_seconds() {
        let whole = |ms| LeaseTiming { timeout: Duration::from_millis(ms), ..LeaseTiming::DEFAULT }.whole_timeout();
        assert_eq!([whole(1), whole(2500), whole(3000)].map(|time| time.as_secs()), [1, 3, 3]);
    }

    proptest::proptest! {
        #[test]
        fn no_times_panic(times in proptest::array::uniform6(0u64..=duration::LONGEST.as_millis() as u64), drift: u32) {
            let [a, b, c, d, e, f] = times.map(Duration::from_millis);
            let timing = LeaseTiming {
                lease_ttl: a, self_stop_after: b, stop_budget: c, timeout: d, reset_latency: e, margin: f, drift_ppm: drift,
            };
            let _ = timing.sum(timing.whole_timeout()).to_string();
        }
    }
}
