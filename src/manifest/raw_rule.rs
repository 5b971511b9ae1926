//! Rules of Locations as they are written: conditions on labels, attributes and the time.
//!
//! As in `raw`: strict fields, their descriptions are those of the schema, and nothing has its default yet.

use super::raw::{Param, Range, Time1970, documents};
use crate::model::{CompareAs, Operator};
use schemars::JsonSchema;
use serde::Deserialize;

documents! {
    /// A condition, of one of these forms: `all`, `any`, `key` with `operator` and `value`, `between`, `after`, `before`, `calendar`.
    struct RawRule {
        /// Each of these.
        all: Option<Vec<RawRule>>,
        /// One of these at least.
        any: Option<Vec<RawRule>>,
        /// A label of the node, or what its agents set on it; `#uname` is its name, `#kind` cluster, remote or container, `#is_dc` whether it leads.
        key: Option<String>,
        operator: Option<Operator>,
        /// Not of Exists and DoesNotExist.
        value: Option<Param>,
        /// What both are taken for; default text for Equal and NotEqual, in any case of letters, else numbers where both are.
        #[serde(rename = "as")]
        compare_as: Option<CompareAs>,
        /// From one second to another, both included.
        between: Option<RawBetween>,
        /// Behind this second, such as 2026-11-22T12:00:00Z.
        after: Option<Time1970>,
        /// Ahead of this second.
        before: Option<Time1970>,
        /// Every field that is given must fit, in UTC.
        calendar: Option<RawCalendar>,
    }

    struct RawBetween {
        from: Option<Time1970>,
        until: Option<Time1970>,
    }

    /// Ranges such as `5`, `5-7`, `5-` or `-7`.
    struct RawCalendar {
        seconds: Option<Range>,
        minutes: Option<Range>,
        hours: Option<Range>,
        /// 1 to 31.
        monthdays: Option<Range>,
        /// 1 (Monday) to 7.
        weekdays: Option<Range>,
        /// 1 to 366.
        yeardays: Option<Range>,
        months: Option<Range>,
        /// Of the year, by ISO 8601.
        weeks: Option<Range>,
        years: Option<Range>,
        /// The year to which the week belongs.
        weekyears: Option<Range>,
    }
}
