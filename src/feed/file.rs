//! The file in which a feed keeps its watermark.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, ErrorKind, Result},
    message::Watermark,
};

/// The first word of the file.
const NAME: &str = "ttn-feed-watermark-1";

/// The largest file that is read: a watermark has less than 9 kB.
const MAX_SIZE: u64 = 16 * 1024;

/// A file with the watermark of one application. Its three lines are a name with the application, the watermark, and a
/// sum of both, which shows damage.
#[derive(Debug)]
pub(super) struct WatermarkFile {
    path: PathBuf,
    app_id: String,
    /// What is in it.
    written: Option<String>,
    /// What is possibly in it, because writing it has failed.
    tried: Option<String>,
}

impl WatermarkFile {
    /// Opens the file, and returns it with its watermark; `None` if there is no file yet.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is damaged, or belongs to another application.
    pub(super) fn open(path: &Path, app_id: &str) -> Result<(Self, Option<Watermark>)> {
        let mut file = Self {
            path: path.to_owned(),
            app_id: app_id.to_owned(),
            written: None,
            tried: None,
        };
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((file, None)),
            Err(error) => return Err(file.unusable(&format_args!("it cannot be read: {error}"))),
        };
        let watermark = file.parse(&text)?;
        file.written = Some(text);
        Ok((file, Some(watermark)))
    }

    /// Writes a watermark, unless it is there already: to a new file, which then takes the place of the old one.
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or another feed writes it. What was there before stays.
    pub(super) fn write(&mut self, watermark: &Watermark) -> Result<()> {
        let text = text(&self.app_id, watermark);
        if self.written.as_ref() == Some(&text) {
            return Ok(());
        }
        if self.is_of_another() {
            return Err(Error::config(format!(
                "the watermark file {} changes although this feed does not write it: another one does; give each feed a \
                 file of its own",
                self.path.display()
            )));
        }
        self.tried = Some(text.clone());
        replace(&self.path, &text).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!(
                    "cannot write the watermark file {}: {error}; until it can be written, a feed that starts again \
                     publishes more than once what came since",
                    self.path.display()
                ),
            )
        })?;
        self.written = Some(text);
        Ok(())
    }

    /// Returns whether the file has something else in it than what this feed has read or written.
    fn is_of_another(&self) -> bool {
        let Ok(found) = read(&self.path) else {
            return false;
        };
        let known = [&self.written, &self.tried];
        known.into_iter().flatten().all(|known| *known != found)
    }

    fn parse(&self, text: &str) -> Result<Watermark> {
        let damaged = || self.unusable(&"it is damaged");
        let (content, _) = text.trim_end().rsplit_once('\n').ok_or_else(damaged)?;
        let (head, watermark) = content.split_once('\n').ok_or_else(damaged)?;
        let watermark: Watermark = watermark.parse().map_err(|_| damaged())?;
        let app_id = head.strip_prefix(NAME).ok_or_else(damaged)?.trim();
        match text == self::text(app_id, &watermark) {
            false => Err(damaged()),
            true if app_id != self.app_id => Err(self.unusable(&format_args!(
                "it belongs to the application {app_id:?}, and this feed to {:?}",
                self.app_id
            ))),
            true => Ok(watermark),
        }
    }

    fn unusable(&self, cause: &dyn Display) -> Error {
        Error::config(format!(
            "cannot use the watermark file {}: {cause}; name another file, or remove it to begin with what comes from now \
             on: uplinks since the last run are then not fetched, unless resume_from says from when",
            self.path.display()
        ))
    }
}

fn text(app_id: &str, watermark: &Watermark) -> String {
    let text = format!("{NAME} {app_id}\n{watermark}\n");
    let sum = sum(&text);
    format!("{text}{sum:016x}\n")
}

fn read(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > MAX_SIZE {
        return Err(io::Error::other(format!(
            "it has {size} bytes, which is too many"
        )));
    }
    let bytes = fs::read(path)?;
    // The check of the content finds what is not text.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Replaces a file so that there is always a whole one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::other("the path names no file"))?
        .to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    sync_folder(path)
}

/// Makes sure that the new name survives a loss of power.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The FNV-1a hash in 64 bits.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{message::short, seeds};

    const APP: &str = "greenhouse@ttn";

    fn watermark(second: u64) -> Watermark {
        let at = UNIX_EPOCH + Duration::from_secs(1_795_759_200 + second);
        Watermark::new(at, (0..second).map(short))
    }

    fn open(path: &Path) -> Result<(WatermarkFile, Option<Watermark>)> {
        WatermarkFile::open(path, APP)
    }

    #[test]
    fn what_was_written_is_read_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed");
        let (mut file, found) = open(&path).unwrap();
        assert_eq!(found, None);
        for second in [0, 3, 1_024] {
            file.write(&watermark(second)).unwrap();
            assert_eq!(open(&path).unwrap().1, Some(watermark(second)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_watermark_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed");
        let (mut file, _) = open(&path).unwrap();
        file.write(&watermark(5)).unwrap();
        fs::remove_file(&path).unwrap();
        file.write(&watermark(5)).unwrap();
        assert!(!path.exists());
        file.write(&watermark(6)).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn any_damage_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed");
        let (mut file, _) = open(&path).unwrap();
        file.write(&watermark(4)).unwrap();
        let whole = fs::read(&path).unwrap();
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let error = open(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(text.contains("is damaged"), "{text}");
        };
        for length in 0..whole.len() {
            check(&whole[..length]);
        }
        check(&[&whole[..], b"x"].concat());
        check(b"1795759200000000000");
        seeds::for_seeds(500, |random| {
            let mut bytes = whole.clone();
            bytes[random.usize(..whole.len())] ^= random.u8(1..=255);
            check(&bytes);
        });
        fs::write(&path, &whole).unwrap();
        assert_eq!(open(&path).unwrap().1, Some(watermark(4)));
    }

    #[test]
    fn the_file_of_another_application_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed");
        let (mut file, _) = WatermarkFile::open(&path, "brewery@ttn").unwrap();
        file.write(&watermark(1)).unwrap();
        let text = open(&path).unwrap_err().to_string();
        assert!(text.contains("brewery@ttn") && text.contains(APP), "{text}");
    }

    #[test]
    fn of_two_feeds_with_one_file_the_second_to_write_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("feed");
        let (mut first, _) = open(&path).unwrap();
        first.write(&watermark(1)).unwrap();
        let (mut second, _) = open(&path).unwrap();
        second.write(&watermark(2)).unwrap();
        let error = first.write(&watermark(3)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains("a file of its own"), "{text}");
        assert_eq!(open(&path).unwrap().1, Some(watermark(2)));
        second.write(&watermark(4)).unwrap();
        assert_eq!(open(&path).unwrap().1, Some(watermark(4)));
        fs::remove_file(&path).unwrap();
        first.write(&watermark(5)).unwrap();
        assert_eq!(open(&path).unwrap().1, Some(watermark(5)));
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
        let path = folder.path().join("missing").join("feed");
        let (mut file, found) = open(&path).unwrap();
        assert_eq!(found, None);
        let error = file.write(&watermark(1)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        fs::create_dir(path.parent().unwrap()).unwrap();
        file.write(&watermark(1)).unwrap();
    }
}
