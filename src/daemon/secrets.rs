//! Secrets that the daemon itself uses, each in a file of its own on this node.

use std::io::Read;

/// The longest secret: tokens have some hundred characters, and whoever names `/dev/zero` shall be told.
const LONGEST: u64 = crate::api::webhook::LONGEST_SECRET as u64;

/// The first line of a file.
///
/// # Errors
///
/// A line for people, with the path and never with what is in it: the file cannot be read, is empty, longer than 4 KiB or
/// no text.
pub(super) fn read(path: &str) -> Result<String, String> {
    let failed = |why: &dyn std::fmt::Display| format!("the secret in `{path}` cannot be read: {why}");
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| failed(&error.kind()))?;
    if text.len() as u64 > LONGEST {
        return Err(failed(&"it is longer than 4 KiB"));
    }
    match text.lines().next().map(str::trim_end).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(failed(&"its first line is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_its_file_and_never_in_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        assert_eq!(read(&write("a", b"hunter22\r\n")).as_deref(), Ok("hunter22"));
        assert_eq!(read(&write("b", b"hunter22\nmore")).as_deref(), Ok("hunter22"));
        for (name, bytes) in [("c", &b"\nhunter22"[..]), ("d", b""), ("e", b"hunter22\xff"), ("f", &[b'h'; 5000])] {
            let why = read(&write(name, bytes)).unwrap_err();
            assert!(why.contains(name) && !why.contains("hunter22") && !why.contains("hhh"), "{why}");
        }
        assert!(read("/dev/zero").is_err() && read("/nowhere/secret").is_err());
    }
}
