//! Can the agent `redfish` work with what it is given?
//!
//! Input → output: one FencingDevice → findings. The agent is part of this program, so that it has no metadata which
//! `check_agents` could go by.

use super::document::Doc;
use super::explain::Code;
use super::raw::RawFencingDevice;
use super::report::Report;
use crate::model::suggest;
use std::collections::BTreeMap;

/// The name of the agent.
const AGENT: &str = "redfish";
const PARAMETERS: [&str; 8] = ["ip", "ipport", "url", "system", "username", "password", "ca", "insecure"];

pub(super) fn check(doc: &Doc, raw: &RawFencingDevice, report: &mut Report) {
    if raw.agent != AGENT {
        return;
    }
    unknown(doc, raw, report);
    address(doc, raw, report);
    trust(doc, raw, report);
    for name in ["username", "password"] {
        if !given(raw, name) {
            missing(doc, &format!("`{name}`"), help_for(name, doc), report);
        }
    }
}

fn param<'a>(raw: &'a RawFencingDevice, name: &str) -> Option<&'a str> {
    raw.params.as_ref()?.get(name).map(|value| value.0.as_str())
}

fn given(raw: &RawFencingDevice, name: &str) -> bool {
    param(raw, name).is_some() || raw.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(name))
}

fn help_for(name: &str, doc: &Doc) -> String {
    match name {
        "password" => format!("write `secrets: {{ password: {{ file: /etc/hafen/secrets/{} }} }}`", doc.name),
        name => format!("write it in `params`, as in `{name}: admin`"),
    }
}

fn missing(doc: &Doc, what: &str, help: String, report: &mut Report) {
    let message = format!("`{AGENT}` needs the parameter {what}");
    report.add(Code::MissingParameter, doc.file, doc.span(&["agent"]), message, Some(help));
}

fn unknown(doc: &Doc, raw: &RawFencingDevice, report: &mut Report) {
    let params = raw.params.iter().flat_map(BTreeMap::keys).map(|key| ("params", key));
    let secrets = raw.secrets.iter().flat_map(BTreeMap::keys).map(|key| ("secrets", key));
    for (section, key) in params.chain(secrets).filter(|(_, key)| !PARAMETERS.contains(&key.as_str())) {
        let message = format!("`{AGENT}` has no parameter `{key}`");
        let help = match suggest::nearest(key, PARAMETERS) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("its parameters are {}", PARAMETERS.join(", ")),
        };
        report.add(Code::UnknownParameter, doc.file, doc.key_span(&[section, key]), message, Some(help));
    }
}

fn address(doc: &Doc, raw: &RawFencingDevice, report: &mut Report) {
    match (param(raw, "ip"), param(raw, "url")) {
        (None, None) if !given(raw, "ip") && !given(raw, "url") => {
            missing(doc, "`ip` or `url`", "write where the BMC is: `ip: 192.0.2.101`".into(), report);
        }
        (Some(_), Some(_)) => {
            let help = "keep `ip`, or `url` for another port or scheme".to_owned();
            let span = doc.key_span(&["params", "url"]);
            report.add(
                Code::ContradictingFields,
                doc.file,
                span,
                "`ip` and `url` both say where the BMC is",
                Some(help),
            );
        }
        (_, Some(url)) if !url.starts_with("https://") && !url.starts_with("http://") => {
            let message = format!("`{url}` is no address of a BMC");
            let help = "write `https://HOST` or `https://HOST:PORT`".to_owned();
            report.add(Code::UnknownValue, doc.file, doc.span(&["params", "url"]), message, Some(help));
        }
        (_, Some(url)) if url.starts_with("http://") => {
            let message = "without TLS anybody on the way reads the password, and can say that the node is off";
            let help = "write `https://`".to_owned();
            report.add(Code::BlindTrust, doc.file, doc.span(&["params", "url"]), message, Some(help));
        }
        (Some(_) | None, _) => {}
    }
    for name in ["ipport"] {
        if param(raw, name).is_some_and(|port| port.parse::<u16>().is_err()) {
            let message = format!("`{name}` is no port");
            report.add(Code::UnknownValue, doc.file, doc.span(&["params", name]), message, None);
        }
    }
}

fn trust(doc: &Doc, raw: &RawFencingDevice, report: &mut Report) {
    let Some(insecure) = param(raw, "insecure") else { return };
    let span = doc.span(&["params", "insecure"]);
    match insecure {
        "false" => {}
        "true" if given(raw, "ca") => {
            let help = "keep `ca`".to_owned();
            report.add(Code::ContradictingFields, doc.file, span, "`insecure` makes `ca` useless", Some(help));
        }
        "true" => {
            let message = "the BMC's certificate is not looked at: anybody on the way can say that the node is off";
            let help = "copy its certificate to the nodes, and name the file: `ca: /etc/hafen/bmc.pem`".to_owned();
            report.add(Code::BlindTrust, doc.file, span, message, Some(help));
        }
        other => {
            let message = format!("`{other}` is neither true nor false");
            report.add(Code::UnknownValue, doc.file, span, message, Some("write `insecure: \"false\"`".into()));
        }
    }
}
