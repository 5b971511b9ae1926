//! One attempt, as its executor carries it out: every device of a level off, every one read off again; then, for a reboot
//! whose result is committed, every one on.
//!
//! [`switch_off`] → a [`FenceOutcome`]: `Off` only if every `off` succeeded and, after the last of them, every device reads
//! off. A time-out, of one device or of all, is a failure. Nothing is kept between attempts.

use crate::agent::{FenceReading, FenceReport, FenceRequest, Runner, Verb};
use crate::model::{DeviceId, FencingDevice, NodeId, duration};
use crate::state::FenceOutcome;
use std::future::Future;
use std::time::Duration;

/// Whoever talks to devices.
pub(super) trait Hands {
    fn fence(&self, request: FenceRequest) -> impl Future<Output = FenceReport> + Send;
}

impl Hands for Runner {
    async fn fence(&self, request: FenceRequest) -> FenceReport {
        Runner::fence(self, request).await
    }
}

/// One attempt with one level, within `timeout`.
pub(super) async fn switch_off(
    hands: &impl Hands,
    target: &NodeId,
    devices: &[(DeviceId, FencingDevice)],
    timeout: Duration,
) -> FenceOutcome {
    match tokio::time::timeout(timeout, all_off(hands, target, devices, timeout)).await {
        Ok(outcome) => outcome,
        Err(_) => FenceOutcome::Failed(format!("not done within {}", duration::format(timeout))),
    }
}

/// Every device off at the same time; then, after the last one, every device read again.
async fn all_off(
    hands: &impl Hands,
    target: &NodeId,
    devices: &[(DeviceId, FencingDevice)],
    timeout: Duration,
) -> FenceOutcome {
    if devices.is_empty() {
        return FenceOutcome::Failed("the level has no devices".into());
    }
    for (name, reading) in ask_all(hands, target, devices, Verb::Off, timeout).await {
        match reading {
            FenceReading::PoweredOff => {}
            // That a device did as it was told is no evidence; that it reads off is.
            FenceReading::Done => return FenceOutcome::Failed(format!("{name}: nothing read it after `off`")),
            FenceReading::PoweredOn => return FenceOutcome::Failed(format!("{name}: still reads on after `off`")),
            FenceReading::Failed(why) => return FenceOutcome::Failed(format!("{name}: {why}")),
            FenceReading::TimedOut => return FenceOutcome::Failed(format!("{name}: timed out")),
        }
    }
    // One device alone was read by its own `off`; with several, the first may be on again.
    if devices.len() > 1 {
        for (name, reading) in ask_all(hands, target, devices, Verb::Status, timeout).await {
            if reading != FenceReading::PoweredOff {
                return FenceOutcome::Failed(format!("{name}: reads {reading:?} after all were switched off"));
            }
        }
    }
    FenceOutcome::Off
}

/// Every device on: a machine with two supplies starts with either, so all are tried whatever becomes of one.
pub(super) async fn switch_on(
    hands: &impl Hands,
    target: &NodeId,
    devices: &[(DeviceId, FencingDevice)],
    timeout: Duration,
) -> Result<(), String> {
    let readings = ask_all(hands, target, devices, Verb::On, timeout).await;
    let failed = readings.into_iter().filter_map(|(name, reading)| match reading {
        FenceReading::PoweredOn | FenceReading::Done => None,
        FenceReading::PoweredOff => Some(format!("{name}: still reads off")),
        FenceReading::Failed(why) => Some(format!("{name}: {why}")),
        FenceReading::TimedOut => Some(format!("{name}: timed out")),
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Whether a device could be used from here: its agent, secrets and network are there, and it answers.
pub(super) async fn check(
    hands: &impl Hands,
    name: &DeviceId,
    device: FencingDevice,
    target: NodeId,
) -> Result<(), String> {
    let timeout = device.timeout;
    let request = FenceRequest { name: name.clone(), device, target, verb: Verb::Monitor, timeout };
    match hands.fence(request).await.reading {
        FenceReading::Done | FenceReading::PoweredOn | FenceReading::PoweredOff => Ok(()),
        FenceReading::Failed(why) => Err(why),
        FenceReading::TimedOut => Err(format!("no answer within {}", duration::format(timeout))),
    }
}

async fn ask_all(
    hands: &impl Hands,
    target: &NodeId,
    devices: &[(DeviceId, FencingDevice)],
    verb: Verb,
    timeout: Duration,
) -> Vec<(DeviceId, FenceReading)> {
    let all = devices.iter().map(|(name, device)| {
        let (device, target, timeout) = (device.clone(), target.clone(), device.timeout.min(timeout));
        let request = FenceRequest { name: name.clone(), device, target, verb, timeout };
        async move { (name.clone(), hands.fence(request).await.reading) }
    });
    futures_util::future::join_all(all).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    const SLOW: Duration = Duration::from_millis(80);

    type Script = fn(&str, Verb) -> FenceReading;

    /// Devices that do as the script says, and what they were asked, in order of their answers.
    struct Rack {
        script: Script,
        slow: &'static str,
        asked: Mutex<Vec<String>>,
    }

    impl Hands for Rack {
        async fn fence(&self, request: FenceRequest) -> FenceReport {
            if request.name.as_str() == self.slow {
                tokio::time::sleep(SLOW).await;
            }
            self.asked.lock().unwrap().push(format!("{:?} {}", request.verb, request.name));
            let reading = (self.script)(request.name.as_str(), request.verb);
            FenceReport { reading, output: String::new(), duration: Duration::ZERO }
        }
    }

    fn rack(script: Script) -> Rack {
        Rack { script, slow: "a", asked: Mutex::default() }
    }

    fn level(names: &[&str]) -> Vec<(DeviceId, FencingDevice)> {
        let device = FencingDevice {
            agent: "fence_test".into(),
            params: BTreeMap::new(),
            secrets: BTreeMap::new(),
            targets: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            delay: Duration::ZERO,
            retries: 0,
            check: Duration::from_secs(600),
        };
        names.iter().map(|name| (DeviceId::from(*name), device.clone())).collect()
    }

    async fn off(rack: &Rack, names: &[&str]) -> FenceOutcome {
        switch_off(rack, &"n2".into(), &level(names), Duration::from_secs(30)).await
    }

    fn works(_: &str, verb: Verb) -> FenceReading {
        match verb {
            Verb::Off | Verb::Status => FenceReading::PoweredOff,
            Verb::On => FenceReading::PoweredOn,
            Verb::Monitor => FenceReading::Done,
        }
    }

    #[tokio::test]
    async fn all_devices_go_off_together_and_are_read_after_the_last() {
        let rack = rack(works);
        assert_eq!(off(&rack, &["a", "b"]).await, FenceOutcome::Off);
        // `a` takes its time with every answer: `b` was off long before, and is read after it all the same.
        assert_eq!(*rack.asked.lock().unwrap(), ["Off b", "Off a", "Status b", "Status a"]);
    }

    #[tokio::test]
    async fn a_device_that_came_on_again_meanwhile_proves_nothing() {
        let rack = rack(|name, verb| match (name, verb) {
            ("b", Verb::Status) => FenceReading::PoweredOn,
            (name, verb) => works(name, verb),
        });
        let FenceOutcome::Failed(why) = off(&rack, &["a", "b"]).await else { panic!("it reads on") };
        assert!(why.starts_with("b: reads PoweredOn after all"), "{why}");
    }

    #[tokio::test]
    async fn one_device_that_fails_fails_the_level() {
        use FenceReading::{Done, Failed, PoweredOn, TimedOut};
        for reading in [Failed("no".into()), TimedOut, PoweredOn, Done] {
            let script: Script = match reading {
                FenceReading::TimedOut => {
                    |name, verb| if name == "b" { FenceReading::TimedOut } else { works(name, verb) }
                }
                FenceReading::Done => |name, verb| if name == "b" { FenceReading::Done } else { works(name, verb) },
                FenceReading::PoweredOn => {
                    |name, verb| if name == "b" { FenceReading::PoweredOn } else { works(name, verb) }
                }
                _ => |name, verb| if name == "b" { FenceReading::Failed("no".into()) } else { works(name, verb) },
            };
            let outcome = off(&rack(script), &["a", "b", "c"]).await;
            assert!(matches!(&outcome, FenceOutcome::Failed(why) if why.starts_with("b: ")), "{outcome:?}");
        }
        assert!(matches!(off(&rack(works), &[]).await, FenceOutcome::Failed(_)), "an empty level proves nothing");
        let unread = off(&rack(|_, _| Done), &["a"]).await;
        assert_eq!(unread, FenceOutcome::Failed("a: nothing read it after `off`".into()));
    }

    #[tokio::test]
    async fn an_attempt_that_takes_too_long_failed_whatever_it_did() {
        let outcome = switch_off(&rack(works), &"n2".into(), &level(&["a", "b"]), SLOW / 2).await;
        assert_eq!(outcome, FenceOutcome::Failed("not done within 40ms".into()));
    }

    #[tokio::test]
    async fn every_device_is_switched_on_even_if_one_fails() {
        let rack = rack(|name, verb| match (name, verb) {
            ("a", Verb::On) => FenceReading::Failed("fuse".into()),
            (name, verb) => works(name, verb),
        });
        let told = switch_on(&rack, &"n2".into(), &level(&["a", "b"]), Duration::from_secs(60)).await;
        assert_eq!(told, Err("a: fuse".into()));
        assert_eq!(*rack.asked.lock().unwrap(), ["On b", "On a"]);
    }
}
