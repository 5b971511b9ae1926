//! A leader's rounds: heartbeats count for leases once a majority has confirmed, after they came in, that it leads.
//!
//! Only where some node is fenced by its watchdog. The order is what makes it right: first what was heard, then the time,
//! then the question.

use super::transport::PeerTransport;
use crate::log::RaftLog;
use crate::net::{Heartbeats, clock};
use crate::reconcile::Event;
use crate::state::port::Log;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Well below `selfStopAfter`, which has to bear a round that is lost.
const EVERY: Duration = Duration::from_millis(250);

pub(super) async fn confirm(
    log: RaftLog<PeerTransport>,
    heartbeats: Arc<Heartbeats>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let leadership = log.leadership();
        let state = log.state();
        let leased = || state.nodes.keys().any(|node| state.watchdog_of(node).is_some());
        if !leadership.is_self || !leased() {
            continue;
        }
        let heard = heartbeats.contacts().newest();
        let began = clock::boot_time();
        if log.confirm_leadership().await && events.send(Event::Round { term: leadership.term, began, heard }).is_err()
        {
            return;
        }
    }
}
