//! What the cluster is to follow: specs on their way, the target, the assignment.

use super::apply::Ctx;
use super::query::definition_of;
use super::reload::RELOAD_LEVEL;
use super::{AssignChange, Assignment, EventKind, NodeDocument, OverrideKind, Refusal, State, Target, Upload};
use crate::model::{Digest, Incarnation, LogIndex, ResourceId, Revision, Spec};
use std::io::Read;
use std::sync::Arc;

/// A chunk of a compressed spec, so that an entry stays small.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// 16 MiB compressed: a hundred times the manifests of a large cluster.
const MAX_CHUNKS: u32 = 256;
/// Uploads at a time; the one untouched for longest makes room.
const MAX_UPLOADS: usize = 4;
/// Decompressed. A guard against bombs.
const MAX_SPEC_BYTES: u64 = 64 * 1024 * 1024;

/// A target that is about to be followed.
pub(super) struct Accepted {
    pub revision: Revision,
    pub digest: Digest,
    pub by: String,
    /// The cluster was there before.
    pub returned: bool,
}

/// A spec as it travels: its digest and the compressed chunks.
pub fn spec_to_chunks(spec: &Spec) -> (Digest, Vec<Vec<u8>>) {
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write;
    let mut raw = postcard::to_stdvec(spec).expect("plain data always serialises");
    // Behind the spec, where programs that know nothing of it do not look.
    if !spec.agents.is_empty() {
        raw = postcard::to_extend(&spec.agents, raw).expect("plain data always serialises");
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    encoder.write_all(&raw).expect("memory takes everything");
    let packed = encoder.finish().expect("memory takes everything");
    (Digest::of(&raw), packed.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect())
}

fn spec_from_chunks(digest: Digest, upload: &Upload) -> Result<Spec, Refusal> {
    let bad = |why: String| Refusal::BadSpec { why };
    let packed: Vec<u8> = upload.chunks.values().flatten().copied().collect();
    let mut raw = Vec::new();
    flate2::read::DeflateDecoder::new(packed.as_slice())
        .take(MAX_SPEC_BYTES)
        .read_to_end(&mut raw)
        .map_err(|error| bad(error.to_string()))?;
    if Digest::of(&raw) != digest {
        return Err(bad("its digest differs".into()));
    }
    let (mut spec, rest): (Spec, _) = postcard::take_from_bytes(&raw).map_err(|error| bad(error.to_string()))?;
    if !rest.is_empty() {
        spec.agents = postcard::from_bytes(rest).map_err(|error| bad(error.to_string()))?;
    }
    Ok(spec)
}

impl State {
    pub(super) fn apply_spec_chunk(
        &mut self,
        ctx: &mut Ctx<'_>,
        digest: Digest,
        number: u32,
        total: u32,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        if total == 0 || total > MAX_CHUNKS || number >= total || bytes.len() > CHUNK_BYTES {
            return Err(Refusal::TooLarge { what: format!("chunk {number} of {total} of a spec") });
        }
        if self.specs.contains_key(&digest) {
            return Ok(());
        }
        if let Some(upload) = self.uploads.get(&digest) {
            if upload.total != total {
                return Err(Refusal::BadSpec { why: "its chunks disagree about their number".into() });
            }
        } else if self.uploads.len() >= MAX_UPLOADS {
            let oldest = self.uploads.iter().min_by_key(|(_, upload)| upload.touched).map(|(digest, _)| *digest);
            oldest.map(|digest| self.uploads.remove(&digest));
        }
        let upload = self.uploads.entry(digest).or_insert_with(|| Upload {
            total,
            chunks: Default::default(),
            touched: ctx.index,
        });
        upload.touched = ctx.index;
        upload.chunks.insert(number, bytes.to_vec());
        Ok(())
    }

    pub(super) fn apply_set_target(
        &mut self,
        ctx: &mut Ctx<'_>,
        revision: &Revision,
        parent: Option<&Revision>,
        digest: Digest,
        by: &str,
    ) -> Result<(), Refusal> {
        let current = self.target.as_ref().map(|target| &target.revision);
        if current == Some(revision) {
            // Somebody took `main` back to where the cluster went by itself.
            self.rollout.tip = None;
            return Ok(());
        }
        if current != parent {
            return Err(Refusal::TargetMoved { current: current.cloned() });
        }
        if let Some(suspended) = self.suspended() {
            return Err(Refusal::NotAllowed { why: suspended });
        }
        let spec = match (self.specs.get(&digest), self.uploads.get(&digest)) {
            (Some(spec), _) => Arc::clone(spec),
            (None, Some(upload)) if upload.chunks.len() as u32 == upload.total => {
                let mut spec = spec_from_chunks(digest, upload)?;
                // Replicas of older programs do not have this: nothing may rest on it before they are gone.
                if self.feature_level < RELOAD_LEVEL {
                    spec.agents.clear();
                }
                Arc::new(spec)
            }
            (None, _) => return Err(Refusal::IncompleteSpec { digest }),
        };
        if let Some(held) = self.rollout.hold_on(&spec) {
            return Err(Refusal::Held { revision: held.revision.clone(), why: held.why.clone() });
        }
        self.uploads.remove(&digest);
        let before = self.target.as_ref().map(|target| target.revision.clone());
        let accepted = Accepted { revision: revision.clone(), digest, by: by.to_owned(), returned: false };
        self.take_target(ctx, accepted, spec);
        ctx.event(EventKind::Target, None, None, format!("following {} ({by})", revision.short()));
        self.note_target(ctx, before.as_ref());
        Ok(())
    }

    /// Why no other target is taken now; None: one may be.
    pub fn suspended(&self) -> Option<String> {
        let found = self.overrides.values().find(|o| matches!(o.kind, OverrideKind::Suspend))?;
        let reason = if found.reason.is_empty() { String::new() } else { format!(": {}", found.reason) };
        Some(format!("{} has suspended changes{reason}; `hafen resume` ends that", found.by))
    }

    /// Follows a spec from now on.
    pub(super) fn take_target(&mut self, ctx: &Ctx<'_>, accepted: Accepted, spec: Arc<Spec>) {
        let Accepted { revision, digest, by, returned } = accepted;
        self.look_again_at_managed(&spec);
        let ailing = self.before_trial();
        self.target = Some(Target { revision, spec: digest, accepted_at: ctx.index, accepted_ms: ctx.at_ms, by });
        self.follow(&spec);
        self.begin_trial(&spec, ailing, returned);
        self.specs.insert(digest, spec);
        self.forget_unreferenced();
    }

    /// What git gives into hafen's charge may have been started by hand meanwhile: every node looks again first.
    fn look_again_at_managed(&mut self, next: &Spec) {
        let in_charge = |spec: &Spec, name: &ResourceId| {
            spec.resources.get(name).is_some_and(|resource| resource.managed && !resource.maintenance)
        };
        let Some(now) = self.spec().cloned() else { return };
        self.probes.retain(|key, _| in_charge(&now, &key.resource) || !in_charge(next, &key.resource));
    }

    /// Takes over what a spec says of resources and nodes.
    fn follow(&mut self, spec: &Spec) {
        self.current.clear();
        for resource in spec.resources.keys() {
            let Some(definition) = definition_of(spec, resource) else { continue };
            let bytes = postcard::to_stdvec(&definition).expect("plain data always serialises");
            let digest = Digest::of(&bytes);
            self.definitions.entry(digest).or_insert_with(|| Arc::new(definition));
            self.current.insert(resource.clone(), digest);
        }
        for (name, node) in &mut self.nodes {
            node.listed = spec.nodes.contains_key(name);
            if let Some(document) = document_of(spec, name) {
                node.document = Some(Arc::new(document));
            }
        }
    }

    /// Drops definitions, specs, assignments, probes and history that nothing refers to any more.
    pub(super) fn forget_unreferenced(&mut self) {
        let wanted: Vec<Digest> = self.target.iter().chain(&self.last_good).map(|target| target.spec).collect();
        self.specs.retain(|digest, _| wanted.contains(digest));
        let pinned = self.claims.values().map(|claim| claim.definition).chain(self.reloads.values().copied());
        let used: std::collections::BTreeSet<Digest> = pinned.chain(self.current.values().copied()).collect();
        self.definitions.retain(|digest, _| used.contains(digest));
        self.forget_durations();
        let (current, claims) = (&self.current, &self.claims);
        self.probes.retain(|key, _| current.contains_key(&key.resource));
        self.halted.retain(|resource| current.contains_key(resource));
        self.history.retain(|key, _| current.contains_key(&key.instance.resource) || claims.contains_key(key));
    }

    /// A plan made before a node joined knows nothing of what that node brought along.
    pub(super) fn check_seen(&self, seen: LogIndex) -> Result<(), Refusal> {
        match self.nodes.values().any(|node| node.joined_at > seen) {
            true => Err(Refusal::StaleObservation),
            false => Ok(()),
        }
    }

    pub(super) fn apply_assign(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        changes: &[AssignChange],
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        for change in changes {
            match &change.to {
                None => {
                    if let Some(old) = self.assignment.remove(&change.instance) {
                        let text = format!("{} is to stop on {}", change.instance, old.to.node);
                        ctx.event(EventKind::Assigned, Some(&old.to.node), Some(&change.instance), text);
                    }
                }
                Some(to) => {
                    let moved = self
                        .assignment
                        .get(&change.instance)
                        .is_none_or(|old| old.to.node != to.node || old.to.role != to.role);
                    if moved {
                        let text = format!("{} is to be {} on {}: {}", change.instance, to.role, to.node, to.reason);
                        ctx.event(EventKind::Assigned, Some(&to.node), Some(&change.instance), text);
                        ctx.because(&to.reason);
                    }
                    let since_ms = match self.assignment.get(&change.instance) {
                        Some(old) if !moved => old.since_ms,
                        _ => ctx.at_ms,
                    };
                    let assignment = Assignment { to: to.clone(), index: ctx.index, since_ms };
                    self.assignment.insert(change.instance.clone(), assignment);
                }
            }
        }
        Ok(())
    }
}

/// A node's document with its devices, as it stays pinned.
pub(super) fn document_of(spec: &Spec, name: &crate::model::NodeId) -> Option<NodeDocument> {
    let node = spec.nodes.get(name)?.clone();
    let devices = node
        .fencing
        .iter()
        .flatten()
        .filter_map(|device| Some((device.clone(), spec.devices.get(device)?.clone())))
        .collect();
    Some(NodeDocument { node, devices })
}
