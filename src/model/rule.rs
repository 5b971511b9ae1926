//! Rules: on which nodes, and when, something holds.
//!
//! Input: a [`Rule`], a lookup of a node's labels and attributes, the time. Output: true or false. Pacemaker Explained,
//! "Rules"; times are in UTC.
//!
//! Invariant: total; a comparison with a label that the node does not have does not hold, other than `NotEqual`.
//!
//! Deliberately absent: what follows (`Location`), and whose labels they are (`plan`).

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Each of these; of none it holds.
    All(Vec<Rule>),
    /// One of these at least; of none it holds too.
    Any(Vec<Rule>),
    Label(Comparison),
    /// From the first second to the last, both included; None: without end on that side.
    Between(Option<Instant>, Option<Instant>),
    /// Behind this second.
    After(Instant),
    /// Ahead of this second.
    Before(Instant),
    /// Every field that is given must fit.
    Calendar(BTreeMap<Field, Span>),
}

/// A label or attribute of the node beside a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// `#uname` is the node's name, `#kind` `cluster`, `remote` or `container`.
    pub key: String,
    pub operator: Operator,
    /// Not of `Exists` and `DoesNotExist`.
    pub value: Option<String>,
    /// None: text for `Equal` and `NotEqual`, in any case of letters; for the others numbers where both are.
    pub compare_as: Option<CompareAs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Exists,
    DoesNotExist,
}

/// What the values are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum CompareAs {
    Text,
    /// Fractions do not count.
    Integer,
    Number,
    /// Part by part, as in `2.10`.
    Version,
}

/// A second since 1970, UTC. Written as `2026-11-22T12:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(pub i64);

impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}
impl std::str::FromStr for Instant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time: jiff::Timestamp =
            text.parse().map_err(|_| format!("`{text}` is not a moment: write it like `2026-11-22T12:00:00Z`"))?;
        Ok(Self(time.as_second()))
    }
}

/// What a calendar can say of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    Seconds,
    Minutes,
    Hours,
    /// 1 to 31.
    Monthdays,
    /// 1 (Monday) to 7.
    Weekdays,
    /// 1 to 366.
    Yeardays,
    Months,
    /// Of the year, by ISO 8601.
    Weeks,
    Years,
    /// The year to which the week belongs.
    Weekyears,
}

impl Field {
    pub const ALL: [Self; 10] = [
        Self::Seconds,
        Self::Minutes,
        Self::Hours,
        Self::Monthdays,
        Self::Weekdays,
        Self::Yeardays,
        Self::Months,
        Self::Weeks,
        Self::Years,
        Self::Weekyears,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Monthdays => "monthdays",
            Self::Weekdays => "weekdays",
            Self::Yeardays => "yeardays",
            Self::Months => "months",
            Self::Weeks => "weeks",
            Self::Years => "years",
            Self::Weekyears => "weekyears",
        }
    }

    fn of(self, now: &jiff::Zoned) -> i64 {
        match self {
            Self::Seconds => now.second().into(),
            Self::Minutes => now.minute().into(),
            Self::Hours => now.hour().into(),
            Self::Monthdays => now.day().into(),
            Self::Weekdays => now.weekday().to_monday_one_offset().into(),
            Self::Yeardays => now.day_of_year().into(),
            Self::Months => now.month().into(),
            Self::Weeks => now.date().iso_week_date().week().into(),
            Self::Years => now.year().into(),
            Self::Weekyears => now.date().iso_week_date().year().into(),
        }
    }
}

/// Whole numbers from one to another, both included; None: without end on that side. Written `5`, `5-7`, `5-` or `-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub from: Option<u32>,
    pub to: Option<u32>,
}

impl std::str::FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Result<Option<u32>, String> {
            let text = text.trim();
            if text.is_empty() {
                return Ok(None);
            }
            text.parse().map(Some).map_err(|_| format!("`{text}` is not a range: write `5`, `5-7`, `5-` or `-7`"))
        };
        match text.split_once('-') {
            None => number(text).map(|one| Self { from: one, to: one }),
            Some((from, to)) => Ok(Self { from: number(from)?, to: number(to)? }),
        }
    }
}
impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => write!(f, "{from}"),
            (from, to) => write!(f, "{}-{}", word(from), word(to)),
        }
    }
}

impl Rule {
    /// Whether it holds of a node, by its labels and attributes, at a time (seconds since 1970).
    pub fn holds<'l>(&self, label: &dyn Fn(&str) -> Option<&'l str>, now: i64) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.holds(label, now)),
            Self::Any(rules) => rules.is_empty() || rules.iter().any(|rule| rule.holds(label, now)),
            Self::Label(comparison) => comparison.holds(label(&comparison.key)),
            Self::Between(from, until) => from.is_none_or(|from| now >= from.0) && until.is_none_or(|to| now <= to.0),
            Self::After(moment) => now > moment.0,
            Self::Before(moment) => now < moment.0,
            Self::Calendar(fields) => {
                let Ok(now) = jiff::Timestamp::from_second(now) else { return false };
                let now = now.to_zoned(TimeZone::UTC);
                fields.iter().all(|(field, span)| {
                    let value = field.of(&now);
                    span.from.is_none_or(|from| value >= from.into()) && span.to.is_none_or(|to| value <= to.into())
                })
            }
        }
    }
}

impl Comparison {
    /// `left`: what the node has.
    pub fn holds(&self, left: Option<&str>) -> bool {
        let ordered = || Some(compare(left?, self.value.as_deref()?, self.compare_as, self.operator));
        match self.operator {
            Operator::Exists => left.is_some(),
            Operator::DoesNotExist => left.is_none(),
            Operator::Equal => ordered() == Some(Ordering::Equal),
            Operator::NotEqual => ordered() != Some(Ordering::Equal),
            Operator::Less => ordered().is_some_and(Ordering::is_lt),
            Operator::LessOrEqual => ordered().is_some_and(Ordering::is_le),
            Operator::Greater => ordered().is_some_and(Ordering::is_gt),
            Operator::GreaterOrEqual => ordered().is_some_and(Ordering::is_ge),
        }
    }
}

fn compare(left: &str, right: &str, compare_as: Option<CompareAs>, operator: Operator) -> Ordering {
    let numeric = compare_as.is_none() && !matches!(operator, Operator::Equal | Operator::NotEqual);
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match (compare_as, number(left), number(right)) {
        (Some(CompareAs::Version), _, _) => compare_versions(left, right),
        (Some(CompareAs::Text), _, _) => left.cmp(right),
        (Some(CompareAs::Integer), Some(a), Some(b)) => a.trunc().total_cmp(&b.trunc()),
        (Some(CompareAs::Number), Some(a), Some(b)) => a.total_cmp(&b),
        (None, Some(a), Some(b)) if numeric => a.total_cmp(&b),
        (_, _, _) => left.to_lowercase().cmp(&right.to_lowercase()),
    }
}

/// Part by part, as numbers.
pub fn compare_versions(left: &str, right: &str) -> Ordering {
    let parts = |text: &str| -> Vec<u64> { text.split('.').map(|part| part.trim().parse().unwrap_or(0)).collect() };
    let (mut left, mut right) = (parts(left), parts(right));
    let longest = left.len().max(right.len());
    left.resize(longest, 0);
    right.resize(longest, 0);
    left.cmp(&right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(rule: &Rule) -> bool {
        let label = |name: &str| match name {
            "cpus" => Some("8"),
            "site" => Some("North"),
            "release" => Some("2.10"),
            _ => None,
        };
        // Wednesday, 2020-01-15, 12:00.
        rule.holds(&label, 1_579_089_600)
    }

    fn label(key: &str, operator: Operator, value: &str, compare_as: Option<CompareAs>) -> Rule {
        Rule::Label(Comparison { key: key.into(), operator, value: Some(value.into()), compare_as })
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        assert!(holds(&label("cpus", Operator::Less, "16", None)));
        assert!(!holds(&label("cpus", Operator::Less, "16", Some(CompareAs::Text))));
        assert!(holds(&label("site", Operator::Equal, "north", None)));
        assert!(!holds(&label("site", Operator::Equal, "north", Some(CompareAs::Text))));
        assert!(holds(&label("release", Operator::Greater, "2.9", Some(CompareAs::Version))));
        assert!(!holds(&label("gone", Operator::Less, "16", None)));
        assert!(holds(&label("gone", Operator::NotEqual, "16", None)));
    }

    #[test]
    fn times_hold_within_their_range() {
        let at = |text: &str| text.parse::<Instant>().unwrap();
        assert!(holds(&Rule::Between(Some(at("2020-01-15T12:00:00Z")), None)));
        assert!(!holds(&Rule::After(at("2020-01-15T12:00:00Z"))));
        assert!(holds(&Rule::Before(at("2020-01-15T12:00:01Z"))));
        let calendar = |hours: &str| {
            let spans = [(Field::Hours, hours), (Field::Weekdays, "1-5")];
            Rule::Calendar(spans.map(|(field, span)| (field, span.parse().unwrap())).into())
        };
        assert!(holds(&calendar("9-16")) && holds(&calendar("12")) && holds(&calendar("12-")));
        assert!(!holds(&calendar("13-")) && !holds(&calendar("-11")));
    }

    #[test]
    fn rules_nest() {
        let (yes, no) = (label("cpus", Operator::Exists, "", None), label("gone", Operator::Exists, "", None));
        assert!(holds(&Rule::All(vec![yes.clone(), Rule::Any(vec![no.clone(), yes.clone()])])));
        assert!(!holds(&Rule::All(vec![yes, no])));
        assert!(holds(&Rule::All(Vec::new())) && holds(&Rule::Any(Vec::new())));
    }
}
