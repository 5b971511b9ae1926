//! hafen: a declarative, git-driven high-availability reconciler.
//!
//! # The modules, in reading order
//!
//! | module | answers | may import |
//! |---|---|---|
//! | [`model`] | what is a node, a resource, an outcome | nothing |
//! | [`manifest`] | what do these files say, and what is wrong with them | model |
//! | [`state`] | what is agreed, and is this command allowed | model |
//! | [`plan`] | what should run where, and in which order | model, state |
//! | [`whatif`] | what becomes of a cluster when things fail, without one | model, manifest, state, plan |
//! | [`pacemaker`] | what is configured and running in a Pacemaker cluster | model, state |
//! | [`reconcile`] | what does this node do next | model, manifest, state, plan |
//! | [`sim`] | whole clusters under simulated faults: what is promised, tried | model, state, plan, reconcile |
//! | [`source`] | git: pushes, fetches, a revision's files | model |
//! | [`forge`] | tell GitHub, GitLab or Gitea of a commit or a merge request | model |
//! | [`net`] | who is who, and how do nodes reach each other | model |
//! | [`log`] | the replicated log over openraft | model, state, net |
//! | [`agent`] | run one action, return one outcome | model |
//! | [`api`] | HTTP routes, wire types, client | the pure ones, net |
//! | [`daemon`] | wires the above: one listener, one event loop | everything but cli |
//! | [`cli`] | a file per command | everything |
//!
//! `model`, `manifest`, `state`, `plan`, `whatif` and `reconcile` are pure: no clock, no randomness, no IO.
//! The test `e2e/tree.rs` reads the source tree and holds this table.

pub mod agent;
pub mod api;
pub mod cli;
pub mod daemon;
pub mod forge;
#[doc(hidden)]
pub mod fuzzing;
pub mod log;
pub mod manifest;
pub mod model;
pub mod net;
pub mod pacemaker;
pub mod plan;
pub mod reconcile;
pub mod sim;
pub mod source;
pub mod state;
pub mod whatif;
