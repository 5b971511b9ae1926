//! End-to-end tests: real daemons, real git, real agents, real power cuts, in machines made of namespaces.

mod alone_test;
mod bench_test;
mod clone_test;
mod cluster;
mod errors_test;
mod failover_test;
mod lab;
mod lab_test;
mod life_test;
mod mariadb_test;
mod notify_test;
mod operate_test;
mod push_test;
mod pushed_test;
mod reload_test;
mod roles_test;
mod rootless;
mod rootless_test;
mod source_test;
mod systemd_test;
mod upkeep_test;
