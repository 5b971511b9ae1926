//! `hafen schema`: the JSON Schemas of manifests, for editors and other tools.
//!
//! Input → output: a kind, or none for all kinds in one → a schema on stdout; with `--out` all of them as files. Exit
//! code: 0, or 2 if a file cannot be written.

use crate::manifest;
use crate::model::Kind;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Print JSON Schemas of manifests
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  hafen schema Resource
  hafen schema --out schemas/")]
pub struct Args {
    /// Only this kind of document, such as Resource
    #[arg(value_parser = kind)]
    pub kind: Option<Kind>,
    /// Write all schemas into this folder
    #[arg(long, conflicts_with = "kind")]
    pub out: Option<PathBuf>,
}

fn kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("the kinds are {}", Kind::ALL.map(Kind::as_str).join(", ")))
}

/// Runs the command.
pub fn run(args: &Args) -> u8 {
    let result = match &args.out {
        Some(folder) => write_all(folder),
        None => print(args.kind),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            2
        }
    }
}

fn print(kind: Option<Kind>) -> io::Result<()> {
    let name = kind.map_or_else(|| "manifest.json".to_owned(), |kind| format!("{}.json", kind.as_str().to_lowercase()));
    let text = manifest::schema().remove(&name).map(|schema| format!("{schema:#}\n")).unwrap_or_default();
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write_all(folder: &Path) -> io::Result<()> {
    let failed = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("failed to write `{}`: {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, schema) in manifest::schema() {
        let path = folder.join(name);
        std::fs::write(&path, format!("{schema:#}\n")).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_schemas_are_those_of_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(&Args { kind: None, out: Some(folder.path().join("schemas")) }), 0);
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for name in manifest::schema().keys() {
            let written = std::fs::read(folder.path().join("schemas").join(name)).unwrap();
            assert!(written == std::fs::read(stored.join(name)).unwrap(), "{name}");
        }
        assert_eq!(run(&Args { kind: None, out: Some("/dev/null/x".into()) }), 2);
        assert_eq!(kind("resource"), Ok(Kind::Resource));
        assert!(kind("Pod").is_err());
    }
}
