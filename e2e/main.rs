//! End-to-end tests: real daemons, real git, real agents, real power cuts, in machines made of namespaces.

mod alone_test;
mod cluster;
mod failover_test;
mod lab;
mod lab_test;
mod life_test;
