//! Redfish, natively: the power of one machine behind a BMC, read back after every change.
//!
//! A [`FenceRequest`] for the agent `redfish` → a [`FenceReading`]. Parameters: `ip` (and `ipport`) or `url`, `system` (or
//! `targets`, or the only system there is), `username`, the secret `password`, and for TLS `ca` (a PEM file with the CA's
//! or the BMC's own certificate) or `insecure: "true"`.
//!
//! Invariants: what a BMC answers to a change is never believed, only the `PowerState` read afterwards; `PoweredOff` means
//! it read `Off` after `ForceOff` was sent (or refused by one that was off already); every request and every wait ends with
//! the time-out of the request. Redirects and addresses on other hosts are not followed: the password would go with them.
//!
//! Errors are words for people: they go into the attempt and to `status`. They never hold the password.

use super::fence::{FenceReading, FenceRequest, Verb};
use super::ocf::scrub;
use super::redfish_tls;
use super::secrets::{Opened, hidden};
use crate::model::{FencingDevice, NodeId};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The name of the agent in manifests.
pub(super) const AGENT: &str = "redfish";
/// Between two readings while the power changes.
const POLL: Duration = Duration::from_millis(250);
/// A change that shows no effect for so long is asked for again, as often as the device's `retries` allow. BMCs have been
/// seen to take ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between a request that failed and the next.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// One request; BMCs answer within seconds. A longer silence is worth another connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A system resource is some KiB, the list of systems too.
const MAX_BODY: usize = 1 << 20;
/// Of a BMC's own words.
const MAX_WORDS: usize = 200;
/// Systems named in an error.
const MAX_NAMED: usize = 8;

/// Does what is asked, within the request's time-out. Returns what was said, one line per request, for the output.
pub(super) async fn run(request: &FenceRequest, secrets: &Opened) -> (FenceReading, String) {
    let hidden = hidden(secrets);
    let mut bmc = match Bmc::new(&request.device, &request.target, secrets, Instant::now() + request.timeout) {
        Ok(bmc) => bmc,
        Err(why) => return (FenceReading::Failed(why), String::new()),
    };
    let reading = match request.verb {
        Verb::Off => bmc.switch(Power::Off).await,
        Verb::On => bmc.switch(Power::On).await,
        Verb::Status => bmc.read().await,
        Verb::Monitor => bmc.read().await.map(|_| FenceReading::Done),
    };
    let reading = match reading {
        Ok(reading) => reading,
        Err(Trouble::TimedOut) => FenceReading::TimedOut,
        Err(Trouble::Refused(why) | Trouble::Passing(why)) => FenceReading::Failed(scrub(why, &hidden)),
    };
    (reading, scrub(bmc.said, &hidden))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Off,
}

impl Power {
    fn reset_type(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "ForceOff",
        }
    }
    fn reading(self) -> FenceReading {
        match self {
            Self::On => FenceReading::PoweredOn,
            Self::Off => FenceReading::PoweredOff,
        }
    }
}

#[derive(Debug)]
enum Trouble {
    /// The time-out of the whole request has passed.
    TimedOut,
    /// Asking again would bring the same answer.
    Refused(String),
    /// May pass: no connection, a busy BMC.
    Passing(String),
}

struct Bmc {
    client: Client,
    base: Url,
    user: String,
    password: String,
    wanted: Option<String>,
    retries: u32,
    deadline: Instant,
    said: String,
}

/// One system, as read.
struct System {
    path: String,
    state: String,
    /// Where a change of power is asked for.
    reset: Option<String>,
    /// What may be asked for, where the BMC says so.
    allowed: Vec<String>,
}

impl Bmc {
    fn new(device: &FencingDevice, target: &NodeId, secrets: &Opened, deadline: Instant) -> Result<Self, String> {
        let param = |name: &str| {
            let given = device.params.get(name).map(String::as_str);
            given.or_else(|| secrets.get(name).map(|secret| secret.as_str()))
        };
        let base = base_url(param("url"), param("ip"), param("ipport"))?;
        let client = redfish_tls::client(param("ca"), param("insecure") == Some("true"))?;
        // The node's entry in `targets` is more special than the device's own parameter.
        let wanted = device.targets.get(target).map(String::as_str).or_else(|| param("system"));
        Ok(Self {
            client,
            base,
            user: param("username").unwrap_or_default().to_owned(),
            password: param("password").unwrap_or_default().to_owned(),
            wanted: wanted.map(str::to_owned),
            retries: device.retries,
            deadline,
            said: String::new(),
        })
    }

    async fn read(&mut self) -> Result<FenceReading, Trouble> {
        let system = self.system().await?;
        // Everything between is still on: a machine that is going off may yet write.
        Ok(if system.state == "Off" { FenceReading::PoweredOff } else { FenceReading::PoweredOn })
    }

    /// Asks for a change and reads until it shows.
    async fn switch(&mut self, to: Power) -> Result<FenceReading, Trouble> {
        let mut tries_left = self.retries;
        loop {
            let trouble = match self.switch_once(to).await {
                Ok(true) => return Ok(to.reading()),
                Ok(false) => Trouble::Passing(format!(
                    "`{}` was accepted, but the system does not read `{to:?}`",
                    to.reset_type()
                )),
                Err(trouble @ (Trouble::TimedOut | Trouble::Refused(_))) => return Err(trouble),
                Err(passing) => passing,
            };
            if tries_left == 0 {
                return Err(trouble);
            }
            tries_left -= 1;
            self.pause(RETRY_PAUSE).await?;
        }
    }

    /// One request for a change. False: it showed no effect for as long as is waited for one.
    async fn switch_once(&mut self, to: Power) -> Result<bool, Trouble> {
        let system = self.system().await?;
        let wanted = to.reset_type();
        let Some(reset) = system.reset else {
            return Err(Trouble::Refused(format!("system `{}` offers no way to change its power", system.path)));
        };
        if !system.allowed.is_empty() && !system.allowed.iter().any(|allowed| allowed == wanted) {
            let allowed = system.allowed.join(", ");
            return Err(Trouble::Refused(format!("system `{}` cannot do `{wanted}`, only {allowed}", system.path)));
        }
        let body = serde_json::json!({ "ResetType": wanted });
        let refused = match self.ask(Method::POST, &reset, Some(&body)).await {
            Ok(_) => None,
            // Many BMCs refuse to switch off what is off. The state decides.
            Err(Trouble::Refused(why)) => Some(why),
            Err(other) => return Err(other),
        };
        let patience = Instant::now() + PATIENCE;
        loop {
            // From where it was found: looking for it again could end at another one.
            let state = self.system_at(&system.path).await?.state;
            if state == format!("{to:?}") {
                return Ok(true);
            }
            if let Some(why) = refused {
                return Err(Trouble::Refused(format!("`{wanted}` was refused, and the system reads `{state}`: {why}")));
            }
            if Instant::now() >= patience {
                return Ok(false);
            }
            self.pause(POLL).await?;
        }
    }

    async fn system(&mut self) -> Result<System, Trouble> {
        let wanted = self.wanted.clone();
        match wanted {
            Some(path) if path.starts_with('/') => self.system_at(&path).await,
            Some(name) => {
                let listed = self.listed().await?;
                match listed.iter().find(|path| id_of(path) == name) {
                    Some(path) => self.system_at(path).await,
                    None => self.by_name(&listed, &name).await,
                }
            }
            None => match self.listed().await?.as_slice() {
                [] => Err(Trouble::Refused("the BMC lists no systems".into())),
                [only] => self.system_at(only).await,
                several => Err(Trouble::Refused(format!(
                    "the BMC has {} systems, so `system` must name one: {}",
                    several.len(),
                    names(several)
                ))),
            },
        }
    }

    /// By the `Name` of a system, which is what people see; only if it is the only one of that name.
    async fn by_name(&mut self, listed: &[String], name: &str) -> Result<System, Trouble> {
        let mut found = Vec::new();
        for path in listed {
            let (system, said) = self.read_system(path).await?;
            if said.get("Name").and_then(Value::as_str) == Some(name) {
                found.push(system);
            }
        }
        match (found.pop(), found.is_empty()) {
            (Some(system), true) => Ok(system),
            (Some(_), false) => {
                Err(Trouble::Refused(format!("several systems are called `{name}`: name one by its id")))
            }
            (None, _) => Err(Trouble::Refused(format!("there is no system `{name}`; the BMC has {}", names(listed)))),
        }
    }

    async fn listed(&mut self) -> Result<Vec<String>, Trouble> {
        let answer = self.ask(Method::GET, "/redfish/v1/Systems", None).await?;
        let members = answer.get("Members").and_then(Value::as_array);
        let Some(members) = members else {
            return Err(Trouble::Refused("its answer is no list of systems: is this a Redfish service?".into()));
        };
        let path = |member: &Value| member.get("@odata.id").and_then(Value::as_str).map(str::to_owned);
        Ok(members.iter().filter_map(path).collect())
    }

    async fn system_at(&mut self, path: &str) -> Result<System, Trouble> {
        Ok(self.read_system(path).await?.0)
    }

    async fn read_system(&mut self, path: &str) -> Result<(System, Value), Trouble> {
        let said = match self.ask(Method::GET, path, None).await {
            Err(Trouble::Refused(why)) if why.starts_with("404") => {
                let listed = Box::pin(self.listed()).await?;
                return Err(Trouble::Refused(format!(
                    "there is no system at `{path}`; the BMC has {}",
                    names(&listed)
                )));
            }
            other => other?,
        };
        let Some(state) = said.get("PowerState").and_then(Value::as_str).map(str::to_owned) else {
            return Err(Trouble::Passing(format!("system `{path}` does not say whether it is on")));
        };
        let reset = said.pointer("/Actions/#ComputerSystem.Reset");
        let target = reset.and_then(|reset| reset.get("target")).and_then(Value::as_str);
        let allowed = reset.and_then(|reset| reset.get("ResetType@Redfish.AllowableValues")).and_then(Value::as_array);
        let allowed = allowed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok((System { path: path.to_owned(), state, reset: target.map(str::to_owned), allowed }, said))
    }

    /// One request; its answer, if that is a success.
    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        let left = self.left()?;
        if !path.starts_with('/') || path.starts_with("//") {
            return Err(Trouble::Refused(format!("the BMC names `{path}`, which is not on itself")));
        }
        let url = self.base.join(path).map_err(|error| Trouble::Refused(format!("`{path}`: {error}")))?;
        let mut request = self.client.request(method.clone(), url).timeout(left.min(REQUEST_TIMEOUT));
        if !self.user.is_empty() {
            request = request.basic_auth(&self.user, Some(&self.password));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = exchange(request).await;
        let words = match &answer {
            Ok((status, _)) => status.as_u16().to_string(),
            Err(error) => in_words(error),
        };
        // Writing to a String does not fail.
        let _ = writeln!(self.said, "{method} {path}: {words}");
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() && self.left().is_err() => return Err(Trouble::TimedOut),
            Err(error) => return Err(self.unreachable(&error)),
        };
        let json = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(json);
        }
        let said = own_words(&json).map(|words| format!(": {words}")).unwrap_or_default();
        let number = status.as_u16();
        Err(match status {
            StatusCode::UNAUTHORIZED => {
                Trouble::Refused(format!("401: the BMC refuses the user name or the password of `{}`{said}", self.user))
            }
            StatusCode::FORBIDDEN => Trouble::Refused(format!("403: `{}` may not do this on the BMC{said}", self.user)),
            _ if status.is_server_error() || matches!(number, 408 | 409 | 423 | 425 | 429) => {
                Trouble::Passing(format!("{number} for `{path}`{said}"))
            }
            _ => Trouble::Refused(format!("{number} for `{path}`{said}")),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Trouble {
        let at = self.base.authority();
        let words = in_words(error);
        match error.is_timeout() {
            true => Trouble::Passing(format!("{at} does not answer")),
            false if redfish_tls::is_about_trust(error) => Trouble::Refused(format!(
                "the certificate of {at} is not trusted ({words}); name its file in `ca`, or set `insecure: \"true\"`"
            )),
            false => Trouble::Passing(format!("no connection to {at}: {words}")),
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), Trouble> {
        let left = self.left()?;
        tokio::time::sleep(pause.min(left)).await;
        self.left().map(drop)
    }

    fn left(&self) -> Result<Duration, Trouble> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Trouble::TimedOut) } else { Ok(left) }
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_BODY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            // What is cut off is no JSON any more, and is told as an answer without sense.
            break;
        }
    }
    Ok((status, body))
}

/// `url`, or HTTPS to `ip`. Only the host and the port of it are used.
fn base_url(url: Option<&str>, ip: Option<&str>, port: Option<&str>) -> Result<Url, String> {
    let text = match (url, ip) {
        (Some(url), _) => url.to_owned(),
        (None, Some(ip)) => {
            let host = match ip.parse::<std::net::Ipv6Addr>() {
                Ok(v6) => format!("[{v6}]"),
                Err(_) => ip.to_owned(),
            };
            format!("https://{host}{}", port.map(|port| format!(":{port}")).unwrap_or_default())
        }
        (None, None) => return Err("neither `ip` nor `url` says where the BMC is".into()),
    };
    let parsed = Url::parse(&text).map_err(|error| format!("`{text}` is no address of a BMC: {error}"))?;
    match parsed.scheme() {
        "https" | "http" if parsed.has_host() => Ok(parsed),
        _ => Err(format!("`{text}` is no address of a BMC: write `https://HOST`")),
    }
}

fn id_of(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn names(paths: &[String]) -> String {
    let mut text = paths.iter().take(MAX_NAMED).map(|path| id_of(path)).collect::<Vec<_>>().join(", ");
    if paths.is_empty() {
        text = "none".into();
    }
    if paths.len() > MAX_NAMED {
        let _ = write!(text, " and {} more", paths.len() - MAX_NAMED);
    }
    text
}

/// What a Redfish error says (DSP0266, "Error responses"), cut to a line.
fn own_words(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    let message =
        error.pointer("/@Message.ExtendedInfo/0/Message").or_else(|| error.get("message")).and_then(Value::as_str)?;
    Some(message.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// The cause of an error, which says more than the error.
fn in_words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
#[path = "redfish_tests.rs"]
mod tests;
