//! Durations as people write them: `10s`, `1m30s`, `250ms`, `2h`, `1d`.

use std::time::Duration;

/// The longest duration a manifest may name: one year. Longer ones are mistakes, and sums of two never overflow.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration. A bare number is refused, since nobody can tell seconds from milliseconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = |why: &str| Err(format!("`{text}` is not a duration: {why}; write it like `10s`, `1m30s` or `250ms`"));
    if text.is_empty() {
        return bad("it is empty");
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return bad("the unit is missing");
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut largest_unit_left = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == &rest[digits..digits + letters]) else {
            return bad("units are ms, s, m, h and d");
        };
        let Ok(count) = rest[..digits].parse::<u64>() else {
            return bad("a number is missing or too large");
        };
        if *unit_ms >= largest_unit_left {
            return bad("larger units come first, each once");
        }
        largest_unit_left = *unit_ms;
        total_ms = match count.checked_mul(*unit_ms).and_then(|ms| ms.checked_add(total_ms)) {
            Some(ms) if ms <= LONGEST.as_millis() as u64 => ms,
            _ => return bad("it is longer than a year"),
        };
        rest = &rest[digits + letters..];
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`parse`] reads the same value (to the millisecond).
pub fn format(duration: Duration) -> String {
    let mut ms = duration.as_millis() as u64;
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, unit_ms) in UNITS.iter().rev() {
        if ms >= *unit_ms {
            text += &format!("{}{name}", ms / unit_ms);
            ms %= unit_ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        for ms in [0, 1, 999, 1_000, 61_001, 90_000, 3_600_000, 90_061_007] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }

    #[test]
    fn mistakes_are_refused_with_help() {
        for text in ["", "10", "s", "1s1m", "1s1s", "10 s", "-1s", "1.5s", "99999999999999999999s", "400d", "1µs"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("10").unwrap_err().contains("the unit is missing"));
    }
}
