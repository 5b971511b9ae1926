//! The protocol between `git receive-pack` and `proc-receive` (githooks(5), `proc-receive`), over any pair of streams.
//!
//! ```text
//! git:  version=1\0push-options atomic   flush
//! hook: version=1\0push-options          flush
//! git:  OLD NEW REF …                    flush
//! git:  OPTION …                         flush   (only if both said push-options)
//! hook: ok REF | ng REF REASON …         flush
//! ```
//! Each line is a pkt-line: four hex digits of length, themselves included, then the content; `0000` is a flush.

use super::updates::RefUpdate;
use super::{ReceiveError, printable};
use std::io::{Read, Write};

/// gitprotocol-common(5): the largest packet, its length included.
const MAX_PACKET_BYTES: usize = 65520;
/// Updates and options together, per section.
const MAX_LINES: usize = 1000;
/// A reason is shown in one line of the pusher's terminal.
const LONGEST_REASON: usize = 300;

/// What git asks `proc-receive` to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcReceive {
    pub updates: Vec<RefUpdate>,
    /// As the pusher wrote them; [`super::PushOptions::parse`] reads them.
    pub options: Vec<String>,
}

/// The answer for one ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Done: the ref has been moved, by us.
    Accepted { name: String },
    /// Not done, or not known to be done.
    Refused { name: String, reason: String },
}

/// Agrees on the version, then reads the updates and the options.
pub fn read_request(input: &mut impl Read, output: &mut impl Write) -> Result<ProcReceive, ReceiveError> {
    let greeting = read_section(input)?;
    let greeting = greeting.first().ok_or_else(|| ReceiveError::malformed("no greeting"))?;
    let (version, features) = greeting.split_once('\0').unwrap_or((greeting, ""));
    if version != "version=1" {
        return Err(ReceiveError::malformed(format!("protocol `{}`", printable(version, 40))));
    }
    let has_options = features.split(' ').any(|feature| feature == "push-options");
    write_packet(output, if has_options { "version=1\0push-options" } else { "version=1" })?;
    write_flush(output)?;

    let updates = read_section(input)?.iter().map(|line| RefUpdate::parse(line)).collect::<Result<_, _>>()?;
    let options = if has_options { read_section(input)? } else { Vec::new() };
    Ok(ProcReceive { updates, options })
}

/// Answers, in the order of the request. Reasons are cut to one line.
pub fn write_report(output: &mut impl Write, reports: &[Report]) -> Result<(), ReceiveError> {
    for report in reports {
        match report {
            Report::Accepted { name } => write_packet(output, &format!("ok {name}"))?,
            Report::Refused { name, reason } => {
                write_packet(output, &format!("ng {name} {}", printable(reason, LONGEST_REASON)))?;
            }
        }
    }
    write_flush(output)
}

/// The lines up to the next flush.
fn read_section(input: &mut impl Read) -> Result<Vec<String>, ReceiveError> {
    let mut lines = Vec::new();
    while let Some(line) = read_packet(input)? {
        if lines.len() >= MAX_LINES {
            return Err(ReceiveError::TooMany { what: "refs or options", limit: MAX_LINES });
        }
        lines.push(line);
    }
    Ok(lines)
}

/// `None` is a flush.
fn read_packet(input: &mut impl Read) -> Result<Option<String>, ReceiveError> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = std::str::from_utf8(&length)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| usize::from_str_radix(text, 16).ok())
        .ok_or_else(|| ReceiveError::malformed("the length of a packet is no number"))?;
    if length == 0 {
        return Ok(None);
    }
    if !(4..=MAX_PACKET_BYTES).contains(&length) {
        return Err(ReceiveError::malformed(format!("a packet of {length} bytes")));
    }
    let mut content = vec![0; length - 4];
    input.read_exact(&mut content)?;
    let text = String::from_utf8_lossy(&content);
    Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
}

fn write_packet(output: &mut impl Write, text: &str) -> Result<(), ReceiveError> {
    let length = text.len() + 5;
    if length > MAX_PACKET_BYTES {
        return Err(ReceiveError::malformed(format!("a line of {} bytes", text.len())));
    }
    output.write_all(format!("{length:04x}{text}\n").as_bytes())?;
    Ok(())
}

fn write_flush(output: &mut impl Write) -> Result<(), ReceiveError> {
    output.write_all(b"0000")?;
    output.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    fn packets(sections: &[&[&str]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for section in sections {
            for line in *section {
                bytes.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
            }
            bytes.extend_from_slice(b"0000");
        }
        bytes
    }

    #[test]
    fn a_request_with_options_is_read() {
        let update = format!("{A} {B} refs/heads/main");
        let input = packets(&[&["version=1\0push-options atomic\n"], &[&update], &["allow-rewind", "dry-run"]]);
        let mut output = Vec::new();
        let request = read_request(&mut input.as_slice(), &mut output).unwrap();
        assert_eq!(output, b"001bversion=1\0push-options\n0000");
        let name = "refs/heads/main".to_owned();
        let updates = vec![RefUpdate { old: Some(Revision::from(A)), new: Some(Revision::from(B)), name }];
        assert_eq!(request, ProcReceive { updates, options: vec!["allow-rewind".into(), "dry-run".into()] });
    }

    #[test]
    fn a_request_without_options_has_no_third_section() {
        let update = format!("{A} {B} refs/heads/main");
        let input = packets(&[&["version=1\0atomic"], &[&update]]);
        let mut output = Vec::new();
        let request = read_request(&mut input.as_slice(), &mut output).unwrap();
        assert_eq!(output, b"000eversion=1\n0000");
        assert!(request.options.is_empty());
    }

    #[test]
    fn a_report_is_one_packet_per_ref_and_one_line_per_reason() {
        let name = "refs/heads/main".to_owned();
        let mut output = Vec::new();
        let refused = Report::Refused { name: name.clone(), reason: "two\nlines \u{1b}[31m".into() };
        write_report(&mut output, &[Report::Accepted { name }, refused]).unwrap();
        assert_eq!(output, b"0017ok refs/heads/main\n0026ng refs/heads/main two lines [31m\n0000");
        let mut output = Vec::new();
        let reason = "ä".repeat(100_000);
        write_report(&mut output, &[Report::Refused { name: "r".into(), reason }]).unwrap();
        assert!(output.len() < 1000);
    }

    #[test]
    fn nonsense_is_an_error_and_never_waits_for_more_than_was_announced() {
        for input in [
            &b""[..],
            b"00",
            b"zzzz",
            b"+123",
            b"0001",
            b"0003",
            b"ffffx",
            b"0010short",
            b"0000",
            b"000dversion=20000",
            b"000dversion=10000000cbad line0000",
        ] {
            assert!(read_request(&mut &input[..], &mut Vec::new()).is_err(), "{input:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(input: Vec<u8>) {
            let _ = read_request(&mut input.as_slice(), &mut Vec::new());
            let mut greeted = packets(&[&["version=1\0push-options"]]);
            greeted.extend(input);
            let _ = read_request(&mut greeted.as_slice(), &mut Vec::new());
        }
    }
}
