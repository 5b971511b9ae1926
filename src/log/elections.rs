//! When this voter may stand for election: the one switch that openraft has, and everybody who turns it.
//!
//! It stands while all three hold:
//! - the others were asked what this disk had acknowledged (`admission`);
//! - the daemon lets it ([`RaftLog::allow_elections`](super::RaftLog::allow_elections));
//! - it does not rest after an election that it did not win.
//!
//! The rest is what Raft (section 5.2) draws anew for every election. openraft 0.9 draws a voter's time-out once, when it
//! starts, and looks at it at fixed intervals: two voters that drew alike would stand at the same moments, each voting for
//! itself, for as long as both live, and the cluster would have no leader.
//!
//! Only availability depends on when it stands. Whether it was admitted is more: until then it sends nothing to anybody, and
//! leads nobody. openraft 0.9 makes whoever led before its restart the leader of the same term again, at once; had its disk
//! lost its last entries, it would give their places to others, and whoever holds the lost ones would take them for these.

use super::raft::{Config, Raft};
use openraft::ServerState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// See the module. Clones share it.
#[derive(Clone)]
pub(super) struct Elections {
    admitted: watch::Sender<bool>,
    gates: Arc<Mutex<Gates>>,
}

struct Gates {
    allowed: bool,
    resting: bool,
}

impl Elections {
    pub(super) fn new() -> Self {
        let gates = Arc::new(Mutex::new(Gates { allowed: true, resting: false }));
        Self { admitted: watch::Sender::new(false), gates }
    }

    pub(super) fn is_admitted(&self) -> bool {
        *self.admitted.borrow()
    }

    /// Changes once at most.
    pub(super) fn admitted(&self) -> watch::Receiver<bool> {
        self.admitted.subscribe()
    }

    pub(super) fn admit(&self, raft: &Raft) {
        self.admitted.send_replace(true);
        self.set(raft, |_| {});
    }

    pub(super) fn allow(&self, raft: &Raft, allowed: bool) {
        self.set(raft, |gates| gates.allowed = allowed);
    }

    /// Under the lock, so that of two changes the later one is what openraft hears last.
    fn set(&self, raft: &Raft, change: impl FnOnce(&mut Gates)) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut gates);
        raft.runtime_config().elect(self.is_admitted() && gates.allowed && !gates.resting);
    }

    /// Rests after every election in which this node stands, until the log is closed. `draw`: uniform in 0..1.
    pub(super) async fn pace(self, raft: Raft, config: Config, draw: impl Fn() -> f64) {
        let mut metrics = raft.metrics();
        let mut stood = 0;
        loop {
            let stands = metrics.wait_for(|now| now.state == ServerState::Candidate && now.current_term > stood).await;
            let Ok(term) = stands.map(|now| now.current_term) else { return };
            stood = term;
            self.set(&raft, |gates| gates.resting = true);
            tokio::time::sleep(rest(config, draw())).await;
            self.set(&raft, |gates| gates.resting = false);
        }
    }
}

/// How long a voter that stood waits at least until it stands again. `draw`: in 0..1.
///
/// Of two that stood at once the first to stand again is elected if the other hears of it before it stands too: the
/// range is several times as wide as the intervals at which openraft looks at its clock.
fn rest(config: Config, draw: f64) -> Duration {
    config.election_min + (config.election_max * 2).mul_f64(draw.clamp(0.0, 1.0))
}

/// Uniform in 0..1, from the system's own generator; the middle if that fails.
pub(super) fn draw() -> f64 {
    let mut bytes = [0; 4];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_spread_over_more_than_the_looks_at_the_clock_and_end_before_patience_does() {
        let config = Config::DEFAULT;
        let (shortest, longest) = (rest(config, 0.0), rest(config, 1.0));
        let look = config.patience * 3 / 2;
        assert!(shortest >= config.election_min);
        assert!(longest - shortest >= look * 8, "few draw the same look: {shortest:?} to {longest:?}");
        assert!(longest <= Duration::from_secs(2), "{longest:?}");
        assert_eq!((rest(config, -1.0), rest(config, 7.0)), (shortest, longest));
    }
}
