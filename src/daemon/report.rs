//! Tells a forge what is so of a commit: performs `Effect::Report`, and says what came of it.
//!
//! Invariants: it always comes back within the time-outs of `forge`; the token is read anew every time, so that a new one
//! counts at once; no text holds it. Nothing of the cluster waits for this.

use super::backend::Daemon;
use super::secrets;
use crate::forge::{Forge, ForgeError, Token};
use crate::model::secret::covered;
use crate::model::{CommitState, CommitStatus, Delivery, ReportTo, Revision};
use crate::state::port::Log;
use crate::state::{Command, OUTBOX_LEVEL};
use std::time::Duration;

/// From the reading of the token to the last byte of the answer. A new leader waits for longer than this before it tells
/// anything (`reconcile::outbox`), so that nothing older arrives after what it says.
const TELL_TIMEOUT: Duration = Duration::from_secs(25);

/// What came of it, and for how long the forge wants to be left alone.
pub(super) async fn tell(to: ReportTo, status: &CommitStatus) -> (Delivery, Option<Duration>) {
    let told = tokio::time::timeout(TELL_TIMEOUT, tell_now(to, status)).await;
    told.unwrap_or_else(|_| (Delivery::Failing(ForgeError::TimedOut.to_string()), None))
}

async fn tell_now(to: ReportTo, status: &CommitStatus) -> (Delivery, Option<Duration>) {
    let file = to.token.file.clone();
    let token = tokio::task::spawn_blocking(move || secrets::read(&file)).await;
    let token = match token.map_err(|error| error.to_string()).and_then(|read| read) {
        Ok(token) => token,
        Err(why) => return (Delivery::Failing(why), None),
    };
    match send(&to, &token, status).await {
        Ok(()) => (Delivery::Acknowledged, None),
        Err(error @ ForgeError::UnknownCommit { .. }) => (Delivery::GivenUp(error.to_string()), None),
        Err(error) => {
            let after = error.retry_after();
            (Delivery::Failing(error.to_string().replace(&token, crate::model::secret::HIDDEN)), after)
        }
    }
}

async fn send(to: &ReportTo, token: &str, status: &CommitStatus) -> Result<(), ForgeError> {
    let token = Token::new(token)?;
    let forge = Forge::new(to.provider, &to.url, &to.project, token, to.ca.as_deref())?;
    forge.set_status(status, &to.context, to.target_url.as_deref()).await
}

/// Notes what became of a commit of the source that is no target: it was refused, or has to wait. Nothing else would say so.
///
/// A leader that was replaced meanwhile notes nothing: the next one looks at the source itself.
pub(super) async fn note(daemon: &Daemon, revision: &Revision, is: CommitState, why: &str) {
    let state = daemon.log().state();
    let leader = state.leader.as_ref().filter(|leader| leader.node == daemon.facts().name);
    let (Some(leader), Some(_)) = (leader, state.report_to()) else { return };
    if state.feature_level < OUTBOX_LEVEL {
        return;
    }
    let command = Command::NoteStatus {
        leader: leader.incarnation.clone(),
        revision: revision.clone(),
        state: is,
        text: covered(why),
    };
    if let Err(error) = daemon.log().propose_as_leader(leader.term, vec![command]).await {
        tracing::info!(%error, "what became of a commit could not be noted");
    }
}
