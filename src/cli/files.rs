//! Reads a folder of manifests from disk.
//!
//! Input → output: a path → the `*.yaml` and `*.yml` files below it (and SOPS files in JSON), in order of their names, with paths relative to it
//! (`/` between parts on every system). A path of one file gives that file. What overlays among them build on is read too:
//! its paths begin with `../` where it is not below the path.
//!
//! Deliberately absent: following symbolic links below the path (a push does not carry what they point to), and
//! reading what begins with a dot. Errors: what the system says, with the path; limits exceeded.

use crate::manifest::{self, SourceFile};
use crate::model::sealed::is_of_manifests;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Ten times what a large installation has.
const MAX_FILES: usize = 100_000;
/// Together; a tree this large is not one of manifests.
const MAX_TOTAL_BYTES: u64 = 256 << 20;
/// Folders within folders.
const MAX_DEPTH: usize = 32;

/// Reads all manifests below `path`, and the bases of overlays among them.
pub fn read_tree(path: &Path) -> io::Result<Vec<SourceFile>> {
    let root = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let root = if root == Path::new("") { Path::new(".") } else { root };
    let repository = repository(root);
    let read = |folder: &str| -> io::Result<Vec<SourceFile>> {
        let below = root.join(folder);
        match std::fs::canonicalize(&below) {
            // A push carries what is in the repository, and nothing else.
            Ok(real) if repository.as_ref().is_some_and(|repository| !real.starts_with(repository)) => Ok(Vec::new()),
            Ok(real) if real.is_dir() => {
                let mut files = read_alone(&below)?;
                let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                files.iter_mut().for_each(|file| file.path = format!("{prefix}{}", file.path));
                Ok(files)
            }
            Ok(_) => Ok(Vec::new()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            Err(error) => Err(at(&below, error)),
        }
    };
    manifest::with_bases(read_alone(path)?, read)
}

/// The root of the repository that a folder is in, without symbolic links; None: it is in none.
fn repository(folder: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(folder).ok()?;
    real.ancestors().find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}

/// The same without bases.
pub fn read_alone(path: &Path) -> io::Result<Vec<SourceFile>> {
    let mut tree = Tree { files: Vec::new(), bytes_left: MAX_TOTAL_BYTES };
    let metadata = std::fs::metadata(path).map_err(|error| at(path, error))?;
    if metadata.is_dir() {
        tree.folder(path, "", 0)?;
    } else {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        tree.file(path, name.into_owned())?;
    }
    tree.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tree.files)
}

/// The same with paths relative to where the command was run, so that editors and code hosts find the files.
pub fn read_from_here(path: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = read_tree(path)?;
    files.iter_mut().for_each(|file| file.path = from_here(path, &file.path));
    Ok(files)
}

/// What a file below `path` is called where the command was run.
pub fn from_here(path: &Path, file: &str) -> String {
    let root = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let joined = root.strip_prefix(".").unwrap_or(root).join(file);
    let mut plain = PathBuf::new();
    for part in joined.components() {
        // `prod/../base` is `base`; what is above where the command was run stays so.
        match part {
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain.to_string_lossy().into_owned()
}

struct Tree {
    files: Vec<SourceFile>,
    bytes_left: u64,
}

impl Tree {
    fn folder(&mut self, path: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(limit(path, format!("more than {MAX_DEPTH} folders deep")));
        }
        for entry in std::fs::read_dir(path).map_err(|error| at(path, error))? {
            let entry = entry.map_err(|error| at(path, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|error| at(&entry.path(), error))?;
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                self.folder(&entry.path(), &format!("{prefix}{name}/"), depth + 1)?;
            } else if kind.is_file() && is_of_manifests(name.as_bytes()) {
                self.file(&entry.path(), format!("{prefix}{name}"))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> io::Result<()> {
        if self.files.len() == MAX_FILES {
            return Err(limit(path, format!("more than {MAX_FILES} files")));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| at(path, error))?;
        file.take(self.bytes_left + 1).read_to_end(&mut bytes).map_err(|error| at(path, error))?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| limit(path, format!("more than {MAX_TOTAL_BYTES} bytes of manifests")))?;
        self.files.push(SourceFile { path: name, bytes });
        Ok(())
    }
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to read `{}`: {error}", path.display()))
}

fn limit(path: &Path, what: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("failed to read `{}`: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_manifests_are_read_in_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["b.yaml", "a/z.yml", "a/README.md", ".git/c.yaml", "a/.hidden.yaml", "a.yaml"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), path).unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("loop")).unwrap();
        let files = read_tree(root).unwrap();
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a.yaml", "a/z.yml", "b.yaml"]);
        assert_eq!(files[1].bytes, b"a/z.yml");
        assert_eq!(read_tree(&root.join("a/z.yml")).unwrap()[0].path, "z.yml");
        let error = read_tree(&root.join("nowhere")).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
