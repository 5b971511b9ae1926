//! Pacemaker's single words: booleans, durations, scores, times.
//!
//! Input → output: the text of an attribute → a value, or nothing. Pacemaker Explained, "Cluster Options", and
//! "Time Syntax" of ISO 8601 where it allows that.

use crate::model::Score;

/// `true`, `yes`, `on`, `y`, `1` and their opposites, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["true", "yes", "on", "y", "1"]) {
        Some(true)
    } else if is(["false", "no", "off", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A score: a whole number, or INFINITY with a sign.
pub(super) fn score(text: &str) -> Option<Score> {
    match text.trim() {
        "red" => Some(Score::NEVER),
        "yellow" | "green" => Some(Score::ZERO),
        number => Score::parse(number),
    }
}

/// A duration in milliseconds: a number with a unit, of seconds where it has none, or ISO 8601 (`PT5M`).
pub(super) fn duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(iso) = text.strip_prefix('P') {
        return iso_duration_ms(iso);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let (times, by) = match text[digits..].trim() {
        "" | "s" | "sec" => (1000, 1),
        "ms" | "msec" => (1, 1),
        "us" | "usec" => (1, 1000),
        "m" | "min" => (60_000, 1),
        "h" | "hr" => (3_600_000, 1),
        _ => return None,
    };
    Some(number.saturating_mul(times) / by)
}

/// What follows the `P`. Months and years are left out: no duration of an option has them.
fn iso_duration_ms(text: &str) -> Option<u64> {
    let (mut total, mut number, mut in_time) = (0_u64, None, false);
    for c in text.chars() {
        let unit = match (c, in_time) {
            ('T', false) => {
                in_time = true;
                continue;
            }
            ('0'..='9', _) => {
                let digit = u64::from(c as u32 - '0' as u32);
                number = Some(number.unwrap_or(0_u64).saturating_mul(10).saturating_add(digit));
                continue;
            }
            ('W', false) => 7 * 86_400_000,
            ('D', false) => 86_400_000,
            // Nobody can take hours and seconds for something of the date.
            ('H', _) => 3_600_000,
            ('M', true) => 60_000,
            ('S', _) => 1000,
            (_, _) => return None,
        };
        total = total.saturating_add(number.take()?.saturating_mul(unit));
    }
    number.is_none().then_some(total)
}

/// A moment as the state counts it; what lies before 1970 is its beginning.
pub(super) fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

/// A moment in seconds since 1970: an ISO 8601 date, with or without a time and a zone (UTC without).
pub(super) fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text.find(['T', ' ']).unwrap_or(text.len());
    let (date, rest) = text.split_at(end);
    let date = day(date.trim_end_matches('Z'))?;
    let rest = rest.trim_start_matches(['T', ' ']);
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone_at);
    let time = match time.trim() {
        "" => jiff::civil::Time::midnight(),
        time => time.parse().ok()?,
    };
    let offset = match zone.trim() {
        "" | "Z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
            let hours: i64 = digits.get(..2)?.parse().ok()?;
            let minutes: i64 = digits.get(2..4).map_or(Some(0), |minutes| minutes.parse().ok())?;
            sign * (hours * 3600 + minutes * 60)
        }
    };
    let utc = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(utc.timestamp().as_second() - offset)
}

/// `2005-03-01`, `20050301`, `2005-060` (the day of the year) or `2005-W09-2` (of the week).
fn day(text: &str) -> Option<jiff::civil::Date> {
    if let Some((year, rest)) = text.split_once("-W") {
        let (week, day) = rest.split_once('-').unwrap_or((rest, "1"));
        let day = jiff::civil::Weekday::from_monday_one_offset(day.parse().ok()?).ok()?;
        let date = jiff::civil::ISOWeekDate::new(year.parse().ok()?, week.parse().ok()?, day).ok()?;
        return Some(date.date());
    }
    match text.split_once('-') {
        Some((year, day)) if day.len() == 3 => {
            let first = jiff::civil::Date::new(year.parse().ok()?, 1, 1).ok()?;
            first.with().day_of_year(day.parse().ok()?).build().ok()
        }
        Some(_) | None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_mean_seconds_without() {
        assert_eq!(duration_ms("10"), Some(10_000));
        assert_eq!(duration_ms("1500ms"), Some(1500));
        assert_eq!(duration_ms("2min"), Some(120_000));
        assert_eq!(duration_ms("PT1H30M"), Some(5_400_000));
        assert_eq!((duration_ms("soon"), duration_ms("P1"), duration_ms("")), (None, None, None));
    }

    #[test]
    fn scores_are_numbers_or_infinite() {
        assert_eq!(score("-INFINITY"), Some(Score::NEVER));
        assert_eq!(score("5000000"), Some(Score::INFINITY));
        assert_eq!(score("99999999999999999999"), Some(Score::INFINITY));
        assert_eq!(score("-99999999999999999999"), Some(Score::NEVER));
        assert_eq!(score("ping"), None);
    }

    #[test]
    fn moments_are_utc_unless_they_say_otherwise() {
        assert_eq!(moment("1970-01-02"), Some(86_400));
        assert_eq!(moment("1970-01-01 01:00:00Z"), Some(3600));
        assert_eq!(moment("1970-01-01T01:00:00 +01:00"), Some(0));
        assert_eq!(moment("1970-032"), moment("1970-02-01"));
        assert_eq!(moment("1970-W02-1"), moment("1970-01-05"));
        assert_eq!(moment("tomorrow"), None);
    }
}
