//! The two hooks `git receive-pack` runs, as tiny shell scripts that call hafen.

use super::error::SourceError;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// `pre-receive` validates and prints the plan, `proc-receive` proposes.
pub(super) const HOOKS: [&str; 2] = ["pre-receive", "proc-receive"];

/// Writes the hooks that differ from what they should be, each in one step.
pub(super) fn write(git_dir: &Path, binary: &Path, socket: &Path) -> Result<(), SourceError> {
    let directory = git_dir.join("hooks");
    fs::create_dir_all(&directory).map_err(|e| SourceError::io("making the directory of hooks", &directory, e))?;
    for name in HOOKS {
        let path = directory.join(name);
        let wanted = script(name, binary, socket);
        let is_executable = fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o111 == 0o111);
        if is_executable && fs::read(&path).is_ok_and(|there| there == wanted) {
            continue;
        }
        replace(&path, &wanted, 0o755)?;
    }
    Ok(())
}

/// Replaces a file durably: a reader, also after a power cut, sees the old content or the new.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), SourceError> {
    let failed = |error| SourceError::io("writing a file", path, error);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = (|| {
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(path.parent().unwrap_or(Path::new(".")))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn script(name: &str, binary: &Path, socket: &Path) -> Vec<u8> {
    let binary = quoted(binary);
    let mut text = b"#!/bin/sh\n# Written by hafen at every start; changes made here are lost.\n".to_vec();
    text.extend_from_slice(b"[ -x ");
    text.extend_from_slice(&binary);
    text.extend_from_slice(b" ] || { printf '%s is missing: push refused\\n' ");
    text.extend_from_slice(&binary);
    text.extend_from_slice(b" >&2; exit 1; }\nexec ");
    text.extend_from_slice(&binary);
    text.extend_from_slice(format!(" hook {name} --socket ").as_bytes());
    text.extend_from_slice(&quoted(socket));
    text.push(b'\n');
    text
}

/// A path as one word of a shell, whatever its bytes.
fn quoted(path: &Path) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_and_quotes_stay_one_word() {
        let text = script("pre-receive", Path::new("/opt/my hafen/it's"), Path::new("/run/a b.sock"));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("exec '/opt/my hafen/it'\\''s' hook pre-receive --socket '/run/a b.sock'\n"), "{text}");
    }

    #[test]
    fn an_unchanged_hook_is_left_alone_and_a_changed_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (binary, socket) = (Path::new("/bin/hafen"), Path::new("/run/hafen.sock"));
        write(directory.path(), binary, socket).unwrap();
        let hook = directory.path().join("hooks/proc-receive");
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&hook);
        write(directory.path(), binary, socket).unwrap();
        assert_eq!(inode(&hook), first);
        fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        write(directory.path(), binary, socket).unwrap();
        assert_eq!(fs::read(&hook).unwrap(), script("proc-receive", binary, socket));
        assert_eq!(fs::metadata(&hook).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
