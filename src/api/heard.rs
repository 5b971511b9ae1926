//! May an operator state that a node is off? Not while somebody hears it.
//!
//! Input → output: what this node hears, and what the others say that they hear ([`Contacts`]) → yes; or who heard the
//! boot, and how long ago. Pure.
//!
//! That a node is suspect does not say that it is silent: a failed stop, an operator's wish to fence it and a contradiction
//! make it so while it beats. The log knows no heartbeats, so whoever takes the statement looks. What is not known counts
//! as heard: by who has just begun to listen, and by a leader whose word has not come.

use super::error::{ApiError, ErrorCode};
use crate::model::{BootId, NodeId, duration};
use crate::net::Contacts;
use std::time::Duration;

/// Refuses the statement that `boot` of `node` is off, unless it was silent to everybody for `within`.
pub fn refuse_if_heard(
    contacts: &Contacts,
    leader: Option<&NodeId>,
    node: &NodeId,
    boot: &BootId,
    within: Duration,
) -> Result<(), ApiError> {
    if *node == contacts.me {
        return Err(ApiError::new(ErrorCode::Unsafe, format!("{node} itself was asked, and answers: it is not off")));
    }
    // Whom this node went on without (`hafen recover`) nobody listens for: there the operator's word is all there is.
    let Some(silence) = contacts.silent_for(node, boot) else { return Ok(()) };
    if let Some((by, ago)) = last_heard(contacts, node, boot).filter(|(_, ago)| *ago < within) {
        let message = format!("{node} is heard: {by} heard it {} ago, so it is not off", duration::format(ago));
        return Err(ApiError::new(ErrorCode::Unsafe, message)
            .hint(format!("switch it off first; `hafen fence {node}` does that where it has devices")));
    }
    let again = |why: String| Err(ApiError::new(ErrorCode::Unsafe, why).hint("try again in a moment"));
    if silence < within {
        return again(format!("{} has just begun to listen, and cannot say yet whether {node} is silent", contacts.me));
    }
    if let Some(leader) = leader.filter(|leader| **leader != contacts.me) {
        let report = contacts.peers.get(leader).and_then(|contact| contact.reports.get(node));
        if report.is_none_or(|report| contacts.as_of.saturating_sub(report.reported_at) >= within) {
            return again(format!("{} does not know whether {leader}, which leads, hears {node}", contacts.me));
        }
    }
    Ok(())
}

/// Who heard this boot last, and how long ago: this node, or a peer that says so.
fn last_heard<'a>(contacts: &'a Contacts, node: &NodeId, boot: &BootId) -> Option<(&'a NodeId, Duration)> {
    let here = contacts.peers.get(node).and_then(|contact| contact.boot(boot));
    let here = here.map(|found| (&contacts.me, found.last_heard));
    let told = contacts.peers.iter().filter_map(|(peer, contact)| {
        let report = contact.reports.get(node)?;
        let same = report.incarnation.as_ref().is_some_and(|incarnation| incarnation.boot == *boot);
        same.then_some((peer, report.heard_at))
    });
    let (by, at) = told.chain(here).max_by_key(|(_, at)| *at)?;
    Some((by, contacts.as_of.saturating_sub(at)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Incarnation;
    use crate::net::contacts::Table;
    use crate::net::datagram::{Beat, Heard};

    const WITHIN: Duration = Duration::from_millis(1500);
    /// The daemon began to listen at 0.
    const NOW: u64 = 10_000;

    fn incarnation(boot: &str) -> Incarnation {
        Incarnation { boot: boot.into(), counter: 1 }
    }

    /// A beat: its sender, the sender's boot, when it came; and which boot of n2 the sender says it heard, how long ago.
    type Arrival<'a> = (&'a str, &'a str, u64, Option<(&'a str, u32)>);

    /// What n1 knows at [`NOW`], of n2 and n3.
    pub(in super::super) fn contacts(beats: &[Arrival]) -> Contacts {
        let interval = Duration::from_millis(100);
        let stall_after = Duration::from_secs(60);
        let mut table = Table::new("n1".into(), incarnation("b1"), interval, stall_after, Duration::ZERO);
        table.set_peers(&[("n2".into(), 1), ("n3".into(), 1)].into(), Duration::ZERO);
        for (seq, (from, boot, at, heard)) in (1..).zip(beats) {
            let about = |(boot, age_ms): &(&str, u32)| Heard {
                node: "n2".into(),
                incarnation: Some(incarnation(boot)),
                seq: 1,
                age_ms: *age_ms,
                acknowledged: None,
            };
            let beat = Beat {
                from: (*from).into(),
                incarnation: incarnation(boot),
                seq,
                link: 0,
                heard: heard.iter().map(about).collect(),
            };
            table.accept(&beat, Duration::from_millis(*at)).unwrap();
        }
        table.drained(Duration::from_millis(NOW));
        table.contacts().clone()
    }

    /// Whether n2's boot `b2` may be confirmed off, or why not.
    fn may(beats: &[Arrival], leader: &str) -> Result<(), String> {
        let answer = refuse_if_heard(&contacts(beats), Some(&leader.into()), &"n2".into(), &"b2".into(), WITHIN);
        answer.map_err(|error| {
            assert_eq!(error.code, ErrorCode::Unsafe);
            error.message
        })
    }

    #[test]
    fn a_boot_that_this_node_hears_is_not_off() {
        let heard = may(&[("n2", "b2", NOW - 40, None)], "n1");
        assert_eq!(heard, Err("n2 is heard: n1 heard it 40ms ago, so it is not off".into()));
        assert!(may(&[("n2", "b2", NOW - 1499, None)], "n1").is_err());
        assert_eq!(may(&[("n2", "b2", NOW - 1500, None)], "n1"), Ok(()));
        assert_eq!(may(&[], "n1"), Ok(()), "never heard, though listened for long enough");
        assert_eq!(may(&[("n2", "a newer one", NOW, None)], "n1"), Ok(()), "the boot in question is over");
    }

    #[test]
    fn nor_is_one_that_another_node_hears() {
        let told = |age| [("n3", "b3", NOW - 100, Some(("b2", age)))];
        let heard = may(&told(200), "n1");
        assert_eq!(heard, Err("n2 is heard: n3 heard it 300ms ago, so it is not off".into()));
        assert_eq!(may(&told(1400), "n1"), Ok(()));
        assert_eq!(may(&[("n3", "b3", NOW, Some(("a newer one", 0)))], "n1"), Ok(()));
    }

    #[test]
    fn what_the_leader_hears_must_be_known() {
        let said = |at| [("n3", "b3", at, Some(("b2", 5000)))];
        assert_eq!(may(&said(NOW - 100), "n3"), Ok(()));
        for beats in [&said(NOW - 1500)[..], &[], &[("n3", "b3", NOW, None)]] {
            assert_eq!(may(beats, "n3"), Err("n1 does not know whether n3, which leads, hears n2".into()));
        }
        assert!(may(&[], "n2").is_err(), "it leads, as far as anybody knows");
    }

    #[test]
    fn who_does_not_know_yet_believes_nothing() {
        let mut young = contacts(&[]);
        young.listening_since = Duration::from_millis(NOW - 1000);
        let refuse = |contacts: &Contacts, node: &str| {
            refuse_if_heard(contacts, None, &node.into(), &"b2".into(), WITHIN).map_err(|error| error.message)
        };
        assert!(refuse(&young, "n2").unwrap_err().contains("has just begun to listen"));
        assert!(refuse(&young, "n1").unwrap_err().contains("itself was asked"));
        assert_eq!(refuse(&young, "n9"), Ok(()), "nobody listens for it");
    }
}
