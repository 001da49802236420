//! The file shell around segments: names, places, appends, and what a start has to mend.
//!
//! A write goes to an explicit offset behind the last acknowledged byte, so a write that failed half-way is simply
//! written again at the same place: nothing has to be undone, and what a crash leaves there is a torn tail.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::segment::{Head, Kind, ReadAt, Survey, survey};

/// Where the pieces of a data folder are.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The layout of `dir`.
    #[must_use]
    pub fn of(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned() }
    }

    /// The data folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Folder of the segments of a kind.
    #[must_use]
    pub fn segments(&self, kind: Kind) -> PathBuf {
        self.dir.join(match kind {
            Kind::Log => "log",
            Kind::Content => "content",
        })
    }

    /// One segment.
    #[must_use]
    pub fn segment(&self, kind: Kind, number: u32) -> PathBuf {
        self.segments(kind).join(format!("{number:08}.seg"))
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.dir.join("index.db")
    }

    /// Durable state that the log does not tell.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.db")
    }

    /// What a writer locks.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Where other processes hand batches in.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("writer.sock")
    }

    /// Make the folders that are missing, closed to everybody else.
    pub fn create(&self) -> io::Result<()> {
        for dir in [self.dir.clone(), self.segments(Kind::Log), self.segments(Kind::Content)] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|e| explain(e, "cannot make", &dir))?;
        }
        close_to_others(&self.dir)
    }

    /// Numbers of the segments of a kind, ascending. A folder that is not there has none.
    pub fn numbers(&self, kind: Kind) -> io::Result<Vec<u32>> {
        let dir = self.segments(kind);
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(explain(e, "cannot list", &dir)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            numbers.extend(number_of(&entry?.path()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Take the store for this process, or say who may have it. Held until the file is dropped.
    pub fn take_lock(&self) -> io::Result<File> {
        let path = self.lock();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|e| explain(e, "cannot open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!(
                    "another gateway writes to {}: stop it, or give this one its own folder with --data",
                    self.dir.display()
                ),
            )),
            Err(std::fs::TryLockError::Error(e)) => Err(explain(e, "cannot lock", &path)),
        }
    }
}

/// The segments of one kind, open for appending.
pub struct Segments {
    layout: Layout,
    kind: Kind,
    bytes_max: u64,
    number: u32,
    end: u64,
    file: Option<File>,
}

/// A place in the segments of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Number of the segment.
    pub segment: u32,
    /// Offset in it.
    pub offset: u64,
}

impl Segments {
    /// Find the end of what is there, cutting a torn tail.
    pub fn open(layout: &Layout, kind: Kind, bytes_max: u64) -> io::Result<(Segments, Survey)> {
        let numbers = layout.numbers(kind)?;
        let look = |number: u32, before| {
            let path = layout.segment(kind, number);
            let file = File::open(&path).map_err(|e| explain(e, "cannot read", &path))?;
            survey(&file, before).map_err(|e| explain(e, "cannot read", &path))
        };
        let mut seen = numbers.last().map(|last| look(*last, None)).transpose()?.unwrap_or_default();
        if let [.., before, last] = numbers[..]
            && (seen.head.is_none() || seen.damaged > 0)
        {
            // The chain goes on from the segment before; and only with its end a torn first batch is told from damage.
            seen = look(last, look(before, None)?.head)?;
        }
        let number = numbers.last().copied().unwrap_or(1);
        let mut segments =
            Segments { layout: layout.clone(), kind, bytes_max, number, end: seen.end, file: None };
        if seen.torn_bytes > 0 {
            segments.cut()?;
        }
        Ok((segments, seen))
    }

    /// Where the next write goes. Moves on to a new segment when this one has its size.
    pub fn place(&mut self) -> At {
        if self.end >= self.bytes_max {
            self.number += 1;
            self.end = 0;
            self.file = None;
        }
        At { segment: self.number, offset: self.end }
    }

    /// Write at the place last told and sync. After an error nothing counts as written; try again or write other bytes.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let done = self.try_append(bytes);
        if done.is_ok() {
            self.end += bytes.len() as u64;
        } else {
            // Cut what the failed write may have left, as far as the disk lets us, and start over with a fresh handle.
            let _ = self.file.take().map(|file| file.set_len(self.end));
        }
        done
    }

    /// Where the last acknowledged byte ends.
    #[must_use]
    pub fn end(&self) -> At {
        At { segment: self.number, offset: self.end }
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.open_file()?);
        }
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_all_at(bytes, self.end)?;
        file.sync_data()
    }

    fn open_file(&self) -> io::Result<File> {
        let path = self.layout.segment(self.kind, self.number);
        let fresh = !path.exists();
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
        if fresh {
            // A new name is only durable once its folder is.
            File::open(self.layout.segments(self.kind))?.sync_all()?;
        }
        Ok(file)
    }

    fn cut(&mut self) -> io::Result<()> {
        let path = self.layout.segment(self.kind, self.number);
        let file = self.open_file().map_err(|e| explain(e, "cannot mend", &path))?;
        file.set_len(self.end)
            .and_then(|()| file.sync_all())
            .map_err(|e| explain(e, "cannot mend", &path))?;
        self.file = Some(file);
        Ok(())
    }
}

impl ReadAt for &File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }
}

/// The end of a chain, for those who only have a survey.
#[must_use]
pub fn head_of(seen: &Survey) -> Head {
    seen.head.unwrap_or_default()
}

/// Say what was being done to which path when `error` came.
#[must_use]
pub fn explain(error: io::Error, doing: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

fn number_of(path: &Path) -> Option<u32> {
    if path.extension()? != "seg" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn close_to_others(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
        .map_err(|e| explain(e, "cannot close to other users", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::segment::Encoder;

    #[test]
    fn segments_roll_and_the_chain_goes_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::of(dir.path());
        layout.create().unwrap();
        let mut places = Vec::new();
        for round in 0..6u64 {
            let (mut segments, seen) = Segments::open(&layout, Kind::Log, 250).unwrap();
            let mut encoder = Encoder::new(Kind::Log, round, head_of(&seen), 3).unwrap();
            assert_eq!((encoder.head().next, seen.damaged, seen.torn_bytes), (round, 0, 0));
            places.push(segments.place());
            let mut out = Vec::new();
            encoder.encode(&round.to_le_bytes(), round, &mut out).unwrap();
            segments.append(&out).unwrap();
        }
        assert_eq!(places.iter().map(|at| at.segment).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 2]);
        assert_eq!(layout.numbers(Kind::Log).unwrap(), [1, 2]);
    }

    #[test]
    fn a_torn_tail_is_cut_at_open() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::of(dir.path());
        layout.create().unwrap();
        let path = layout.segment(Kind::Content, 1);
        std::fs::write(&path, b"weir and then the power went").unwrap();
        let (segments, seen) = Segments::open(&layout, Kind::Content, 200).unwrap();
        assert_eq!((seen.torn_bytes, segments.end()), (28, At { segment: 1, offset: 0 }));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_next_try_may_succeed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::of(dir.path());
        layout.create().unwrap();
        let path = layout.segment(Kind::Log, 1);
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let (mut segments, _) = Segments::open(&layout, Kind::Log, 200).unwrap();
        assert_eq!(segments.append(b"bytes").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(segments.end().offset, 0);
        std::fs::remove_file(&path).unwrap();
        segments.append(b"bytes").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
    }

    #[test]
    fn two_writers_cannot_have_one_store() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::of(&dir.path().join("data"));
        layout.create().unwrap();
        let held = layout.take_lock().unwrap();
        let refused = layout.take_lock().unwrap_err();
        assert!(refused.to_string().contains("another gateway writes to"), "{refused}");
        drop(held);
        layout.take_lock().unwrap();
    }

    #[test]
    fn a_file_where_a_folder_is_expected_is_told_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, b"").unwrap();
        let said = Layout::of(&path).create().unwrap_err().to_string();
        assert!(said.starts_with("cannot make ") && said.contains("data"), "{said}");
    }
}
