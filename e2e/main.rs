//! End-to-end tests: real daemons, real git, real agents, real power cuts, in machines made of namespaces.

mod cluster;
mod failover_test;
mod lab;
mod lab_test;
mod mariadb_test;
mod operate_test;
