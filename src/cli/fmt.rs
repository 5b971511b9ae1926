//! `hafen fmt`: manifests in their canonical form, comments kept.
//!
//! Input → output: a path → files written anew, or with `--check` only named. Exit codes: 0; 1 with `--check` if a file is
//! not in that form; 2 if a file cannot be read or written, or has an error of syntax and was left alone.
//!
//! Invariant: a file is there in its old or in its new form at any moment, never in part: the new one is written beside it
//! and renamed over it.

use super::error::{CliError, Exit, Kind};
use super::{Format, OutputFormat, files, render};
use crate::api::types::{FormattedFile, FormattedResult, FormattedView};
use crate::manifest::{self, SourceFile, Unformatted};
use crate::model::Severity;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of standard input; as much as a file may have.
const MAX_INPUT_BYTES: u64 = 16 << 20;

/// Write manifests in their canonical form
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Write manifests in their canonical form. Only space is changed: two spaces for each level, lists below their key \
indented like maps, one space behind `:` and `-`, no space at the ends of lines, no two empty lines, none beside `---`, `---` only between documents. \
All comments stay, each where it is. The order of keys, quotes, the insides of {} and [] and long lines stay as they are.

A file is written only if the new form reads as the same documents. One with an error of syntax is left alone. \
A symbolic link that is named is followed; below a folder links are passed over, as `validate` does.",
    after_help = "Examples:
  hafen fmt
  hafen fmt manifests/ --check
  hafen fmt - < web.yaml"
)]
pub struct Args {
    /// A folder of manifests, or one file; `-`: from standard input to standard output
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Write nothing: name the files that are not in this form, and exit 1 if there are any
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    format: Format,
}

pub fn run(args: &Args) -> Result<Exit, CliError> {
    if args.path == Path::new("-") {
        return piped(args.check);
    }
    let read = files::read_alone(&args.path).map_err(|error| could_not(error.to_string()))?;
    let results: Vec<FormattedFile> = read.iter().map(|file| one(args, file)).collect();
    match args.format.output {
        OutputFormat::Text => text(&results)?,
        OutputFormat::Json => render::print_json(&FormattedView {
            api_version: Default::default(),
            kind: Default::default(),
            files: results.clone(),
        })?,
    }
    let any = |result: FormattedResult| results.iter().any(|file| file.result == result);
    if any(FormattedResult::LeftAlone) {
        return Ok(Exit::CouldNotTell);
    }
    Ok(if any(FormattedResult::WouldChange) { Exit::No } else { Exit::Ok })
}

fn could_not(why: String) -> CliError {
    CliError::new(Kind::CouldNotTell, why)
}

fn piped(check: bool) -> Result<Exit, CliError> {
    let mut bytes = Vec::new();
    io::stdin().take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
    let file = SourceFile { path: "-".to_owned(), bytes };
    match manifest::canonical(&file) {
        Ok(text) if check => Ok(if text.as_bytes() == file.bytes { Exit::Ok } else { Exit::No }),
        Ok(text) => {
            io::stdout().write_all(text.as_bytes())?;
            Ok(Exit::Ok)
        }
        Err(Unformatted::Errors(found)) => {
            found.iter().for_each(|found| render::say(&super::plan::diagnostic(found)));
            Err(could_not("standard input cannot be read as manifests".to_owned()))
        }
        Err(Unformatted::Unsure) => Err(could_not(format!("standard input {UNSURE}"))),
    }
}

const UNSURE: &str = "cannot be written anew without changing what it says";

fn one(args: &Args, file: &SourceFile) -> FormattedFile {
    let name = files::from_here(&args.path, &file.path);
    let place = if args.path.is_dir() { args.path.join(&file.path) } else { args.path.clone() };
    let left_alone = |reason: Option<String>, diagnostics| FormattedFile {
        file: name.clone(),
        result: FormattedResult::LeftAlone,
        reason,
        diagnostics,
    };
    let named = SourceFile { path: name.clone(), bytes: file.bytes.clone() };
    let done = |result| FormattedFile { file: name.clone(), result, reason: None, diagnostics: Vec::new() };
    match manifest::canonical(&named) {
        Ok(text) if text.as_bytes() == file.bytes => done(FormattedResult::Unchanged),
        Ok(_) if args.check => done(FormattedResult::WouldChange),
        Ok(text) => match replace(&place, &file.bytes, text.as_bytes()) {
            Ok(()) => done(FormattedResult::Changed),
            Err(error) => left_alone(Some(error.to_string()), Vec::new()),
        },
        Err(Unformatted::Errors(found)) => left_alone(None, found),
        Err(Unformatted::Unsure) => left_alone(Some(UNSURE.to_owned()), Vec::new()),
    }
}

/// Puts the new form in the place of the old, with its mode and owner.
fn replace(path: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let (folder, name) = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => (folder, name.to_string_lossy()),
        (_, None) | (None, _) => return Err(io::Error::other("not a file")),
    };
    let metadata = fs::metadata(&path)?;
    let beside = folder.join(format!(".{name}.hafen-fmt-{}", std::process::id()));
    let mut file = fs::File::options().write(true).create_new(true).open(&beside)?;
    let written = (|| {
        file.write_all(new)?;
        file.set_permissions(metadata.permissions())?;
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
            std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
            // A change of the owner may take bits of the mode away.
            file.set_permissions(metadata.permissions())?;
        }
        file.sync_all()?;
        if fs::read(&path)? != old {
            return Err(io::Error::other("it was changed meanwhile"));
        }
        fs::rename(&beside, &path)
    })();
    if written.is_err() {
        // What failed is told; what is left of it is only in the way.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn text(results: &[FormattedFile]) -> Result<(), CliError> {
    let of = |result: FormattedResult| results.iter().filter(move |file| file.result == result);
    let count = |result| match of(result).count() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let mut names = String::new();
    for file in
        results.iter().filter(|file| matches!(file.result, FormattedResult::Changed | FormattedResult::WouldChange))
    {
        names += &format!("{}\n", file.file);
    }
    render::print(&names)?;
    for file in of(FormattedResult::LeftAlone) {
        let errors = file.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        errors.for_each(|found| render::say(&super::plan::diagnostic(found)));
        if let Some(reason) = &file.reason {
            render::say(&format!("{}: {}: {reason}", render::bad("error"), file.file));
        }
    }
    let parts = [
        (FormattedResult::Changed, "formatted"),
        (FormattedResult::WouldChange, "to be formatted"),
        (FormattedResult::Unchanged, "as they should be"),
        (FormattedResult::LeftAlone, "left alone"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(result, _)| of(*result).count() > 0)
        .map(|(result, word)| format!("{} {word}", count(result)))
        .collect();
    render::say(&if parts.is_empty() { "no manifests here".to_owned() } else { parts.join(", ") });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn args(path: &Path, check: bool) -> Args {
        Args { path: path.into(), check, format: Format { output: OutputFormat::Text } }
    }

    #[test]
    fn files_are_replaced_as_a_whole_with_their_mode_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.yaml"), folder.path().join("link.yaml"));
        fs::write(&real, "a:\n    b: 1   \n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real.yaml", &link).unwrap();
        assert_eq!(run(&args(&link, true)).unwrap(), Exit::No);
        assert_eq!(fs::read(&real).unwrap(), b"a:\n    b: 1   \n", "--check writes nothing");
        assert_eq!(run(&args(&link, false)).unwrap(), Exit::Ok);
        assert_eq!(fs::read(&real).unwrap(), b"a:\n  b: 1\n");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
        assert_eq!(run(&args(folder.path(), true)).unwrap(), Exit::Ok);
    }

    #[test]
    fn a_file_with_errors_is_left_alone_and_the_others_are_formatted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bad.yaml"), "a: [\n").unwrap();
        fs::write(folder.path().join("good.yaml"), "a:   1\n").unwrap();
        assert_eq!(run(&args(folder.path(), false)).unwrap(), Exit::CouldNotTell);
        assert_eq!(fs::read(folder.path().join("bad.yaml")).unwrap(), b"a: [\n");
        assert_eq!(fs::read(folder.path().join("good.yaml")).unwrap(), b"a: 1\n");
        assert!(run(&args(&folder.path().join("none"), false)).is_err());
    }

    #[test]
    fn what_was_changed_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "new").unwrap();
        assert!(replace(&path, b"old", b"formatted").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
