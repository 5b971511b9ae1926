//! Does a document have the fields that its kind has, with values of the right form?
//!
//! Input → output: a tree and the JSON Schema of its kind → findings, all of them, each where it stands; and, of a
//! tree without findings, the `serde_json` value that reads into the raw types.
//!
//! The schema is generated from the raw types, so this list of fields cannot differ from theirs. Only what schemars
//! writes for those types is understood: objects, maps, lists, strings with our formats, integers, booleans, choices.
//!
//! Deliberately absent: rules that span several fields or documents.

use super::explain::Code;
use super::raw::NAME_PATTERN;
use super::report::Report;
use super::scalar::{Resolved, surprise};
use super::schema::Schemas;
use super::tree::{Entry, Node, Scalar, Span, Value};
use crate::model::{AgentRef, Instant, Span as Span_, duration, suggest, window};
use serde_json::Value as Json;
use std::net::IpAddr;

/// How the agents of fencing devices begin that are no fence agents of this program.
pub(super) const FOREIGN_DEVICE: &str = "stonith:";

/// Checks one document against the schema of its kind. Returns whether nothing was found.
pub(super) fn check(schemas: &Schemas, schema: &Json, file: usize, root: &Node, report: &mut Report) -> bool {
    let mut checker = Checker { schemas, file, report, clean: true };
    checker.node(schema, root, "");
    checker.clean
}

/// The value of a tree that passed [`check`].
pub(super) fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.text.clone(), to_json(&entry.value))).collect())
        }
        Value::Scalar(scalar) => match scalar.resolve() {
            Resolved::Null => Json::Null,
            Resolved::Bool(value) => value.into(),
            Resolved::Int(value) => i64::try_from(value).map_or(Json::Null, Json::from),
            Resolved::Float(value) => value.into(),
            Resolved::Str => scalar.text.clone().into(),
        },
    }
}

/// Whether a text is a name by the grammar of manifests.
pub(super) fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.len() <= 128 && text.starts_with(first) && text.chars().all(rest)
}

struct Checker<'a, 'r> {
    schemas: &'a Schemas,
    file: usize,
    report: &'a mut Report<'r>,
    clean: bool,
}

impl Checker<'_, '_> {
    fn find(&mut self, code: Code, span: Span, message: String, help: Option<String>) {
        self.clean = false;
        self.report.add(code, self.file, span, message, help);
    }

    /// `field` is the last key on the way here, for messages.
    fn node(&mut self, schema: &Json, node: &Node, field: &str) {
        let schemas = self.schemas;
        let schema = schemas.deref(schema);
        if let Value::Scalar(scalar) = &node.value
            && scalar.resolve() == Resolved::Null
        {
            let help = match schema.get("type").and_then(Json::as_str) {
                Some("object") => "write `{}` for an empty map, or remove the line",
                Some("array") => "write `[]` for an empty list, or remove the line",
                _ => "give it a value, or remove the line",
            };
            self.find(Code::NoValue, node.span, format!("`{field}` has no value"), Some(help.into()));
            return;
        }
        if let Some(words) = choices(schema) {
            self.choice(&words, node, field);
        } else if let Some(alternatives) = schema.get("anyOf").and_then(Json::as_array) {
            self.alternatives(alternatives, node, field);
        } else {
            match (schema.get("type").and_then(Json::as_str), &node.value) {
                (Some("object"), Value::Map(entries)) => self.object(schema, node, entries, field),
                (Some("array"), Value::List(items)) => {
                    let items_schema = schema.get("items").unwrap_or(&Json::Null);
                    let of_lists = schemas.deref(items_schema).get("type").and_then(Json::as_str) == Some("array");
                    if of_lists && let Some(words) = words_of(items) {
                        let message = format!("`{field}` must be a list of lists, not a list of words");
                        let help = format!("write `[[{}]]`", words.join(", "));
                        return self.find(Code::WrongType, node.head(), message, Some(help));
                    }
                    items.iter().for_each(|item| self.node(items_schema, item, field));
                }
                (Some("string"), Value::Scalar(scalar)) => self.string(schema, scalar, node.span, field),
                (Some("integer"), Value::Scalar(scalar)) => self.integer(schema, scalar, node.span, field),
                (Some("boolean"), Value::Scalar(scalar)) => self.boolean(scalar, node.span, field),
                (Some("string"), _) if format_of(schema) == "hafen-param" => {
                    let message = format!("`{field}` must be a string, not {}", describe(node));
                    let help = "write it as one string, in the form that the agent expects".to_owned();
                    self.find(Code::NotAString, node.head(), message, Some(help));
                }
                (Some("object"), Value::Scalar(scalar)) if schema.pointer("/properties/resource").is_some() => {
                    let message = format!("`{field}` must be a map, not {}", describe(node));
                    let help = format!("write `{{ resource: {} }}`", scalar.text);
                    self.find(Code::WrongType, node.head(), message, Some(help));
                }
                // A secret where the name of its file belongs. It is in git now, so that it is none any more.
                (Some("object"), Value::Scalar(_)) if schema.pointer("/properties/file").is_some() => {
                    let message = format!("`{field}` must be a map, not {}", describe(node));
                    let help = format!(
                        "write the secret to a file on the nodes and name it: `{field}: {{ file: /etc/hafen/secrets/NAME }}`; \
                         one that was committed is known by now: make a new one"
                    );
                    self.find(Code::WrongType, node.head(), message, Some(help));
                }
                // Of several types, or of any: who reads it judges it (`overlay`).
                (None, _) if schema.is_object() => {}
                (wanted, _) => self.wrong_type(wanted.unwrap_or("nothing"), node, field),
            }
        }
    }

    fn wrong_type(&mut self, wanted: &str, node: &Node, field: &str) {
        let (wanted, help) = match wanted {
            "object" => ("a map", None),
            "array" => ("a list", element_help(node)),
            "integer" => ("a whole number", None),
            "boolean" => ("`true` or `false`", None),
            "string" => ("a string", None),
            other => (other, None),
        };
        let field = if field.is_empty() { "the document".to_owned() } else { format!("`{field}`") };
        let message = format!("{field} must be {wanted}, not {}", describe(node));
        self.find(Code::WrongType, node.head(), message, help);
    }

    /// The alternatives of our schemas differ in their type.
    fn alternatives(&mut self, alternatives: &[Json], node: &Node, field: &str) {
        let schemas = self.schemas;
        let type_of = |schema: &Json| schemas.deref(schema).get("type").and_then(Json::as_str).unwrap_or("").to_owned();
        let fits = |name: &str| match (&node.value, name) {
            (Value::Map(_), "object") | (Value::List(_), "array") => true,
            (Value::Scalar(scalar), "integer") => matches!(scalar.resolve(), Resolved::Int(_)),
            (Value::Scalar(scalar), "string") => !matches!(scalar.resolve(), Resolved::Int(_)),
            _ => false,
        };
        match alternatives.iter().find(|schema| fits(&type_of(schema))) {
            Some(schema) => self.node(schema, node, field),
            None => self.wrong_type(&type_of(&alternatives[0]), node, field),
        }
    }

    fn object(&mut self, schema: &Json, node: &Node, entries: &[Entry], field: &str) {
        let none = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        // `additionalProperties` is a schema for maps with free keys and `false` for structs.
        let free = schema.get("additionalProperties").filter(|schema| schema.is_object());
        for entry in entries {
            let key = entry.key.text.as_str();
            if let Some(schema) = properties.get(key) {
                self.node(schema, &entry.value, key);
            } else if let Some(schema) = free {
                self.free_key(entry);
                self.node(schema, &entry.value, key);
            } else {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let help = match suggest::nearest(key, known.iter().copied()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("the fields here are {}", list(&known)),
                };
                let place = if field.is_empty() { String::new() } else { format!(" in `{field}`") };
                self.find(Code::UnknownField, entry.key_span, format!("unknown field `{key}`{place}"), Some(help));
            }
        }
        let required = schema.get("required").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        for key in required.iter().filter_map(Json::as_str).filter(|key| node.get(key).is_none()) {
            let place = if field.is_empty() { "this document".to_owned() } else { format!("`{field}`") };
            self.find(Code::MissingField, node.head(), format!("`{key}` is missing in {place}"), None);
        }
    }

    fn free_key(&mut self, entry: &Entry) {
        // `y` and `n` are left alone: as keys they are common names of parameters.
        if entry.key.plain
            && entry.key.text.len() > 1
            && let Some(other) = surprise(&entry.key.text)
        {
            self.yaml11(&entry.key, entry.key_span, other);
        } else if entry.key.text.is_empty() {
            self.find(Code::BadName, entry.key_span, "a key is empty".into(), None);
        }
    }

    fn yaml11(&mut self, scalar: &Scalar, span: Span, other: &str) {
        let message = format!("`{}` is {other} in YAML 1.1 and something else in 1.2", scalar.text);
        let help = if other == "a boolean" {
            format!("write `\"{}\"` for the text, or `true` or `false`", scalar.text)
        } else {
            format!("write `\"{}\"` for the text, or a decimal number", scalar.text)
        };
        self.find(Code::Yaml11, span, message, Some(help));
    }

    fn choice(&mut self, words: &[&str], node: &Node, field: &str) {
        let text = match &node.value {
            Value::Scalar(scalar) => scalar.text.as_str(),
            Value::List(_) | Value::Map(_) => return self.wrong_type("string", node, field),
        };
        if words.contains(&text) {
            return;
        }
        let all = list(words);
        let help = match suggest::nearest(text, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None if words.len() == 1 => format!("write `{}`", words[0]),
            None => format!("one of {all}"),
        };
        self.find(Code::UnknownValue, node.span, format!("`{text}` is not a value of `{field}`"), Some(help));
    }

    fn string(&mut self, schema: &Json, scalar: &Scalar, span: Span, field: &str) {
        let format = format_of(schema);
        if let Some(other) = scalar.plain.then(|| surprise(&scalar.text)).flatten() {
            return self.yaml11(scalar, span, other);
        }
        let resolved = scalar.resolve();
        if resolved != Resolved::Str {
            let text = &scalar.text;
            let kind = describe_scalar(resolved);
            return match format {
                "hafen-duration" => {
                    let help = format!("write the unit: `{text}s` or `{text}ms`");
                    self.find(Code::BadDuration, span, format!("`{text}` is {kind}, not a duration"), Some(help))
                }
                "hafen-param" => {
                    let message = format!("`{field}` must be a string, not {kind}");
                    self.find(Code::NotAString, span, message, Some(format!("write `\"{text}\"`")))
                }
                _ => {
                    let message = format!("`{field}` must be a string, not {kind}");
                    self.find(Code::WrongType, span, message, Some(format!("write `\"{text}\"`")))
                }
            };
        }
        if let Err((code, message, help)) = formatted(format, &scalar.text) {
            self.find(code, span, message, help);
        }
    }

    fn integer(&mut self, schema: &Json, scalar: &Scalar, span: Span, field: &str) {
        if let Some(other) = scalar.plain.then(|| surprise(&scalar.text)).flatten() {
            return self.yaml11(scalar, span, other);
        }
        let limit = |name: &str| schema.get(name).and_then(Json::as_i64);
        let unsigned = schema.get("format").and_then(Json::as_str) == Some("uint32");
        let low = limit("minimum").unwrap_or(if unsigned { 0 } else { i32::MIN.into() });
        let high = limit("maximum").unwrap_or(if unsigned { u32::MAX.into() } else { i32::MAX.into() });
        match scalar.resolve() {
            Resolved::Int(number) if (i128::from(low)..=i128::from(high)).contains(&number) => {}
            Resolved::Int(number) => {
                let message = format!("`{field}` must be between {low} and {high}, not {number}");
                self.find(Code::OutOfRange, span, message, None);
            }
            resolved => {
                let number = scalar.text.parse::<i64>().is_ok();
                let help = number.then(|| format!("write `{}` without quotes", scalar.text));
                let what = match resolved {
                    Resolved::Float(_) => format!("`{}`", scalar.text),
                    Resolved::Null | Resolved::Bool(_) | Resolved::Int(_) | Resolved::Str => {
                        describe_scalar(resolved).to_owned()
                    }
                };
                let message = format!("`{field}` must be a whole number, not {what}");
                self.find(Code::WrongType, span, message, help);
            }
        }
    }

    fn boolean(&mut self, scalar: &Scalar, span: Span, field: &str) {
        let resolved = scalar.resolve();
        if matches!(resolved, Resolved::Bool(_)) {
            return;
        }
        let help = match scalar.text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => "write `true`",
            "no" | "off" | "n" | "false" => "write `false`",
            _ => "write `true` or `false`",
        };
        let code = if scalar.plain && surprise(&scalar.text).is_some() { Code::Yaml11 } else { Code::WrongType };
        let message = if code == Code::Yaml11 {
            format!("`{field}` must be `true` or `false`; `{}` means that only in YAML 1.1", scalar.text)
        } else {
            format!("`{field}` must be `true` or `false`, not {}", describe_scalar(resolved))
        };
        self.find(code, span, message, Some(help.into()));
    }
}

type Fault = (Code, String, Option<String>);

/// Checks a string against one of our formats.
fn formatted(format: &str, text: &str) -> Result<(), Fault> {
    match format {
        "hafen-duration" => duration::parse(text).map(drop).map_err(|error| {
            // The error names its help after a semicolon.
            let (message, help) = error.split_once("; ").unwrap_or((&error, ""));
            (Code::BadDuration, message.to_owned(), (!help.is_empty()).then(|| help.to_owned()))
        }),
        "hafen-name" if !is_name(text) => {
            Err((Code::BadName, format!("`{text}` is not a name"), Some(format!("names match `{NAME_PATTERN}`"))))
        }
        "hafen-address" => address(text),
        "hafen-agent" => match text.parse::<AgentRef>() {
            Ok(_) => Ok(()),
            Err(error) => {
                let (message, help) = error.split_once(": ").unwrap_or((&error, ""));
                Err((Code::BadAgent, message.to_owned(), Some(help.to_owned())))
            }
        },
        "hafen-fence-agent" => {
            let clean = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            let foreign = text.starts_with(FOREIGN_DEVICE) && text.parse::<AgentRef>().is_ok();
            if foreign
                || matches!(text, "redfish" | "watchdog")
                || (clean && text.len() > 6 && text.starts_with("fence_"))
            {
                return Ok(());
            }
            let help = match suggest::nearest(text, ["redfish", "watchdog"]) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "write the name of a fence agent (`fence_…`), `redfish` or `watchdog`".to_owned(),
            };
            Err((Code::BadAgent, format!("`{text}` is not a fencing agent"), Some(help)))
        }
        "hafen-time-of-day" => form(window::minutes(text).map(drop)),
        "hafen-time-zone" => form(window::zone(text).map(drop)),
        "hafen-moment" => text.parse::<Instant>().map(drop).map_err(|error| {
            let (message, help) = error.split_once(": ").unwrap_or((&error, ""));
            (Code::BadDuration, message.to_owned(), Some(help.to_owned()))
        }),
        "hafen-range" => text.parse::<Span_>().map(drop).map_err(|error| {
            let (message, help) = error.split_once(": ").unwrap_or((&error, ""));
            (Code::OutOfRange, message.to_owned(), Some(help.to_owned()))
        }),
        "hafen-path" if !text.starts_with('/') => {
            Err((Code::BadPath, format!("`{text}` is not an absolute path"), Some("begin it with `/`".to_owned())))
        }
        "hafen-integer" if text.is_empty() || text.len() > 18 || !text.bytes().all(|b| b.is_ascii_digit()) => {
            let help = "write a whole number from 0 to 999999999999999999, without a unit".to_owned();
            Err((Code::OutOfRange, format!("`{text}` is not a quantity"), Some(help)))
        }
        _ => Ok(()),
    }
}

/// What a form says of a text: what is wrong, a colon, what to write.
fn form(read: Result<(), String>) -> Result<(), Fault> {
    read.map_err(|error| {
        let (message, help) = error.split_once(": ").unwrap_or((&error, ""));
        (Code::BadDuration, message.to_owned(), Some(help.to_owned()))
    })
}

fn address(text: &str) -> Result<(), Fault> {
    let fault = |message: String, help: &str| Err((Code::BadAddress, message, Some(help.to_owned())));
    let plain = "write an IPv4 or IPv6 address, such as `192.0.2.1` or `2001:db8::1`";
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            fault(format!("`{text}` is not the address of a node"), plain)
        }
        Ok(_) => Ok(()),
        Err(_) => match text.split_once(['/', '%']) {
            Some((host, _)) if host.parse::<IpAddr>().is_ok() => {
                fault(format!("`{text}` is not an address"), &format!("write `{host}`, without what follows"))
            }
            _ => fault(format!("`{text}` is not an address"), plain),
        },
    }
}

fn format_of(schema: &Json) -> &str {
    schema.get("format").and_then(Json::as_str).unwrap_or_default()
}

/// The words an enum can take: `enum`, `const`, or (with descriptions) `oneOf` of those.
fn choices(schema: &Json) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![word]);
    }
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let alternatives = schema.get("oneOf")?.as_array()?;
    let words: Option<Vec<Vec<&str>>> = alternatives.iter().map(choices).collect();
    words.map(|words| words.concat())
}

fn describe(node: &Node) -> &'static str {
    match &node.value {
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::Scalar(scalar) => describe_scalar(scalar.resolve()),
    }
}

fn describe_scalar(resolved: Resolved) -> &'static str {
    match resolved {
        Resolved::Null => "nothing",
        Resolved::Bool(_) => "a boolean",
        Resolved::Int(_) | Resolved::Float(_) => "a number",
        Resolved::Str => "a string",
    }
}

/// A single value where a list is wanted is the commonest mistake of this sort.
fn element_help(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(format!("write `[{}]`", scalar.text)),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// The items of a list, if all of them are single words.
fn words_of(items: &[Node]) -> Option<Vec<&str>> {
    fn word(item: &Node) -> Option<&str> {
        match &item.value {
            Value::Scalar(scalar) => Some(scalar.text.as_str()),
            Value::List(_) | Value::Map(_) => None,
        }
    }
    if items.is_empty() { None } else { items.iter().map(word).collect() }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
