//! JSON text as a tree in the order in which it is written.
//!
//! Input → output: JSON → a [`Node`] whose places are all its beginning. `serde_json` bounds the depth (128).
//!
//! Deliberately absent: places within the text; nobody writes such files by hand.

use super::tree::{Entry, Node, Scalar, Span, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

const START: Span = Span { line: 1, column: 1, end_line: 1, end_column: 2, file: 0, via: 0 };

/// Reads one JSON value.
pub(super) fn parse(bytes: &[u8]) -> Result<Node, serde_json::Error> {
    serde_json::from_slice::<Ordered>(bytes).map(|ordered| ordered.0)
}

struct Ordered(Node);

fn node(value: Value) -> Ordered {
    Ordered(Node { span: START, value })
}

fn word(text: String, plain: bool) -> Ordered {
    node(Value::Scalar(Scalar { text, plain }))
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(word("null".to_owned(), true))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
        Ok(word(value.to_string(), true))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
        Ok(word(value.to_string(), true))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
        Ok(word(value.to_string(), true))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Ordered, E> {
        Ok(word(value.to_string(), true))
    }
    fn visit_str<E>(self, text: &str) -> Result<Ordered, E> {
        Ok(word(text.to_owned(), false))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Ordered, A::Error> {
        let mut list = Vec::new();
        while let Some(Ordered(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(node(Value::List(list)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Ordered, A::Error> {
        let mut entries = Vec::new();
        while let Some((text, Ordered(value))) = fields.next_entry::<String, Ordered>()? {
            entries.push(Entry { key: Scalar { text, plain: false }, key_span: START, value });
        }
        Ok(node(Value::Map(entries)))
    }
}
