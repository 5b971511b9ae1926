//! Documents as YAML.
//!
//! Input: a JSON value that is a map. Output: text that reads as the same value: maps as blocks, lists of maps as blocks
//! with dashes, other lists in brackets, strings in quotes only where they could be taken for something else.

use serde_json::{Map, Value};

/// A document as text.
pub(super) fn yaml(document: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(map) = document {
        block(map, 0, "", &mut text);
    }
    text
}

/// `first` stands before the first key, instead of its indentation.
fn block(map: &Map<String, Value>, depth: usize, first: &str, text: &mut String) {
    for (place, (name, value)) in map.iter().enumerate() {
        if place > 0 || first.is_empty() {
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str(&scalar(name));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                block(inner, depth + 1, "", text);
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {
                text.push('\n');
                for item in list {
                    text.push_str(&"  ".repeat(depth + 1));
                    text.push_str("- ");
                    match item {
                        Value::Object(inner) if !inner.is_empty() => block(inner, depth + 2, "- ", text),
                        other => text.push_str(&(inline(other) + "\n")),
                    }
                }
            }
            other => text.push_str(&format!(" {}\n", inline(other))),
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => scalar(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A string without quotes where nobody can take it for anything else.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:".contains(c))
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // A JSON string is one of YAML, too.
    if plain || crate::model::duration::parse(text).is_ok() {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}
