//! The XML that agents print about themselves, read into [`AgentMetadata`].
//!
//! OCF 1.0 and 1.1 and fence agents share one format; what is missing or odd in it is left out, never an error, as long
//! as the XML itself can be read: agents are written by many hands.

use crate::model::{ActionMeta, AgentMetadata, ParameterKind, ParameterMeta};
use roxmltree::{Document, Node, ParsingOptions};
use std::time::Duration;

/// Reads metadata; the error says what is wrong with the XML.
pub fn parse(xml: &str) -> Result<AgentMetadata, String> {
    // Some agents print words before their XML; most name a document type.
    let xml = xml.find("<?xml").or_else(|| xml.find("<resource-agent")).map_or(xml, |start| &xml[start..]);
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(xml, options).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "resource-agent" {
        return Err(format!("the root element is `{}`, not `resource-agent`", root.tag_name().name()));
    }
    let mut metadata = AgentMetadata {
        name: attribute(root, "name"),
        // Fence agents have it as an attribute, OCF agents as an element.
        shortdesc: root.attribute("shortdesc").map_or_else(|| text_of(root, "shortdesc"), str::to_owned),
        ocf_1_1: is_1_1(&text_of(root, "version")),
        ..AgentMetadata::default()
    };
    for parameter in root.descendants().filter(|node| node.has_tag_name("parameter")) {
        if let Some(name) = parameter.attribute("name") {
            metadata.parameters.insert(name.to_owned(), parameter_of(parameter));
        }
    }
    for action in root.descendants().filter(|node| node.has_tag_name("action")) {
        let duration = |name| action.attribute(name).and_then(duration_of);
        if let Some(name) = action.attribute("name") {
            let meta = ActionMeta { timeout: duration("timeout"), interval: duration("interval") };
            // The first monitor is the plain one; later ones have a role or a depth.
            metadata.actions.entry(name.to_owned()).or_insert(meta);
        }
    }
    Ok(metadata)
}

fn parameter_of(parameter: Node<'_, '_>) -> ParameterMeta {
    let content = parameter.children().find(|node| node.has_tag_name("content"));
    let default = content.and_then(|content| content.attribute("default")).map(str::to_owned);
    ParameterMeta {
        kind: content.map_or(ParameterKind::Text, |content| kind_of(content, default.as_deref())),
        required: is_true(parameter, "required"),
        unique: is_true(parameter, "unique") || parameter.has_attribute("unique-group"),
        unique_group: parameter.attribute("unique-group").map(str::to_owned),
        reloadable: is_true(parameter, "reloadable"),
        default,
        shortdesc: text_of(parameter, "shortdesc"),
    }
}

/// What a parameter takes. A type that the agent's own default does not fit is not believed.
fn kind_of(content: Node<'_, '_>, default: Option<&str>) -> ParameterKind {
    let kind = match content.attribute("type") {
        Some("integer") => ParameterKind::Integer,
        Some("boolean") => ParameterKind::Boolean,
        Some("second") => ParameterKind::Seconds,
        Some("select") => {
            let options = content.children().filter(|node| node.has_tag_name("option"));
            ParameterKind::Choice(options.filter_map(|option| option.attribute("value")).map(str::to_owned).collect())
        }
        _ => ParameterKind::Text,
    };
    let contradicted = default.is_some_and(|default| !default.is_empty() && !kind.takes(default));
    if contradicted || kind == ParameterKind::Choice(Vec::new()) { ParameterKind::Text } else { kind }
}

/// The version of OCF in the element `version`. Older agents have their own version there, mostly 1.0.
fn is_1_1(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (1, 1)
}

fn is_true(node: Node<'_, '_>, name: &str) -> bool {
    matches!(node.attribute(name), Some("1" | "true" | "yes"))
}

fn attribute(node: Node<'_, '_>, name: &str) -> String {
    node.attribute(name).unwrap_or_default().to_owned()
}

fn text_of(node: Node<'_, '_>, child: &str) -> String {
    let text = node.children().find(|node| node.has_tag_name(child)).and_then(|node| node.text()).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `20s`, `20`, `20000ms`, `2m`: OCF 1.1, "timeout"; a bare number is seconds.
fn duration_of(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit.trim() {
        "ms" | "msec" => 1,
        "" | "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" | "hr" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_metadata_are_read() {
        let ocf = r#"noise
            <?xml version="1.0"?>
            <!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
            <resource-agent name="IPaddr2" version="1.0"><shortdesc lang="en">An
             address</shortdesc>
            <parameters><parameter name="ip" unique="1" required="1"><content type="string" default="" /></parameter></parameters>
            <actions><action name="monitor" depth="0" timeout="20s" interval="10s"/><action name="monitor" timeout="5"/>
            <action name="start" timeout="2000ms"/></actions></resource-agent>"#;
        let ocf = parse(ocf).unwrap();
        assert_eq!((ocf.name.as_str(), ocf.shortdesc.as_str()), ("IPaddr2", "An address"));
        assert!(ocf.parameters["ip"].must_be_given() && ocf.parameters["ip"].unique && !ocf.ocf_1_1);
        assert_eq!(ocf.actions["monitor"].interval, Some(Duration::from_secs(10)));
        assert_eq!(ocf.actions["start"].timeout, Some(Duration::from_secs(2)));
        let fence = r#"<?xml version="1.0" ?><resource-agent name="fence_x" shortdesc="Switch"><parameters>
            <parameter name="plug" unique="0" required="0"><content type="string"/></parameter></parameters>
            <actions><action name="off"/><action name="status"/></actions></resource-agent>"#;
        let fence = parse(fence).unwrap();
        assert!(fence.parameters.contains_key("plug") && fence.actions.contains_key("status"));
        assert_eq!(fence.shortdesc, "Switch");
    }

    #[test]
    fn what_is_not_metadata_is_an_error() {
        for text in ["", "hello", "<a/>", "<resource-agent>"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
