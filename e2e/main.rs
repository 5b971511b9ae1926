//! End-to-end tests: real daemons, real git, real agents and real power cuts, on machines made of namespaces.
//!
//! They need root and skip themselves otherwise. Only one lab is up at a time; `lab_test` tests the lab itself.

mod lab;
mod lab_test;
