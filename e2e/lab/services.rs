//! Real services on the nodes, with the OCF parameters that work there.
//!
//! `prepare_*` put a service's files in place and start nothing; starting is the cluster's work, or `ocf` by hand.

use super::{Lab, Node, Output};

/// The configuration file of `prepare_web`, on every node.
pub const WEB_CONF: &str = "/etc/hafen-web.conf";

/// Parameters of `ocf:heartbeat:nginx` for `prepare_web`: port 80 answers with the node's name.
pub const NGINX: &[(&str, &str)] = &[("configfile", WEB_CONF), ("httpd", "/usr/sbin/nginx")];

/// Parameters of `ocf:heartbeat:mysql` for `prepare_mariadb`: the data is on the shared storage, all else on the node.
/// The agent's start takes 4.1 s, since it sleeps two seconds before and after it sees the server run.
pub const MARIADB: &[(&str, &str)] = &[
    ("binary", "/usr/sbin/mariadbd"),
    ("config", "/etc/mysql/my.cnf"),
    ("datadir", "/srv/shared/mysql"),
    ("user", "mysql"),
    ("group", "mysql"),
    ("log", "/var/log/mysqld.log"),
    ("pid", "/run/mysqld/mysqld.pid"),
    ("socket", "/run/mysqld/mysqld.sock"),
    ("test_table", "mysql.global_priv"),
    (
        "additional_parameters",
        "--bind-address=0.0.0.0 --skip-name-resolve --max-connect-errors=1000000000 --max-connections=1000 \
         --innodb-buffer-pool-size=64M",
    ),
];

/// Writes the web server's configuration on every node. It is on the nodes' disks, so once is enough.
pub fn prepare_web(lab: &Lab) {
    let conf = "worker_processes 1; pid /run/nginx.pid; error_log /var/log/web.log; events {} \
                http { access_log off; server { listen 80 reuseport; location / { return 200 \"$hostname\\n\"; } } }";
    for node in lab.nodes() {
        node.sh(&format!("cat >{WEB_CONF} <<'CONF'\n{conf}\nCONF")).ok();
    }
}

/// Makes an empty database in `/srv/shared/mysql`.
pub fn prepare_mariadb(lab: &Lab) {
    let install = "mkdir /srv/shared/mysql && chown mysql:mysql /srv/shared/mysql && mariadb-install-db --user=mysql \
                   --datadir=/srv/shared/mysql --auth-root-authentication-method=socket --skip-test-db";
    lab.nodes()[0].sh(install).ok();
}

/// Runs one action of an agent of the provider `heartbeat` by hand.
pub fn ocf(node: Node<'_>, agent: &str, params: &[(&str, &str)], action: &str) -> Output {
    let mut command =
        "mkdir -p /run/resource-agents\nexport HA_RSCTMP=/run/resource-agents OCF_RESOURCE_INSTANCE=by-hand\n"
            .to_owned();
    for (name, value) in params {
        command += &format!("export OCF_RESKEY_{name}='{value}'\n");
    }
    node.sh(&format!("{command}exec /usr/lib/ocf/resource.d/heartbeat/{agent} {action}"))
}
