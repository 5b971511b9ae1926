//! What an import does not read: every element, attribute and setting that has no part in what became of a CIB.
//!
//! Input: the CIB. Output: losses. What changes a plan makes the import lossy; what cannot is named all the same, unless
//! `vocabulary` says that it is harmless, and why.
//!
//! Lossy are: what is `Lost` in the vocabulary, values of known settings that cannot be read, and settings under rules that
//! a plan would ask again (of nodes, of times): they are what they were at the time of the import.
//!
//! Deliberately absent: references to what does not exist (`constraints`, `resources` name those), entries of histories.

use super::loss::Losses;
use super::vocabulary::{ANYWHERE, Form, Known, meta, operation, option, shape};
use super::words::{boolean, duration_ms, score};
use super::xml::El;

/// Names all that is not read below an element.
pub(super) fn report(root: El<'_>, losses: &mut Losses) {
    element(root, "", losses);
}

/// `owner`: the tag of what is around the blocks of settings that are looked at.
fn element(el: El<'_>, owner: &str, losses: &mut Losses) {
    let tag = el.tag();
    let Some(shape) = shape(tag) else { return };
    for (name, _) in el.attrs() {
        if ANYWHERE.contains(&name) || shape.read.contains(&name) || shape.harmless.contains(&name) {
            continue;
        }
        match if tag == "op" { operation(name) } else { None } {
            Some(Known::Read(_) | Known::Harmless) => {}
            Some(Known::Lost) => losses.matters(el, format!("`{name}` has no counterpart")),
            None if shape.lost.contains(&name) => losses.matters(el, format!("`{name}` has no counterpart")),
            None => losses.harmless(el, format!("nobody reads `{name}`")),
        }
    }
    values(el, losses);
    let is_block = matches!(tag, "cluster_property_set" | "meta_attributes" | "instance_attributes" | "utilization");
    if is_block && let Some(rule) = el.child("rule").filter(|rule| asks_again(*rule)) {
        losses.matters(rule, "what it controls stays as it is now");
    }
    for child in el.children() {
        match child.tag() {
            // Those who read them say what they do not know.
            _ if matches!(tag, "resources" | "constraints") && !shape.children.contains(&child.tag()) => {}
            "acls" | "alerts" => {
                child.children().for_each(|inner| losses.harmless(inner, "it has no counterpart; no plan asks for it"));
            }
            "lrm_rsc_op" | "lrm_agents" => {}
            "nvpair" => pair(child, tag, owner, losses),
            inner if shape.children.contains(&inner) => element(child, if is_block { owner } else { tag }, losses),
            inner => losses.matters(child, format!("a `{inner}` here has no counterpart")),
        }
    }
}

/// A setting in a block.
fn pair(el: El<'_>, block: &str, owner: &str, losses: &mut Losses) {
    let (Some(name), Some(value)) = (el.attr("name"), el.attr("value")) else {
        if el.attr("id-ref").is_none() {
            losses.harmless(el, "it has no name and value");
        }
        return;
    };
    for (attribute, _) in el.attrs().filter(|(attribute, _)| !ANYWHERE.contains(attribute) && *attribute != "value") {
        losses.harmless(el, format!("nobody reads `{attribute}`"));
    }
    let known = match (block, owner) {
        ("cluster_property_set", _) => option(name),
        ("meta_attributes", "op" | "op_defaults") => operation(name),
        ("meta_attributes", _) => meta(name),
        ("instance_attributes", "op") => match operation(name) {
            Some(known) => Some(known),
            None => return losses.harmless(el, format!("the parameter `{name}` of this operation alone")),
        },
        ("instance_attributes", "group" | "clone" | "master") => {
            return losses.matters(el, format!("the parameter `{name}`, given for all that is inside"));
        }
        ("utilization", _) if value.trim().parse::<i64>().is_err() => {
            return losses.matters(el, format!("`{value}` is no number"));
        }
        // Parameters and attributes of nodes are free.
        (_, _) => return,
    };
    match known {
        Some(Known::Read(form)) if !reads(form, value) => {
            losses.matters(el, format!("`{value}` cannot be read, so what is usual for `{name}` counts"));
        }
        Some(Known::Read(_) | Known::Harmless) => {}
        Some(Known::Lost) => losses.matters(el, format!("`{name}` has no counterpart")),
        None => losses.harmless(el, format!("nobody reads `{name}`")),
    }
}

fn reads(form: Form, value: &str) -> bool {
    match form {
        Form::Score => score(value).is_some(),
        Form::Boolean => boolean(value).is_some(),
        Form::Duration => duration_ms(value).is_some(),
        Form::Text => true,
    }
}

/// Values of attributes that have a form.
fn values(el: El<'_>, losses: &mut Losses) {
    let forms: &[(&str, Form)] = match el.tag() {
        "op" => &[("interval", Form::Duration), ("timeout", Form::Duration), ("enabled", Form::Boolean)],
        "rsc_location" | "resource_set" | "rule" => &[("score", Form::Score), ("sequential", Form::Boolean)],
        "rsc_order" => &[("symmetrical", Form::Boolean), ("require-all", Form::Boolean), ("score", Form::Score)],
        "rsc_colocation" => &[("influence", Form::Boolean)],
        _ => &[],
    };
    for (name, form) in forms {
        if let Some(value) = el.attr(name).filter(|value| !reads(*form, value)) {
            losses.matters(el, format!("`{value}` cannot be read, so what is usual for `{name}` counts"));
        }
    }
}

/// Whether a rule is about nodes or times, which are not the same for ever.
fn asks_again(rule: El<'_>) -> bool {
    rule.children().any(|child| match child.tag() {
        "rsc_expression" | "op_expression" => false,
        "rule" => asks_again(child),
        _ => true,
    })
}
