//! End-to-end tests: real daemons, real git, real agents, real power cuts, in machines made of namespaces.

mod clone_test;
mod cluster;
mod failover_test;
mod lab;
mod lab_test;
mod rootless;
mod rootless_test;
