//! What untrusted bytes meet first, one function per kind of input: manifests, CIBs, metadata of agents, bodies of requests,
//! entries of the log, snapshots.
//!
//! Input → output: any bytes → nothing; a panic, an abort or a long time is a finding. Called by the programs in `fuzz/`
//! (`make fuzz`) and by the test here, which replays the kept corpus with every `make test`.
//!
//! Invariants held besides: what was read is written and read back as the same; a refused command changes nothing but alarms.
//!
//! Deliberately absent: TLS and HTTP themselves, which are rustls' and hyper's.

use crate::api::types::{
    CheckRequest, FenceRequest, OperateRequest, PushRequest, ShimCall, ShutdownRequest, TokenRequest,
};
use crate::api::{operate, view};
use crate::manifest::{self, Purpose, SourceFile};
use crate::model::{AgentCatalogue, Digest, LogIndex, NodeId, Revision, Spec};
use crate::net::datagram::Codec;
use crate::net::{JoinRequest, JoinToken};
use crate::state::port::Leadership;
use crate::state::{State, StateDocument, Target, snapshot};
use crate::{agent, log, pacemaker, plan};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::bytes::Bytes;

/// A moment for rules with dates: 2026-01-01.
const NOW: i64 = 1_767_225_600;
/// Larger specs and states are read, but not planned: planning has its own measurements (`make bench-plan`).
const MOST_PLANNED: usize = 40;
/// Ends a file within the input of [`manifests`].
const NEXT_FILE: &str = "\n=== next file\n";

/// Files of manifests, one behind the other with the line `=== next file` between them.
pub fn manifests(bytes: &[u8]) {
    let files = split(bytes, NEXT_FILE.as_bytes());
    let file = |(place, part): (usize, &[u8])| SourceFile { path: format!("{place}.yaml"), bytes: part.to_vec() };
    let files: Vec<SourceFile> = files.into_iter().enumerate().map(file).collect();
    let catalogue = AgentCatalogue::default();
    let _ = manifest::agents_named(&files);
    for purpose in [Purpose::Run, Purpose::Plan] {
        let loaded = manifest::load_for(purpose, &files, &catalogue);
        assert!(loaded.spec.is_some() || !loaded.diagnostics.is_empty(), "nothing came of it, and nobody is told why");
        if let Some(spec) = loaded.spec {
            planned(&spec, &State::default());
        }
    }
}

/// A CIB, converted, planned, and written as manifests.
pub fn cib(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(import) = pacemaker::import(text, Some(NOW)) else { return };
    planned(&import.spec, &import.state);
    let files = pacemaker::manifests::write(&import.spec, &import.sets);
    let files: Vec<SourceFile> =
        files.into_iter().map(|(path, text)| SourceFile { path: path.to_owned(), bytes: text.into_bytes() }).collect();
    let _ = manifest::load_for(Purpose::Plan, &files, &AgentCatalogue::default());
    let document = StateDocument::of(&import.state).text();
    if let Err(error) = StateDocument::parse(&document) {
        panic!("a state that was written cannot be read: {error}\n{document}");
    }
}

/// What an agent says of itself.
pub fn metadata(bytes: &[u8]) {
    let _ = agent::metadata::parse(&String::from_utf8_lossy(bytes));
}

/// The body of a request: a byte that says which, and the rest.
pub fn bodies(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which {
        b'o' => {
            if let Some(request) = json::<OperateRequest>(body) {
                let _ = operate::prepare(&sample(), &request, "fuzz");
            }
        }
        b'c' => {
            if let Some(request) = json::<CheckRequest>(body) {
                let file = |file: crate::api::types::FileText| SourceFile { path: file.path, bytes: file.text.into() };
                let files: Vec<SourceFile> = request.files.into_iter().map(file).collect();
                let _ = manifest::load(&files, &AgentCatalogue::default());
            }
        }
        b'p' => drop(json::<PushRequest>(body)),
        b'f' => drop(json::<FenceRequest>(body)),
        b't' => drop(json::<TokenRequest>(body)),
        b's' => drop(json::<ShimCall>(body)),
        b'd' => drop(json::<ShutdownRequest>(body)),
        b'j' => drop(json::<JoinRequest>(body)),
        b'k' => {
            let text = String::from_utf8_lossy(body);
            if let Ok(token) = text.parse::<JoinToken>() {
                let text = token.to_text().expect("what was read can be written");
                assert_eq!(text.parse::<JoinToken>().ok(), Some(token), "a token is read as it was written");
            }
        }
        // A heartbeat with a right signature: what a member, not a stranger, can send.
        b'h' => drop(Codec::new("fuzz", &[7; 32]).decode_signed(body)),
        b'r' => log::decode_requests(body),
        b'y' => {
            if let Ok(document) = StateDocument::parse(&String::from_utf8_lossy(body)) {
                let spec = sample_spec();
                planned(&spec, &document.state(&spec));
            }
        }
        _ => {}
    }
}

/// Entries, each behind its length in two bytes, applied to a state one after the other.
pub fn entries(bytes: &[u8]) {
    let mut state = sample();
    let mut rest = bytes;
    while let Some(([a, b], after)) = rest.split_first_chunk().map(|(length, after)| (*length, after)) {
        let length = usize::from(u16::from_be_bytes([a, b])).min(after.len());
        let (entry, next) = after.split_at(length);
        rest = next;
        let Ok(entry) = snapshot::decode_entry(entry) else { continue };
        assert_eq!(snapshot::decode_entry(&snapshot::encode_entry(&entry)), Ok(entry.clone()), "an entry changes");
        let index = LogIndex(state.index.0.saturating_add(1));
        let (answers, _) = state.apply(index, &entry);
        assert_eq!(answers.len(), entry.commands.len(), "every command has an answer");
    }
    written_and_read(&state);
    if let Some(spec) = state.spec().cloned() {
        planned(&spec, &state);
    }
}

/// A snapshot: of the state alone, or as the log keeps it.
pub fn snapshots(bytes: &[u8]) {
    log::decode_snapshot(&Bytes::copy_from_slice(bytes));
    let Ok(state) = snapshot::decode(bytes) else { return };
    written_and_read(&state);
    let _ = StateDocument::of(&state).text();
    if let Some(spec) = state.spec().cloned() {
        planned(&spec, &state);
    }
    let node: NodeId = "n1".into();
    let _ = view::status(&view::Input {
        state: &state,
        leadership: &Leadership::default(),
        node: &node,
        links: &[],
        verdicts: &BTreeMap::new(),
        conditions: &[],
        checked: &BTreeMap::new(),
        wall_ms: 0,
        signature: None,
    });
}

fn written_and_read(state: &State) {
    let bytes = snapshot::encode(state);
    match snapshot::decode(&bytes) {
        Ok(read) => assert!(snapshot::encode(&read) == bytes, "a state is read as it was written"),
        Err(error) => panic!("a state that was written cannot be read: {error}"),
    }
}

/// Plans, where that is quick.
fn planned(spec: &Spec, state: &State) {
    let copies = spec.clones.values().map(|clone| clone.max.unwrap_or(0) as usize).fold(0, usize::saturating_add);
    let size = [spec.resources.len(), spec.nodes.len(), copies, state.nodes.len(), state.claims.len()];
    if size.into_iter().any(|size| size > MOST_PLANNED) || state.assignment.len() > MOST_PLANNED {
        return;
    }
    let _ = plan::assign(spec, state);
    let _ = plan::order(spec, state);
}

/// What JSON of any type must hold: what was read, written and read again is the same.
fn json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(separator.len()).position(|window| window == separator) {
        parts.push(&rest[..at]);
        rest = &rest[at + separator.len()..];
    }
    parts.push(rest);
    parts
}

fn sample() -> State {
    static SAMPLE: std::sync::OnceLock<State> = std::sync::OnceLock::new();
    let made = || {
        let mut state = imported().state;
        let spec = Digest::default();
        state.specs.insert(spec, sample_spec());
        let (revision, by) = (Revision::new("0123456789"), "fuzz".to_owned());
        state.target = Some(Target { revision, spec, accepted_at: LogIndex(1), accepted_ms: 1, by });
        state
    };
    SAMPLE.get_or_init(made).clone()
}

fn sample_spec() -> Arc<Spec> {
    static SAMPLE: std::sync::OnceLock<Arc<Spec>> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| Arc::new(imported().spec)).clone()
}

/// Three nodes, a group, a promotable clone, a device, and what runs of it.
fn imported() -> pacemaker::Import {
    pacemaker::import(include_str!("../fuzz/corpus/cib/small.xml"), Some(NOW)).expect("the corpus holds a CIB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// A corpus entry is small; a debug build on a busy machine reads it in a fraction of this.
    const LONGEST: Duration = Duration::from_secs(10);

    /// Feeds what is kept of a target to its function.
    fn replay(target: &str, run: fn(&[u8])) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(paths.len() > 3, "{}: the corpus is lost", folder.display());
        for path in paths {
            let bytes = std::fs::read(&path).unwrap();
            let began = Instant::now();
            if std::panic::catch_unwind(|| run(&bytes)).is_err() {
                panic!("{} makes it panic, see above", path.display());
            }
            assert!(began.elapsed() < LONGEST, "{} takes {:?}", path.display(), began.elapsed());
        }
    }

    #[test]
    fn kept_manifests_do_no_harm() {
        replay("manifests", manifests);
    }

    #[test]
    fn kept_cibs_do_no_harm() {
        replay("cib", cib);
    }

    #[test]
    fn kept_metadata_does_no_harm() {
        replay("metadata", metadata);
    }

    #[test]
    fn kept_bodies_do_no_harm() {
        replay("bodies", bodies);
    }

    #[test]
    fn kept_entries_do_no_harm() {
        replay("entries", entries);
    }

    #[test]
    fn kept_snapshots_do_no_harm() {
        replay("snapshots", snapshots);
    }

    #[test]
    fn the_corpus_reaches_what_it_is_for() {
        assert!(sample().spec().is_some(), "operations are judged against a spec");
        assert!(!sample().claims.is_empty() && !plan::assign(&sample_spec(), &sample()).placements.is_empty());
    }
}
