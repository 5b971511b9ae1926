//! Small pieces of text output: styles, tables, times.
//!
//! Everything is styled when it is made and stripped when it is printed, if the terminal, `--color` or `NO_COLOR` say so; nothing
//! is told by colour alone. Pure, but for [`print()`].

use super::error::CliError;
use anstyle::{AnsiColor, Style};
use std::io::Write;
use std::time::Duration;

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
pub fn strong(text: &str) -> String {
    styled(Style::new().bold(), text)
}
pub fn faint(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}
pub fn good(text: &str) -> String {
    styled(AnsiColor::Green.on_default(), text)
}
pub fn busy(text: &str) -> String {
    styled(AnsiColor::Cyan.on_default(), text)
}
pub fn warn(text: &str) -> String {
    styled(AnsiColor::Yellow.on_default(), text)
}
pub fn bad(text: &str) -> String {
    styled(AnsiColor::Red.on_default().bold(), text)
}

/// Prints results on stdout.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Prints a document as JSON, one line break at the end.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(super::error::Kind::Bug, format!("failed to write JSON: {error}")))?;
    print(&(text + "\n"))
}

/// Says something to people.
pub fn say(text: &str) {
    // Without stderr there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Rows in columns, two spaces apart, each line indented by two. Widths ignore styles.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            line += cell;
            if row[column + 1..].iter().any(|later| !later.is_empty()) {
                line += &" ".repeat(widths[column] - visible(cell) + 2);
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// How long ago, in the one unit that matters: `5s`, `12m`, `3h`, `9d`.
pub fn age(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment in UTC, to the second: `2026-05-01T12:00:00Z`.
pub fn time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{ms} ms"), |moment| moment.to_string())
}

/// As `time`, with milliseconds.
pub fn time_ms(ms: u64) -> String {
    let known = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(|| format!("{ms} ms"), |moment| format!("{moment:.3}"))
}

/// A moment, given as a duration from now (`10m`), a local time of day (`18:30`, the next one), a date and time, or RFC 3339.
pub fn parse_until(text: &str, now: &jiff::Zoned) -> Result<u64, String> {
    let to_ms = |moment: jiff::Timestamp| u64::try_from(moment.as_millisecond()).unwrap_or(0);
    let now_ms = to_ms(now.timestamp());
    let at = if let Ok(duration) = crate::model::duration::parse(text) {
        now_ms.saturating_add(duration.as_millis() as u64)
    } else if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        to_ms(moment)
    } else if let Ok(local) = text.parse::<jiff::civil::DateTime>().map(|dt| dt.to_zoned(now.time_zone().clone())) {
        to_ms(local.map_err(|error| error.to_string())?.timestamp())
    } else if let (true, Ok(clock)) = (text.contains(':'), text.parse::<jiff::civil::Time>()) {
        let today = now.date().to_datetime(clock).to_zoned(now.time_zone().clone()).map_err(|e| e.to_string())?;
        let next = if &today > now { today } else { today.tomorrow().map_err(|e| e.to_string())? };
        to_ms(next.timestamp())
    } else {
        return Err(format!("`{text}` is no time: write `10m`, `18:30`, `2026-05-01T12:00` or `2026-05-01T12:00:00Z`"));
    };
    if at <= now_ms { Err(format!("`{text}` has passed already")) } else { Ok(at) }
}

/// For clap: a duration such as `5m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::model::duration::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = vec![
            vec!["n1".to_owned(), good("Online"), "x".to_owned()],
            vec!["node-2".to_owned(), bad("Suspect"), String::new()],
        ];
        let plain = anstream::adapter::strip_str(&table(&rows)).to_string();
        assert_eq!(plain, "  n1      Online   x\n  node-2  Suspect\n");
    }

    #[test]
    fn an_age_has_one_unit() {
        let ages: Vec<String> = [0, 119, 120, 7199, 7200, 172_800].iter().map(|s| age(s * 1000, 0)).collect();
        assert_eq!(ages, ["0s", "119s", "2m", "119m", "2h", "2d"]);
        assert_eq!(age(0, 5000), "0s", "clocks differ");
    }

    #[test]
    fn until_is_a_duration_a_time_of_day_or_a_moment() {
        let now: jiff::Zoned = "2026-05-01T12:00:00+02:00[Europe/Berlin]".parse().unwrap();
        let at = |text: &str| parse_until(text, &now).map(time);
        assert_eq!(at("10m").unwrap(), "2026-05-01T10:10:00Z");
        assert_eq!(at("18:30").unwrap(), "2026-05-01T16:30:00Z");
        assert_eq!(at("09:00").unwrap(), "2026-05-02T07:00:00Z", "the next one");
        assert_eq!(at("2026-05-01T12:00:01").unwrap(), "2026-05-01T10:00:01Z");
        assert_eq!(at("2026-05-01T13:00:00Z").unwrap(), "2026-05-01T13:00:00Z");
        assert!(at("2026-04-01T13:00:00Z").unwrap_err().contains("has passed"));
        assert!(at("soon").is_err() && at("10").is_err());
    }
}
