//! The native client against a BMC of this process; `e2e/bmc_test.rs` has it against a real emulator.

use super::*;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What the BMC does, and what it was asked.
#[derive(Default)]
struct Behaviour {
    systems: Vec<(&'static str, &'static str)>,
    state: &'static str,
    /// Readings until a change shows; None: never.
    shows_after: Option<u32>,
    /// The status of the answer to a change.
    answer: u16,
    pending: Option<(u32, &'static str)>,
    changes: Vec<String>,
    allowed: Option<Vec<&'static str>>,
    target: Option<&'static str>,
    silent: bool,
}

type Bmc_ = Arc<Mutex<Behaviour>>;

fn one() -> Behaviour {
    Behaviour { systems: vec![("s1", "n2")], state: "On", shows_after: Some(0), answer: 204, ..Behaviour::default() }
}

fn known(headers: &HeaderMap) -> bool {
    use base64::Engine;
    let wanted = base64::engine::general_purpose::STANDARD.encode("admin:hunter2");
    headers.get("authorization").is_some_and(|value| value == &format!("Basic {wanted}"))
}

async fn systems(State(bmc): State<Bmc_>, headers: HeaderMap) -> axum::response::Response {
    if !known(&headers) {
        let words = json!({ "error": { "message": "login required" } });
        return (StatusCode::UNAUTHORIZED, Json(words)).into_response();
    }
    if bmc.lock().unwrap().silent {
        std::future::pending::<()>().await;
    }
    let ids = bmc.lock().unwrap().systems.clone();
    let members: Vec<Value> =
        ids.iter().map(|(id, _)| json!({ "@odata.id": format!("/redfish/v1/Systems/{id}") })).collect();
    Json(json!({ "Members": members })).into_response()
}

async fn system(State(bmc): State<Bmc_>, Path(id): Path<String>) -> axum::response::Response {
    let mut bmc = bmc.lock().unwrap();
    let Some((_, name)) = bmc.systems.iter().find(|(known, _)| *known == id).copied() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if let Some((left, to)) = bmc.pending {
        match left.checked_sub(1) {
            Some(left) => bmc.pending = Some((left, to)),
            None => {
                bmc.state = to;
                bmc.pending = None;
            }
        }
    }
    let target =
        bmc.target.map_or_else(|| format!("/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset"), Into::into);
    let mut reset = json!({ "target": target });
    if let Some(allowed) = &bmc.allowed {
        reset["ResetType@Redfish.AllowableValues"] = json!(allowed);
    }
    Json(json!({ "Name": name, "PowerState": bmc.state, "Actions": { "#ComputerSystem.Reset": reset } }))
        .into_response()
}

async fn reset(State(bmc): State<Bmc_>, Path(_): Path<String>, Json(body): Json<Value>) -> axum::response::Response {
    let mut bmc = bmc.lock().unwrap();
    let wanted = body["ResetType"].as_str().unwrap().to_owned();
    bmc.changes.push(wanted.clone());
    let to = if wanted == "ForceOff" { "Off" } else { "On" };
    bmc.pending = bmc.shows_after.map(|readings| (readings, to));
    let words = json!({ "error": { "@Message.ExtendedInfo": [{ "Message": "not in this state" }] } });
    let status = StatusCode::from_u16(bmc.answer).unwrap();
    if status.is_success() { status.into_response() } else { (status, Json(words)).into_response() }
}

async fn bmc(behaviour: Behaviour) -> (Bmc_, String) {
    let shared = Arc::new(Mutex::new(behaviour));
    let routes = Router::new()
        .route("/redfish/v1/Systems", get(systems))
        .route("/redfish/v1/Systems/{id}", get(system))
        .route("/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset", post(reset))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (shared, url)
}

fn request(verb: Verb, timeout_ms: u64, params: &[(&str, &str)]) -> FenceRequest {
    let device = FencingDevice {
        agent: AGENT.into(),
        params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        secrets: BTreeMap::new(),
        targets: BTreeMap::new(),
        timeout: Duration::from_secs(60),
        delay: Duration::ZERO,
        retries: 1,
        check: Duration::from_secs(600),
    };
    FenceRequest { name: "bmc".into(), device, target: "n2".into(), verb, timeout: Duration::from_millis(timeout_ms) }
}

async fn ask(url: &str, verb: Verb, timeout_ms: u64, more: &[(&str, &str)]) -> (FenceReading, String) {
    let mut params = vec![("url", url), ("username", "admin")];
    params.extend_from_slice(more);
    run(&request(verb, timeout_ms, &params), &BTreeMap::from([("password".into(), "hunter2".to_owned().into())])).await
}

fn words(reading: FenceReading) -> String {
    match reading {
        FenceReading::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn power_is_read_back_after_every_change() {
    let (bmc, url) = bmc(Behaviour { shows_after: Some(2), ..one() }).await;
    let mut readings = Vec::new();
    for verb in [Verb::Status, Verb::Off, Verb::Status, Verb::On, Verb::Status, Verb::Monitor] {
        readings.push(ask(&url, verb, 20_000, &[]).await.0);
    }
    use FenceReading::{Done, PoweredOff, PoweredOn};
    assert_eq!(readings, [PoweredOn, PoweredOff, PoweredOff, PoweredOn, PoweredOn, Done]);
    assert_eq!(bmc.lock().unwrap().changes, ["ForceOff", "On"]);
}

#[tokio::test]
async fn a_bmc_that_accepts_and_does_nothing_is_never_off() {
    let (_, url) = bmc(Behaviour { shows_after: None, answer: 200, ..one() }).await;
    assert_eq!(ask(&url, Verb::Off, 900, &[]).await.0, FenceReading::TimedOut);
    let (_, url) = bmc(Behaviour { state: "PoweringOff", shows_after: None, ..one() }).await;
    assert_eq!(ask(&url, Verb::Status, 900, &[]).await.0, FenceReading::PoweredOn, "it may still write");
    assert_eq!(ask(&url, Verb::Off, 900, &[]).await.0, FenceReading::TimedOut);
}

#[tokio::test]
async fn a_change_that_is_refused_counts_only_if_the_state_is_there_already() {
    let (_, url) = bmc(Behaviour { state: "Off", shows_after: None, answer: 400, ..one() }).await;
    assert_eq!(ask(&url, Verb::Off, 9_000, &[]).await.0, FenceReading::PoweredOff);
    let (_, url) = bmc(Behaviour { shows_after: None, answer: 400, ..one() }).await;
    let why = words(ask(&url, Verb::Off, 9_000, &[]).await.0);
    assert!(why.contains("the system reads `On`") && why.contains("not in this state"), "{why}");
    let (busy, url) = bmc(Behaviour { shows_after: None, answer: 503, ..one() }).await;
    let why = words(ask(&url, Verb::Off, 9_000, &[]).await.0);
    assert!(why.contains("503") && busy.lock().unwrap().changes.len() == 2, "tried again: {why}");
}

#[tokio::test]
async fn a_silent_bmc_times_out_and_a_missing_one_fails() {
    let (_, url) = bmc(Behaviour { silent: true, ..one() }).await;
    assert_eq!(ask(&url, Verb::Off, 700, &[]).await.0, FenceReading::TimedOut);
    // Nobody listens on the port that was just given back.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let why = words(ask(&format!("http://{free}"), Verb::Status, 5_000, &[]).await.0);
    assert!(why.contains("no connection to 127.0.0.1") && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn errors_name_what_would_help() {
    let (_, url) = bmc(one()).await;
    let wrong = BTreeMap::from([("password".to_owned(), "wrong-secret".to_owned().into())]);
    let asked = request(Verb::Off, 5_000, &[("url", &url), ("username", "admin")]);
    let (reading, output) = run(&asked, &wrong).await;
    let why = words(reading);
    assert!(why.contains("401") && why.contains("`admin`") && why.contains("login required"), "{why}");
    assert!(!output.contains("wrong-secret") && output.contains("GET /redfish/v1/Systems: 401"), "{output}");
    let why = words(ask(&url, Verb::Off, 5_000, &[("system", "s9")]).await.0);
    assert!(why.contains("no system `s9`") && why.contains("the BMC has s1"), "{why}");
    let why = words(ask(&url, Verb::Off, 5_000, &[("system", "/redfish/v1/Systems/s9")]).await.0);
    assert!(why.contains("the BMC has s1"), "{why}");
    let (_, several) = bmc(Behaviour { systems: vec![("s1", "n1"), ("s2", "n2")], ..one() }).await;
    let why = words(ask(&several, Verb::Off, 5_000, &[]).await.0);
    assert!(why.contains("`system` must name one: s1, s2"), "{why}");
    let (_, weak) = bmc(Behaviour { allowed: Some(vec!["On", "GracefulShutdown"]), ..one() }).await;
    let why = words(ask(&weak, Verb::Off, 5_000, &[]).await.0);
    assert!(why.contains("cannot do `ForceOff`, only On, GracefulShutdown"), "{why}");
}

#[tokio::test]
async fn a_system_is_found_by_id_by_name_or_by_the_nodes_target() {
    let (bmc, url) = bmc(Behaviour { systems: vec![("s1", "n1"), ("s2", "n2")], ..one() }).await;
    for system in ["s2", "n2", "/redfish/v1/Systems/s2"] {
        assert_eq!(ask(&url, Verb::Status, 5_000, &[("system", system)]).await.0, FenceReading::PoweredOn, "{system}");
    }
    let mut asked = request(Verb::Off, 5_000, &[("url", &url), ("username", "admin"), ("system", "s1")]);
    asked.device.targets.insert("n2".into(), "s2".into());
    let (reading, said) = run(&asked, &BTreeMap::from([("password".into(), "hunter2".to_owned().into())])).await;
    assert_eq!(reading, FenceReading::PoweredOff);
    assert!(said.contains("POST /redfish/v1/Systems/s2/") && !said.contains("s1"), "{said}");
    assert_eq!(bmc.lock().unwrap().changes, ["ForceOff"]);
}

#[tokio::test]
async fn the_password_goes_nowhere_else() {
    let (_, url) = bmc(Behaviour { target: Some("http://192.0.2.66/reset"), ..one() }).await;
    let why = words(ask(&url, Verb::Off, 5_000, &[]).await.0);
    assert!(why.contains("which is not on itself"), "{why}");
    let (_, url) = bmc(Behaviour { target: Some("//192.0.2.66/reset"), ..one() }).await;
    assert!(words(ask(&url, Verb::Off, 5_000, &[]).await.0).contains("which is not on itself"));
}

/// A TLS server that shows this certificate and answers one request with the list of no systems.
async fn tls_server(key: &rcgen::KeyPair, certificate: &rcgen::Certificate) -> u16 {
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let body = r#"{"Members":[]}"#;
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn a_self_signed_bmc_is_trusted_by_its_file_or_on_request_and_never_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["bmc.invalid".to_owned()]).unwrap();
        // As `openssl req -x509` and most BMCs make them.
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, certificate.pem()).unwrap();
        (key, certificate, file.display().to_string())
    };
    let (key, certificate, file) = make("own.pem");
    let (_, _, other) = make("other.pem");
    let port = tls_server(&key, &certificate).await.to_string();
    let at = [("ip", "127.0.0.1"), ("ipport", port.as_str()), ("username", "admin")];
    let status = async |more: &[(&str, &str)]| {
        let params: Vec<_> = at.iter().chain(more).copied().collect();
        words(run(&request(Verb::Status, 5_000, &params), &BTreeMap::new()).await.0)
    };
    for more in [&[][..], &[("ca", other.as_str())], &[("insecure", "false")]] {
        let why = status(more).await;
        assert!(why.contains("is not trusted") && why.contains("`ca`"), "{more:?}: {why}");
    }
    for more in [[("ca", file.as_str())], [("insecure", "true")]] {
        let why = status(&more).await;
        assert!(why.contains("lists no systems"), "{more:?}: {why}");
    }
    let why = status(&[("ca", "/nowhere/ca.pem")]).await;
    assert!(why.contains("/nowhere/ca.pem") && why.contains("`ca`"), "{why}");
}

#[test]
fn addresses_of_bmcs() {
    let at = |url, ip, port| base_url(url, ip, port).map(|url| url.to_string());
    assert_eq!(at(None, Some("192.0.2.7"), None).unwrap(), "https://192.0.2.7/");
    assert_eq!(at(None, Some("2001:db8::7"), Some("8443")).unwrap(), "https://[2001:db8::7]:8443/");
    assert_eq!(at(Some("http://bmc:8000/x"), None, None).unwrap(), "http://bmc:8000/x");
    assert!(at(Some("ftp://bmc"), None, None).is_err());
    assert!(at(None, Some("a b"), None).is_err());
    assert!(at(None, None, None).is_err());
}
