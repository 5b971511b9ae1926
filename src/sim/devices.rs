//! Fencing devices: they switch a host off, or fail to, or say what is not so.

use super::agents::Mode;
use super::world::{Sim, What};
use crate::model::planted::{Planted, planted};
use crate::model::{AttemptId, DeviceId, FencingDevice, NodeId};
use crate::reconcile::Event;
use crate::state::FenceOutcome;
use std::time::Duration;

/// No attempt of a schedule takes longer, ms: the rest of the schedule would be waiting.
const LONGEST: u64 = 20_000;

impl Sim {
    /// One attempt: every device of the level off, then every one read again. A host is off once all of them are:
    /// each feeds one of its power supplies.
    pub fn fence(
        &mut self,
        host: usize,
        life: u64,
        attempt: AttemptId,
        target: &NodeId,
        devices: &[(DeviceId, FencingDevice)],
        timeout: Duration,
    ) {
        let target = self.host_of(target);
        let machine = &self.hosts[target];
        let own = devices.iter().find_map(|(device, _)| machine.devices.get(device)).copied();
        let mode = if devices.is_empty() { Mode::Fails } else { own.unwrap_or(machine.device) };
        self.say(|| format!("n{} fences n{} (attempt {attempt}), whose devices: {mode}", host + 1, target + 1));
        self.stats.fences += 1;
        let timeout = (timeout.as_millis() as u64).min(LONGEST);
        let off = self.rng.range(50, 500);
        let read = off + self.rng.range(0, 200);
        let (off, done, says_off) = match mode {
            // The second of several devices fails: a host with two supplies runs on.
            Mode::Half if devices.len() > 1 => (None, read, planted(Planted::OneDeviceOfLevel)),
            Mode::Works | Mode::Slow | Mode::Half => (Some(off), read, true),
            Mode::Fails | Mode::Missing => (None, off, false),
            Mode::Hangs => (None, timeout, false),
            // Reported as failed, and then it works.
            Mode::Late => (Some(timeout + self.rng.range(0, 4_000)), timeout, false),
            Mode::Lies => (None, read, true),
        };
        if let Some(delay) = off {
            self.at(delay, What::PowerOff { target });
        }
        if mode == Mode::Lies {
            self.hosts[target].lied_off = Some(self.hosts[target].boot);
        }
        self.at(done, What::FenceDone { host, life, attempt, target, says_off });
    }

    pub fn fence_done(&mut self, host: usize, life: u64, attempt: AttemptId, target: usize, says_off: bool) {
        let outcome = match says_off {
            true => FenceOutcome::Off,
            false => FenceOutcome::Failed("it does not read off".into()),
        };
        // Switched on again by somebody else before it was read.
        let lies = self.hosts[target].lied_off == Some(self.hosts[target].boot);
        let half = planted(Planted::OneDeviceOfLevel);
        let outcome = match self.hosts[target].powered && !lies && !half && says_off {
            true => FenceOutcome::Failed("it reads on".into()),
            false => outcome,
        };
        self.say(|| format!("attempt {attempt} of n{} against n{}: {outcome:?}", host + 1, target + 1));
        if self.daemon(host, life).is_some() {
            self.step(host, [Event::Fenced { attempt, outcome }]);
        }
    }

    pub fn check_device(&mut self, host: usize, life: u64, device: DeviceId, target: &NodeId) {
        let mode = self.hosts[self.host_of(target)].device;
        let error = match mode {
            Mode::Works | Mode::Slow | Mode::Late | Mode::Lies => None,
            Mode::Fails | Mode::Hangs | Mode::Half | Mode::Missing => Some("no answer".to_owned()),
        };
        let delay = self.rng.range(100, 1_000);
        self.at(delay, What::Checked { host, life, device, error });
    }
}
