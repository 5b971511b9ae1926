//! The parts of `net` together, over real sockets on the loopback network.

use super::listener::{Endless, Limits};
use super::token::{self, TokenRole};
use super::*;
use crate::model::{Digest, Incarnation, NodeId};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(5);
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn cluster(node: &str, now_ms: u64) -> Identity {
    Identity::init(tempfile::tempdir().unwrap().path(), "test", &node.into(), now_ms).unwrap()
}

/// Another member of the cluster of `first`, by the way a real one takes.
fn member(first: &Identity, node: &str) -> Identity {
    let key = JoinKey::generate().unwrap();
    let grant = grant(first, &key, &node.into());
    Identity::store_joined(tempfile::tempdir().unwrap().path(), &node.into(), &key, &grant).unwrap()
}

fn grant(first: &Identity, key: &JoinKey, node: &NodeId) -> JoinGrant {
    JoinGrant {
        cluster_id: first.cluster_id.clone(),
        cluster_name: first.cluster_name.clone(),
        ca_certificate_pem: first.ca_certificate_pem.clone(),
        ca_key_pem: None,
        certificate_pem: first.sign_csr(&key.csr_pem, node, clock::wall_ms()).unwrap(),
        heartbeat_key: first.heartbeat_key,
        generation: 0,
        peers: BTreeMap::new(),
    }
}

/// Says who asks: the names of the certificate, or `anonymous`.
async fn who(axum::Extension(peer): axum::Extension<PeerCert>) -> String {
    peer.0.map_or("anonymous".into(), |names| names.join(" "))
}

async fn listen(identity: &Identity, address: SocketAddr) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = |body: Bytes| async move { body };
    let router = Router::new().route("/who", get(who).post(who)).route("/echo", post(echo));
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, tls::server_config(identity).unwrap(), router, shutdown.clone()));
    (address, shutdown)
}

fn peers(identity: &Identity, node: &str, addresses: &[IpAddr], port: u16) -> Peers {
    let peers = Peers::new(identity, vec![HOME, SECOND]).unwrap();
    peers.set([(node.into(), PeerAddr { addresses: addresses.to_vec(), port })].into()).unwrap();
    peers
}

async fn ask_who(peers: &Peers, node: &str) -> Result<String, NetError> {
    let answer = peers.get(&node.into(), "/who", TIMEOUT).await?;
    Ok(String::from_utf8(answer.to_vec()).unwrap())
}

fn pinned(fingerprint: Digest, address: SocketAddr) -> PinnedClient {
    let (token, _) = token::create(vec![address], fingerprint, TokenRole::Node, u64::MAX).unwrap();
    PinnedClient::new(&token).unwrap()
}

#[tokio::test]
async fn members_know_each_other_by_name() {
    let n1 = cluster("n1", clock::wall_ms());
    let n2 = member(&n1, "n_2");
    let (address, _shutdown) = listen(&n2, SocketAddr::new(HOME, 0)).await;
    let clients = peers(&n1, "n_2", &[HOME], address.port());
    assert_eq!(ask_who(&clients, "n_2").await.unwrap(), server_name(&"n1".into()));
    let body = Bytes::from(vec![7; 1 << 20]);
    let answer = clients.post(&"n_2".into(), "/echo", body.clone(), TIMEOUT, Repeat::Never).await.unwrap();
    assert_eq!(answer, body);
    let missing = clients.get(&"n_2".into(), "/nothing", TIMEOUT).await.unwrap_err();
    assert!(matches!(missing, NetError::Status { code: 404, .. }), "{missing}");
}

#[tokio::test]
async fn a_server_that_is_another_node_is_not_asked() {
    let n1 = cluster("n1", clock::wall_ms());
    let (address, _shutdown) = listen(&member(&n1, "n2"), SocketAddr::new(HOME, 0)).await;
    let error = ask_who(&peers(&n1, "n3", &[HOME], address.port()), "n3").await.unwrap_err();
    assert!(matches!(error, NetError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn certificates_of_another_cluster_and_expired_ones_are_refused_by_both_sides() {
    let now = clock::wall_ms();
    let n1 = cluster("n1", now);
    let (address, _shutdown) = listen(&n1, SocketAddr::new(HOME, 0)).await;
    let foreign = cluster("n2", now);
    // Trusts the server and shows a certificate that the server must not trust.
    let mut intruder = foreign.clone();
    intruder.ca_certificate_pem.clone_from(&n1.ca_certificate_pem);
    let expired = {
        let key = JoinKey::generate().unwrap();
        let certificate_pem = n1.sign_csr(&key.csr_pem, &"n2".into(), 0).unwrap();
        let grant = JoinGrant { certificate_pem, ..grant(&n1, &key, &"n2".into()) };
        Identity::store_joined(tempfile::tempdir().unwrap().path(), &"n2".into(), &key, &grant).unwrap()
    };
    for (what, client) in [("foreign", &foreign), ("intruder", &intruder), ("expired", &expired)] {
        let answer = ask_who(&peers(client, "n1", &[HOME], address.port()), "n1").await;
        assert!(matches!(answer, Err(NetError::NotSent { .. } | NetError::Unknown { .. })), "{what}: {answer:?}");
    }
    let (address, _shutdown) = listen(&expired, SocketAddr::new(HOME, 0)).await;
    let error = ask_who(&peers(&n1, "n2", &[HOME], address.port()), "n2").await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_joining_node_is_anonymous_and_talks_to_the_pinned_cluster_only() {
    let n1 = cluster("n1", clock::wall_ms());
    let (address, _shutdown) = listen(&n1, SocketAddr::new(HOME, 0)).await;
    let right = pinned(n1.ca_fingerprint().unwrap(), address);
    let answer = right.post_json::<_, String>("/who", &(), TIMEOUT).await;
    // `anonymous` is no JSON, so it comes back in the words of the error.
    assert!(matches!(&answer, Err(NetError::Unknown { reason, .. }) if reason.contains("unreadable")), "{answer:?}");
    let answer: serde_json::Value = right.post_json("/echo", &[1, 2], TIMEOUT).await.unwrap();
    assert_eq!(answer, serde_json::json!([1, 2]));
    let wrong = pinned(Digest::of(b"another"), address);
    let error = wrong.post_json::<_, String>("/who", &(), TIMEOUT).await.unwrap_err();
    assert!(matches!(error, NetError::Join { .. }) && error.to_string().contains("not of the cluster"), "{error}");
}

#[tokio::test]
async fn the_fingerprint_alone_does_not_help_a_server_without_its_key() {
    let n1 = cluster("n1", clock::wall_ms());
    // Shows the right CA in its chain, but its own certificate is signed by another.
    let mut liar = cluster("n1", clock::wall_ms());
    liar.ca_certificate_pem.clone_from(&n1.ca_certificate_pem);
    let (address, _shutdown) = listen(&liar, SocketAddr::new(HOME, 0)).await;
    let error = pinned(n1.ca_fingerprint().unwrap(), address).post_json::<_, String>("/who", &(), TIMEOUT).await;
    assert!(matches!(error, Err(NetError::Join { .. })), "{error:?}");
}

#[tokio::test]
async fn without_a_certificate_a_peer_is_anonymous() {
    let n1 = cluster("n1", clock::wall_ms());
    let (address, _shutdown) = listen(&n1, SocketAddr::new(HOME, 0)).await;
    let tls = tls::pinned_client_config(n1.ca_fingerprint().unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
    let answer = client.get(format!("https://{address}/who")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "anonymous");
}

#[tokio::test]
async fn a_request_goes_over_the_second_link_when_the_first_is_dead() {
    let n1 = cluster("n1", clock::wall_ms());
    let n2 = member(&n1, "n2");
    let (first, shutdown) = listen(&n2, SocketAddr::new(HOME, 0)).await;
    let (_second, _shutdown) = listen(&n2, SocketAddr::new(SECOND, first.port())).await;
    let clients = peers(&n1, "n2", &[HOME, SECOND], first.port());
    assert!(ask_who(&clients, "n2").await.is_ok());
    shutdown.cancel();
    for _ in 0..3 {
        let answer = clients.post(&"n2".into(), "/echo", Bytes::from("a"), TIMEOUT, Repeat::Harmless).await;
        assert_eq!(answer.unwrap(), "a");
    }
}

#[tokio::test]
async fn a_link_that_swallows_everything_costs_a_share_of_the_time_once() {
    let n1 = cluster("n1", clock::wall_ms());
    let black_hole = TcpListener::bind(SocketAddr::new(HOME, 0)).await.unwrap();
    let port = black_hole.local_addr().unwrap().port();
    let (_second, _shutdown) = listen(&member(&n1, "n2"), SocketAddr::new(SECOND, port)).await;
    let clients = peers(&n1, "n2", &[HOME, SECOND], port);
    let timeout = Duration::from_millis(600);
    let began = Instant::now();
    assert!(clients.get(&"n2".into(), "/who", timeout).await.is_ok());
    assert!(began.elapsed() >= timeout / 2, "the first link had its share");
    let began = Instant::now();
    assert!(clients.get(&"n2".into(), "/who", timeout).await.is_ok());
    assert!(began.elapsed() < timeout / 2, "the second request knows better");
    let down = peers(&n1, "n2", &[HOME, SECOND], port);
    down.set_link_state(&"n2".into(), 0, LinkState::Down);
    let answer = down.post(&"n2".into(), "/echo", Bytes::from("a"), TIMEOUT, Repeat::Never).await;
    assert_eq!(answer.unwrap(), "a", "a link that is down is not even tried");
}

#[tokio::test]
async fn nobody_there_is_not_the_same_as_no_answer() {
    let n1 = cluster("n1", clock::wall_ms());
    let silent = TcpListener::bind(SocketAddr::new(HOME, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let short = Duration::from_millis(100);
    let send = async |peers: &Peers| peers.post(&"n2".into(), "/", Bytes::new(), short, Repeat::Never).await;
    let answer = send(&peers(&n1, "n2", &[HOME], port)).await;
    assert!(matches!(answer, Err(NetError::Unknown { .. })), "{answer:?}");
    drop(silent);
    let answer = send(&peers(&n1, "n2", &[HOME], port)).await;
    assert!(matches!(answer, Err(NetError::NotSent { .. })), "{answer:?}");
    let answer = send(&peers(&n1, "n3", &[HOME], port)).await;
    assert!(matches!(answer, Err(NetError::NotSent { .. })), "{answer:?}");
}

#[tokio::test]
async fn stuck_handshakes_block_nobody_and_too_many_strangers_no_member() {
    let n1 = cluster("n1", clock::wall_ms());
    let (address, _shutdown) = listen(&n1, SocketAddr::new(HOME, 0)).await;
    let clients = peers(&member(&n1, "n2"), "n1", &[HOME], address.port());
    let mut stuck = Vec::new();
    for _ in 0..listener::MAX_HANDSHAKES {
        stuck.push(TcpStream::connect(address).await.unwrap());
    }
    let began = Instant::now();
    assert!(ask_who(&clients, "n1").await.is_ok(), "a new connection of a member");
    assert!(is_closed(&mut stuck[0]).await, "the oldest made room");
    assert!(began.elapsed() < listener::HANDSHAKE_TIMEOUT / 2, "nobody waited for anybody");
    assert!(ask_who(&clients, "n1").await.is_ok(), "the member's connection lives on");
}

async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

/// Little patience with few strangers.
const LIMITS: Limits =
    Limits { handshakes: 8, strangers: 4, idle: Duration::from_millis(400), answer: Duration::from_millis(800) };

/// As `listen`, with [`LIMITS`]; `/stuck` never answers, `/drip` and `/follow` send a byte and then no other.
async fn listen_with_limits(identity: &Identity) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind(SocketAddr::new(HOME, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let drip = || {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("a")]);
        Body::from_stream(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
    };
    let router = Router::new()
        .route("/who", get(who))
        .route("/stuck", get(std::future::pending::<()>))
        .route("/drip", get(move || async move { drip() }))
        .route("/follow", get(move || async move { (axum::Extension(Endless), drip()) }));
    let (shutdown, tls) = (CancellationToken::new(), tls::server_config(identity).unwrap());
    tokio::spawn(listener::serve_within(LIMITS, listener, tls, router, shutdown.clone()));
    (address, shutdown)
}

/// A connection without a certificate.
async fn stranger(identity: &Identity, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let config = tls::pinned_client_config(identity.ca_fingerprint().unwrap()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    connector.connect(HOME.into(), stream).await.unwrap()
}

#[tokio::test]
async fn strangers_that_say_nothing_lock_no_member_out_and_make_room_for_others() {
    let n1 = cluster("n1", clock::wall_ms());
    let (address, _shutdown) = listen_with_limits(&n1).await;
    let mut silent = Vec::new();
    for _ in 0..LIMITS.strangers {
        silent.push(stranger(&n1, address).await);
    }
    let began = Instant::now();
    let clients = peers(&member(&n1, "n2"), "n1", &[HOME], address.port());
    assert!(ask_who(&clients, "n1").await.is_ok(), "a new connection of a member");
    assert!(is_closed(&mut stranger(&n1, address).await).await, "there is no room for another stranger");
    assert!(began.elapsed() < LIMITS.idle, "this machine is too slow for this test");
    for stream in &mut silent {
        assert!(is_closed(stream).await);
    }
    assert!(began.elapsed() >= LIMITS.idle - Duration::from_millis(100));
    let mut late = stranger(&n1, address).await;
    late.write_all(b"GET /who HTTP/1.1\r\nhost: n1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(TIMEOUT, late.read_to_end(&mut answer)).await.expect("closed when idle").unwrap();
    assert!(String::from_utf8_lossy(&answer).ends_with("anonymous"), "there is room again");
}

#[tokio::test]
async fn a_strangers_request_may_take_its_time_and_only_what_is_meant_to_lasts() {
    let n1 = cluster("n1", clock::wall_ms());
    let (address, _shutdown) = listen_with_limits(&n1).await;
    let lasts = async |path: &str| {
        let mut stream = stranger(&n1, address).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: n1\r\n\r\n").as_bytes()).await.unwrap();
        let began = Instant::now();
        let patience = (LIMITS.idle + LIMITS.answer) * 4;
        match tokio::time::timeout(patience, stream.read_to_end(&mut Vec::new())).await {
            Ok(_) => Some(began.elapsed()),
            Err(_) => None,
        }
    };
    let (stuck, drip, follow) = tokio::join!(lasts("/stuck"), lasts("/drip"), lasts("/follow"));
    for ended in [stuck, drip] {
        assert!(ended.expect("given up") > LIMITS.answer - Duration::from_millis(100), "{ended:?}");
    }
    assert_eq!(follow, None, "it goes on");
}

#[test]
fn an_identity_is_read_as_it_was_stored_and_made_once() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Identity::load(dir.path()), Err(NetError::NoIdentity { .. })));
    let made = Identity::init(dir.path(), "prod", &"n1".into(), clock::wall_ms()).unwrap();
    let read = Identity::load(dir.path()).unwrap();
    assert_eq!((&read.cluster_id, &read.node, read.heartbeat_key), (&made.cluster_id, &made.node, made.heartbeat_key));
    assert!(read.can_sign() && read.cluster_id.len() == 32);
    let again = Identity::init(dir.path(), "prod", &"n1".into(), clock::wall_ms());
    assert!(matches!(again, Err(NetError::IdentityExists { .. })), "{again:?}");
    let (key, other) = (JoinKey::generate().unwrap(), cluster("n9", clock::wall_ms()));
    let joined = Identity::store_joined(dir.path(), &"n1".into(), &key, &grant(&other, &key, &"n1".into()));
    assert!(matches!(joined, Err(NetError::OtherCluster { .. })), "{joined:?}");
    assert!(matches!(read.expect_cluster(dir.path(), "x"), Err(NetError::OtherCluster { .. })));
}

#[test]
fn keys_that_others_can_read_are_refused_with_the_command_that_helps() {
    let dir = tempfile::tempdir().unwrap();
    Identity::init(dir.path(), "prod", &"n1".into(), clock::wall_ms()).unwrap();
    for (path, good, bad) in
        [("identity/node.key", 0o600, 0o640), ("identity/ca.key", 0o600, 0o604), ("identity", 0o700, 0o755)]
    {
        let path = dir.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(bad)).unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("chmod {good:o} {}", path.display())), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(good)).unwrap();
        assert!(Identity::load(dir.path()).is_ok());
    }
}

#[test]
fn an_identity_of_parts_that_do_not_fit_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Identity::init(dir.path(), "prod", &"n1".into(), clock::wall_ms()).unwrap();
    Identity::init(other.path(), "prod", &"n2".into(), clock::wall_ms()).unwrap();
    for file in ["node.pem", "node.key", "ca.pem"] {
        let (mine, theirs) = (dir.path().join("identity").join(file), other.path().join("identity").join(file));
        let kept = fs::read(&mine).unwrap();
        fs::copy(&theirs, &mine).unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(NetError::Damaged { .. })), "{file}");
        fs::write(&mine, kept).unwrap();
    }
    assert!(Identity::load(dir.path()).is_ok());
}

fn start_heartbeats(identity: &Identity, links: &[u8], port: u16, peers: &[(&str, &[u8])]) -> Heartbeats {
    let address = |last: &u8| IpAddr::V4(Ipv4Addr::new(127, 0, 9, *last));
    let config = HeartbeatConfig {
        incarnation: Incarnation { boot: format!("boot of {}", identity.node).into(), counter: 1 },
        links: links.iter().map(address).collect(),
        port,
        interval: Duration::from_millis(100),
        stall_after: Duration::from_millis(1500),
        peers: peers
            .iter()
            .map(|(node, links)| {
                (NodeId::new(*node), PeerAddr { addresses: links.iter().map(address).collect(), port })
            })
            .collect(),
    };
    Heartbeats::start(identity, config).unwrap()
}

/// A port number that is free on the addresses of these tests.
fn free_port(link: u8) -> u16 {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::new(127, 0, 9, link), 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// Waits for changes until `met` holds.
async fn until(heartbeats: &Heartbeats, what: &str, met: impl Fn(&Contacts) -> bool) {
    let mut changes = heartbeats.changes();
    let wait = async {
        while !met(&heartbeats.contacts()) {
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(TIMEOUT, wait).await;
    assert!(waited.is_ok(), "{what}: {:#?}", heartbeats.contacts());
}

#[tokio::test]
async fn nodes_hear_each_other_and_notice_when_one_falls_silent() {
    let n1 = cluster("n1", clock::wall_ms());
    let n2 = member(&n1, "n2");
    let all: &[(&str, &[u8])] = &[("n1", &[1, 2]), ("n2", &[3, 4])];
    let port = free_port(1);
    let first = start_heartbeats(&n1, &[1, 2], port, all);
    let second = start_heartbeats(&n2, &[3, 4], port, all);
    let heard = |contacts: &Contacts| {
        let echoed = contacts.peers["n2"].current().is_some_and(|boot| boot.echoed.is_some());
        echoed && contacts.peers["n2"].links.iter().all(|link| link.last_heard.is_some())
    };
    until(&first, "n1 hears n2", |contacts| contacts.peers["n2"].current().is_some_and(|boot| boot.echoed.is_some()))
        .await;
    until(&second, "n2 hears n1", |contacts| contacts.peers["n1"].current().is_some_and(|boot| boot.echoed.is_some()))
        .await;
    assert!(heard(&first.contacts()));
    drop(second);
    let nonce = first.nonce();
    until(&first, "the links go down", |contacts| {
        contacts.peers["n2"].links.iter().all(|link| link.state == LinkState::Down)
    })
    .await;
    let (contacts, boot) = (first.contacts(), "boot of n2".into());
    assert!(contacts.silent_for(&"n2".into(), &boot).unwrap() > Duration::from_millis(300));
    assert!(!contacts.answered(&"n2".into(), &boot, nonce));
}

/// Not a test of right or wrong: prints what heartbeats cost. `cargo test --lib heartbeats_cost -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn heartbeats_cost_little() {
    let n1 = cluster("n1", clock::wall_ms());
    let all: &[(&str, &[u8])] = &[("n1", &[11, 12]), ("n2", &[13, 14]), ("n3", &[15, 16])];
    let identities = [n1.clone(), member(&n1, "n2"), member(&n1, "n3")];
    let port = free_port(11);
    let running: Vec<_> =
        identities.iter().zip(all).map(|(identity, (_, links))| start_heartbeats(identity, links, port, all)).collect();
    let before = used();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let spent = used() - before;
    println!("{:.3} % of a core per node", spent.as_secs_f64() / 20.0 / 3.0 * 100.0);
    assert!(running[0].contacts().peers["n3"].current().is_some());
}

fn used() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    Duration::new(time.tv_sec() as u64, time.tv_nsec() as u32)
}

#[tokio::test]
async fn a_second_daemon_on_the_same_addresses_is_refused() {
    let n1 = cluster("n1", clock::wall_ms());
    let port = free_port(21);
    let _first = start_heartbeats(&n1, &[21], port, &[]);
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 9, 21));
    let config = HeartbeatConfig {
        incarnation: Incarnation { boot: "b".into(), counter: 2 },
        links: vec![address],
        port,
        interval: Duration::from_millis(100),
        stall_after: Duration::from_secs(1),
        peers: BTreeMap::new(),
    };
    let error = Heartbeats::start(&n1, config).err().unwrap();
    assert!(matches!(error, NetError::Socket { address: at, .. } if at.ip() == address), "{error}");
}

#[tokio::test]
async fn forged_and_replayed_datagrams_count_for_nothing() {
    let n1 = cluster("n1", clock::wall_ms());
    let port = free_port(31);
    let heartbeats = start_heartbeats(&n1, &[31], port, &[("n2", &[32])]);
    let beat = datagram::Beat {
        from: "n2".into(),
        incarnation: Incarnation { boot: "b".into(), counter: 1 },
        seq: 1,
        link: 0,
        heard: Vec::new(),
    };
    let sender = std::net::UdpSocket::bind((Ipv4Addr::new(127, 0, 9, 32), 0)).unwrap();
    let good = datagram::Codec::new(&n1.cluster_id, &n1.heartbeat_key).encode(&beat).0;
    let forged = datagram::Codec::new(&n1.cluster_id, &[0; 32]).encode(&beat).0;
    let foreign = datagram::Codec::new("another", &n1.heartbeat_key).encode(&beat).0;
    // The good one last, so that all have arrived when it was heard; then the replay.
    for bytes in [&forged, &foreign, &good] {
        sender.send_to(bytes, (Ipv4Addr::new(127, 0, 9, 31), port)).unwrap();
    }
    until(&heartbeats, "the good one", |contacts| contacts.peers["n2"].current().is_some()).await;
    sender.send_to(&good, (Ipv4Addr::new(127, 0, 9, 31), port)).unwrap();
    until(&heartbeats, "the link goes down: the replay did not count", |contacts| {
        contacts.peers["n2"].links[0].state == LinkState::Down
    })
    .await;
    use datagram::Refused::{Forged, OtherCluster, Replayed};
    assert_eq!(heartbeats.contacts().refused, [(Forged, 1), (OtherCluster, 1), (Replayed, 1)].into());
}

/// Forwards connections on `from` to `to` until the token is cancelled; then it holds them open and forwards nothing,
/// like a network that was cut.
async fn cable(from: SocketAddr, to: SocketAddr, cut: CancellationToken) {
    let listener = TcpListener::bind(from).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let cut = cut.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = cut.cancelled() => std::future::pending().await,
                }
            });
        }
    });
}

#[tokio::test]
async fn a_cut_of_a_link_in_use_is_survived() {
    let n1 = cluster("n1", clock::wall_ms());
    let (server, _shutdown) = listen(&member(&n1, "n2"), SocketAddr::new(SECOND, 0)).await;
    let cut = CancellationToken::new();
    cable(SocketAddr::new(HOME, server.port()), server, cut.clone()).await;
    let clients = peers(&n1, "n2", &[HOME, SECOND], server.port());
    assert!(ask_who(&clients, "n2").await.is_ok());
    cut.cancel();
    let timeout = Duration::from_millis(600);
    for (least, most) in [(timeout / 2, timeout), (Duration::ZERO, timeout / 2)] {
        let began = Instant::now();
        let answer = clients.post(&"n2".into(), "/echo", Bytes::from("a"), timeout, Repeat::Harmless).await;
        assert_eq!(answer.unwrap(), "a");
        assert!((least..most).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

#[test]
fn a_peer_that_restarted_is_reached_at_once_over_its_only_link() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let n1 = cluster("n1", clock::wall_ms());
    let n2 = member(&n1, "n2");
    let client = runtime();
    let first = runtime();
    let (address, _shutdown) = first.block_on(listen(&n2, SocketAddr::new(HOME, 0)));
    let clients = peers(&n1, "n2", &[HOME], address.port());
    let n2_name = NodeId::new("n2");
    let post = || clients.post(&n2_name, "/echo", Bytes::from("a"), TIMEOUT, Repeat::Harmless);
    assert_eq!(client.block_on(post()).unwrap(), "a");
    drop(first);
    let second = runtime();
    let _shutdown = second.block_on(listen(&n2, address));
    assert_eq!(client.block_on(post()).unwrap(), "a");
}
