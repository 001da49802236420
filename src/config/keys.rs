//! Where minted keys are kept: one small file of rows, replaced whole. Holds hashes, never a key.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::policy::identity::key::{KeyRing, KeyRow};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "keys.json";

/// The rows; none where there is no file yet.
pub fn read(data: &Path) -> io::Result<Vec<KeyRow>> {
    let path = data.join(FILE_NAME);
    match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("cannot read the keys of this gateway in {}: {error}", path.display()),
        )),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
    }
}

/// The rows, ready for looking up.
pub fn ring(data: &Path) -> io::Result<KeyRing> {
    read(data).map(KeyRing::over)
}

/// Change the rows. Two commands at once come one after the other, so that neither undoes what the other did.
pub fn change(data: &Path, change: impl FnOnce(&mut Vec<KeyRow>) -> io::Result<()>) -> io::Result<()> {
    std::fs::create_dir_all(data)?;
    let turn = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data.join(format!("{FILE_NAME}.lock")))?;
    rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive)?;
    let mut rows = read(data)?;
    change(&mut rows)?;
    write(data, &rows)
}

/// Replace the rows: written beside, synced, renamed; readable by its owner alone.
pub fn write(data: &Path, rows: &[KeyRow]) -> io::Result<()> {
    std::fs::create_dir_all(data)?;
    let path = data.join(FILE_NAME);
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let text = serde_json::to_vec_pretty(rows).map_err(io::Error::other)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)?;
    std::fs::File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::policy::identity::key::mint;

    #[test]
    fn rows_survive_and_are_private() {
        let dir = tempfile::tempdir().expect("folder");
        assert_eq!(read(dir.path()).expect("empty"), Vec::new());
        let minted = mint("ci", 1, None, Vec::new()).expect("minted");
        write(dir.path(), std::slice::from_ref(&minted.row)).expect("written");
        assert_eq!(read(dir.path()).expect("read"), [minted.row]);
        assert!(ring(dir.path()).expect("ring").judge(&minted.key, 2).is_ok());
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).expect("file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(dir.path().join(FILE_NAME), "garbage").expect("written");
        assert!(read(dir.path()).is_err(), "a broken file is an error, not an empty one");
    }
}
