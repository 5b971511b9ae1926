//! `hafen events`.

use super::error::{CliError, Exit, Kind};
use super::{Context, Format, OutputFormat, render};
use crate::api::types::{EventView, EventsView};
use crate::state::EventKind;

/// The longest line of a followed stream; a longer one is no event.
const LINE_LIMIT: usize = 1024 * 1024;

/// What happened, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hafen events
  hafen events -n 20 -f
  hafen events -f -o json | jq 'select(.kind == \"Failed\")'")]
pub struct Args {
    /// Go on as things happen
    #[arg(short, long)]
    follow: bool,
    /// How many, the newest
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    count: usize,
    /// Only what happened after this index of the log
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    #[command(flatten)]
    format: Format,
}

pub async fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let client = context.client()?;
    let mut query = vec![("limit", args.count.to_string())];
    query.extend(args.after.map(|after| ("after", after.to_string())));
    let found: EventsView = client.get("/v1/events", &query).await?;
    match args.format.output {
        OutputFormat::Json if !args.follow => render::print_json(&found)?,
        OutputFormat::Json | OutputFormat::Text => {
            found.events.iter().try_for_each(|event| show(event, args.format.output))?;
        }
    }
    if !args.follow {
        return Ok(Exit::Ok);
    }
    let last = found.events.last().map(|event| event.index).or(args.after);
    let query: Vec<_> = last.map(|after| ("after", after.to_string())).into_iter().collect();
    let mut stream = client.stream("/v1/events/follow", &query).await?;
    let mut rest: Vec<u8> = Vec::new();
    while let Some(chunk) = stream.chunk().await.map_err(crate::api::client::ClientError::Broken)? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: EventView = serde_json::from_slice(&line)
                .map_err(|error| CliError::new(Kind::Unreachable, format!("an event cannot be read: {error}")))?;
            show(&event, args.format.output)?;
        }
        if rest.len() > LINE_LIMIT {
            return Err(CliError::new(Kind::Unreachable, "an event is too long to be one"));
        }
    }
    Err(CliError::new(Kind::Unreachable, "the daemon ended").hint("`hafen status` shows whether it is back"))
}

fn show(event: &EventView, format: OutputFormat) -> Result<(), CliError> {
    match format {
        OutputFormat::Text => render::print(&line(event)),
        OutputFormat::Json => {
            let text = serde_json::to_string(event).map_err(|error| CliError::new(Kind::Bug, error.to_string()))?;
            render::print(&(text + "\n"))
        }
    }
}

/// One event as one line.
pub fn line(event: &EventView) -> String {
    let kind = format!("{:?}", event.kind);
    let padded = format!("{kind:<13}");
    let kind = match event.kind {
        EventKind::Failed | EventKind::Suspected | EventKind::FenceFailed | EventKind::Alarm => render::bad(&padded),
        EventKind::FenceStarted
        | EventKind::FenceCheck
        | EventKind::Report
        | EventKind::Found
        | EventKind::Evidence
        | EventKind::Override => render::warn(&padded),
        EventKind::Started
        | EventKind::Promoted
        | EventKind::Reloaded
        | EventKind::Joined
        | EventKind::Cleared
        | EventKind::FenceSucceeded => render::good(&padded),
        EventKind::Target
        | EventKind::Assigned
        | EventKind::Claimed
        | EventKind::Stopped
        | EventKind::Demoted
        | EventKind::Left
        | EventKind::Cleanup
        | EventKind::Leader
        | EventKind::Announced => padded,
    };
    format!("{} {:>6} {kind} {}\n", render::faint(&render::time_ms(event.at_ms)), event.index, event.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_time_index_and_kind() {
        let event = EventView {
            index: 42,
            at_ms: 1_777_636_800_123,
            kind: EventKind::Failed,
            node: Some("n1".into()),
            instance: Some("db".into()),
            text: "db failed on n1: monitor said not running".into(),
        };
        let plain = anstream::adapter::strip_str(&line(&event)).to_string();
        assert_eq!(plain, "2026-05-01T12:00:00.123Z     42 Failed        db failed on n1: monitor said not running\n");
    }
}
