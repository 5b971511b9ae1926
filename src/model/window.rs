//! Spans of the week in which a commit may disturb services.
//!
//! Input: windows and the time of a wall clock → output: open, or when one opens next. People agree on such times, so it is
//! their clocks that count, summer time included; nothing that must be safe rests on it.
//!
//! Invariant: total; a window whose time zone is not known here is closed.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How far ahead the next opening is looked for: every window opens once a week at least.
const AHEAD_DAYS: i64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// One span, on each of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeWindow {
    /// On which it opens; empty: on every day.
    pub days: BTreeSet<Weekday>,
    /// Minutes since midnight, 0..1440. It closes on the day after if `to` is not later than `from`.
    pub from: u16,
    pub to: u16,
    /// Of the IANA database.
    pub zone: String,
}

/// No window is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When one opens; None: none ever does, as far as is known here.
    pub until: Option<Zoned>,
}

/// Reads `22:00` as minutes since midnight.
pub fn minutes(text: &str) -> Result<u16, String> {
    let number = |part: &str, below: u16| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|number: &u16| digits && *number < below)
    };
    let read = text.split_once(':').and_then(|(hour, minute)| Some(number(hour, 24)? * 60 + number(minute, 60)?));
    read.ok_or_else(|| {
        format!("`{text}` is not a time of day: write hours and minutes, such as \"08:30\" or \"22:00\"")
    })
}

/// Checks the name of a time zone, such as `Europe/Berlin`.
pub fn zone(text: &str) -> Result<String, String> {
    let help = "write a name of the IANA database, such as `Europe/Berlin`, or `UTC`";
    let named = text.contains('/') || text == "UTC";
    match TimeZone::get(text) {
        Ok(_) if named => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a time zone: {help}")),
    }
}

impl ChangeWindow {
    /// Whether one of these is open; of none any time will do.
    pub fn any_open(windows: &[Self], now: Timestamp) -> Result<(), Closed> {
        if windows.is_empty() || windows.iter().any(|window| window.is_open(now)) {
            return Ok(());
        }
        Err(Closed { until: windows.iter().filter_map(|window| window.opens_after(now)).min_by_key(Zoned::timestamp) })
    }

    fn is_open(&self, now: Timestamp) -> bool {
        // It may have opened the day before.
        self.spans(now, -1, 0).any(|(from, to)| from.timestamp() <= now && now < to.timestamp())
    }

    fn opens_after(&self, now: Timestamp) -> Option<Zoned> {
        self.spans(now, 0, AHEAD_DAYS).map(|(from, _)| from).find(|from| from.timestamp() > now)
    }

    /// The spans that begin from so many days after today on.
    fn spans(&self, now: Timestamp, first: i64, last: i64) -> impl Iterator<Item = (Zoned, Zoned)> {
        let zone = TimeZone::get(&self.zone).ok();
        let today = zone.as_ref().map(|zone| now.to_zoned(zone.clone()).date());
        (first..=last).filter_map(move |ahead| {
            let (zone, day) = (zone.clone()?, today?.checked_add(ahead.days()).ok()?);
            let opens = self.days.is_empty() || self.days.contains(&weekday(day));
            let end = if self.to > self.from { day } else { day.checked_add(1.days()).ok()? };
            let at = |day: Date, minutes: u16| day.to_datetime(time(minutes)).to_zoned(zone.clone()).ok();
            opens.then_some((at(day, self.from)?, at(end, self.to)?))
        })
    }
}

fn time(minutes: u16) -> Time {
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    Time::constant(hour as i8, minute as i8, 0, 0)
}

fn weekday(day: Date) -> Weekday {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    [Mon, Tue, Wed, Thu, Fri, Sat, Sun][usize::from(day.weekday().to_monday_zero_offset() as u8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(days: &[Weekday], from: u16, to: u16, zone: &str) -> ChangeWindow {
        ChangeWindow { days: days.iter().copied().collect(), from: from * 60, to: to * 60, zone: zone.into() }
    }

    #[test]
    fn a_span_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let saturday = [window(&[Weekday::Sat], 22, 4, "UTC")];
        // 2026-11-21 is a Saturday.
        for (time, open) in [
            ("2026-11-21T21:59:59Z", false),
            ("2026-11-21T22:00:00Z", true),
            ("2026-11-22T03:59:59Z", true),
            ("2026-11-22T04:00:00Z", false),
            ("2026-11-21T02:00:00Z", false),
            ("2026-11-22T23:00:00Z", false),
        ] {
            assert_eq!(ChangeWindow::any_open(&saturday, at(time)).is_ok(), open, "{time}");
        }
        let closed = ChangeWindow::any_open(&saturday, at("2026-11-22T04:00:00Z")).unwrap_err();
        assert_eq!(closed.until.unwrap().timestamp(), at("2026-11-28T22:00:00Z"));
    }

    #[test]
    fn the_clocks_are_those_of_the_place_in_summer_too() {
        let night = [window(&[], 2, 3, "Europe/Berlin")];
        assert!(ChangeWindow::any_open(&night, at("2026-01-10T01:30:00Z")).is_ok());
        assert!(ChangeWindow::any_open(&night, at("2026-07-10T00:30:00Z")).is_ok());
        assert!(ChangeWindow::any_open(&night, at("2026-07-10T01:30:00Z")).is_err());
        // 02:00 to 03:00 does not exist on that night: nothing opens, and nothing goes wrong.
        let gap = ChangeWindow::any_open(&night, at("2026-03-29T01:30:00Z"));
        assert!(gap.is_err_and(|closed| closed.until.is_some()));
    }

    #[test]
    fn whole_days_and_none_and_unknown_places() {
        let now = at("2026-11-21T12:00:00Z");
        assert!(ChangeWindow::any_open(&[], now).is_ok(), "none: at any time");
        assert!(ChangeWindow::any_open(&[window(&[Weekday::Sat], 0, 0, "UTC")], now).is_ok());
        assert!(ChangeWindow::any_open(&[window(&[Weekday::Sun], 0, 0, "UTC")], now).is_err());
        let nowhere = [window(&[], 0, 0, "Atlantis/Main")];
        assert_eq!(ChangeWindow::any_open(&nowhere, now), Err(Closed { until: None }));
    }
}
