//! Single values of documents that have a form of their own: times, names, addresses, weights.
//!
//! Input → output: a scalar → a typed value, for serde; and its JSON Schema, whose `format` tells `structure` what to check.
//!
//! Deliberately absent: the documents they stand in (`raw`).

use crate::model::{Instant, Score, Span, duration, window};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

/// The grammar of names, as a regular expression for editors.
pub(super) const NAME_PATTERN: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$";

/// A string with a form of its own: the schema's `format` names it, `structure` checks it.
macro_rules! formatted {
    ($(#[$meta:meta])* $name:ident($inner:ty), $format:literal, $pattern:expr, $parse:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(&text).map($name).map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "pattern": $pattern })
            }
        }
    };
}

formatted!(
    #[derive(Copy)]
    Time(Duration),
    "hafen-duration",
    "^([0-9]+(ms|s|m|h|d))+$",
    duration::parse
);
formatted!(Name(String), "hafen-name", NAME_PATTERN, |text| Ok(text.to_owned()));
formatted!(Address(IpAddr), "hafen-address", "^[0-9A-Fa-f:.]+$", |text| {
    text.parse().map_err(|error| format!("{error}"))
});
formatted!(Param(String), "hafen-param", "^", |text| Ok(text.to_owned()));

formatted!(
    #[derive(Copy)]
    Time1970(Instant),
    "hafen-moment",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T",
    super::rules::moment
);
formatted!(
    #[derive(Copy)]
    TimeOfDay(u16),
    "hafen-time-of-day",
    "^[0-9]{2}:[0-9]{2}$",
    window::minutes
);
formatted!(TimeZoneName(String), "hafen-time-zone", "^(UTC|[A-Za-z_]+/[A-Za-z0-9_+/-]+)$", window::zone);

/// A whole number, also as a string: what a node has or a resource takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantity(pub i64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let number = match &value {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        number.map(Quantity).ok_or_else(|| serde::de::Error::custom("not a whole number"))
    }
}
impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "format": "hafen-integer", "pattern": "^[0-9]{1,18}$" },
            { "type": "integer", "minimum": 0, "maximum": 999_999_999_999_999_999_u64 },
        ] })
    }
}

/// Whole numbers from one to another: `5-7`, `5-`, `-7`; a single one also without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range(pub Span);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            // `-7` without quotes is a number.
            other => other.to_string(),
        };
        text.parse().map(Range).map_err(serde::de::Error::custom)
    }
}
impl JsonSchema for Range {
    fn schema_name() -> Cow<'static, str> {
        "Range".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "format": "hafen-range", "pattern": "^[0-9]*(-[0-9]*)?$" },
            { "type": "integer" },
        ] })
    }
}

/// How much a constraint weighs: a number, or the word `Infinite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight(pub u32);

/// What outweighs everything but a ban.
const INFINITE: &str = "Infinite";

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let number = match &value {
            serde_json::Value::String(text) => (text == INFINITE).then_some(Score::INFINITY.value() as u32),
            other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        number.map(Weight).ok_or_else(|| serde::de::Error::custom("not a weight"))
    }
}
impl JsonSchema for Weight {
    fn schema_name() -> Cow<'static, str> {
        "Weight".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 999_999 },
            { "type": "string", "enum": [INFINITE] },
        ] })
    }
}
