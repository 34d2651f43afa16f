//! The files of a recorder: one that grows, and older ones.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A file that lines are added to. One that has reached its size becomes `NAME.1`, which became `NAME.2` before.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    max_size: Option<u64>,
    /// How many older files there may be.
    keep: u32,
    /// The first line of each file.
    header: Vec<u8>,
    file: Option<File>,
    /// Whether the file may end in the middle of a line.
    is_torn: bool,
}

impl Files {
    /// Opens or creates the file, and writes the header to it.
    pub(super) fn open(
        path: PathBuf,
        max_size: Option<u64>,
        keep: u32,
        mut header: Vec<u8>,
    ) -> io::Result<Self> {
        header.push(b'\n');
        let mut files = Self {
            path,
            max_size,
            keep,
            header,
            file: None,
            is_torn: false,
        };
        files.begin()?;
        Ok(files)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, which has no newline at its end yet. After an error, a part of it may be in the file.
    pub(super) fn add(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.is_full(line.len())? {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.begin()?;
        }
        self.write(&line)
    }

    /// Returns whether a line is too long for what is left of the size. A file has at least one line.
    fn is_full(&self, line: usize) -> io::Result<bool> {
        let (Some(max_size), Some(file)) = (self.max_size, &self.file) else {
            return Ok(false);
        };
        let size = file.metadata()?.len();
        Ok(size > self.header.len() as u64 && size.saturating_add(line as u64) > max_size)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Windows renames no open file.
        self.file = None;
        if self.keep == 0 {
            return absent_is_fine(fs::remove_file(&self.path));
        }
        for number in (1..self.keep).rev() {
            absent_is_fine(fs::rename(self.older(number), self.older(number + 1)))?;
        }
        absent_is_fine(fs::rename(&self.path, self.older(1)))
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(format!(".{number}"));
        path.into()
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&self.path)?;
        self.is_torn = is_torn(&mut file)?;
        self.file = Some(file);
        let header = self.header.clone();
        let written = self.write(&header);
        if written.is_err() {
            // The next line begins with the header again.
            self.file = None;
        }
        written
    }

    /// Writes whole lines with one call, so that those of another process are before or behind them.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the file is not open"));
        };
        let whole;
        let bytes = if self.is_torn {
            whole = [b"\n", lines].concat();
            &whole
        } else {
            lines
        };
        self.is_torn = true;
        file.write_all(bytes)?;
        self.is_torn = false;
        Ok(())
    }
}

/// Returns whether the file ends in the middle of a line. What is not a regular file has no end.
fn is_torn(file: &mut File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, max_size: Option<u64>, keep: u32) -> Files {
        Files::open(path.to_owned(), max_size, keep, b"{}".to_vec()).unwrap()
    }

    fn text(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_has_reached_its_size_gets_a_number_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let mut files = open(&path, Some(10), 2);
        for line in ["one", "two", "three", "four", "longer than the size"] {
            files.add(line.as_bytes().to_vec()).unwrap();
        }
        assert_eq!(text(&path), "{}\nlonger than the size\n");
        assert_eq!(text(folder.path().join("run.jsonl.1")), "{}\nfour\n");
        assert_eq!(text(folder.path().join("run.jsonl.2")), "{}\nthree\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn without_older_files_the_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let mut files = open(&path, Some(10), 0);
        for line in ["one", "three"] {
            files.add(line.as_bytes().to_vec()).unwrap();
        }
        assert_eq!(text(&path), "{}\nthree\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_ends_in_the_middle_of_a_line_is_continued_on_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        fs::write(&path, "{}\ncut o").unwrap();
        open(&path, None, 0).add(b"next".to_vec()).unwrap();
        assert_eq!(text(&path), "{}\ncut o\n{}\nnext\n");
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_and_the_next_line_tries_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        fs::create_dir(&place).unwrap();
        let path = place.join("run.jsonl");
        let mut files = open(&path, Some(6), 1);
        files.add(b"one".to_vec()).unwrap();
        if cfg!(windows) {
            return;
        }
        fs::remove_dir_all(&place).unwrap();
        assert!(files.add(b"two".to_vec()).is_err());
        fs::create_dir(&place).unwrap();
        files.add(b"two".to_vec()).unwrap();
        assert_eq!(text(&path), "{}\ntwo\n");
    }
}
