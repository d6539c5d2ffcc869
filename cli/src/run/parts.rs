//! Joining the files of several runners.
//!
//! Gzip members one after the other are a gzip file, so whole parts are only copied. A part whose
//! exporter was killed may end in the middle of a member, which would make everything behind it
//! unreadable: such a part is read as far as it goes and packed anew, up to its last whole line.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};

/// Joins gzip files `name` of all directories; a directory without one is passed over. Parts that
/// are known to be `whole` are not read.
///
/// # Errors
/// As of the system calls.
pub fn join_gzip(directories: &[PathBuf], name: &str, to: &Path, whole: bool) -> io::Result<()> {
    let parts: Vec<_> = existing(directories, name);
    for part in parts.iter().filter(|_| !whole) {
        if !is_whole(part)? {
            salvage(part)?;
        }
    }
    concatenate(&parts, to)
}

/// Joins text files `name` of all directories; see [`join_gzip`].
///
/// # Errors
/// As of the system calls.
pub fn join_text(directories: &[PathBuf], name: &str, to: &Path, whole: bool) -> io::Result<()> {
    let parts: Vec<_> = existing(directories, name);
    for part in parts.iter().filter(|_| !whole) {
        cut_to_last_line(part)?;
    }
    concatenate(&parts, to)
}

fn existing(directories: &[PathBuf], name: &str) -> Vec<PathBuf> {
    directories
        .iter()
        .map(|directory| directory.join(name))
        .filter(|path| path.exists())
        .collect()
}

/// The first part becomes the file, so that a run of one runner copies nothing.
fn concatenate(parts: &[PathBuf], to: &Path) -> io::Result<()> {
    let Some((first, others)) = parts.split_first() else {
        return Ok(());
    };
    fs::rename(first, to)?;
    if others.is_empty() {
        return Ok(());
    }
    let mut out = File::options().append(true).open(to)?;
    for part in others {
        io::copy(&mut File::open(part)?, &mut out)?;
        fs::remove_file(part)?;
    }
    Ok(())
}

fn is_whole(path: &Path) -> io::Result<bool> {
    let mut unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 16, File::open(path)?));
    Ok(io::copy(&mut unpacked, &mut io::sink()).is_ok())
}

fn salvage(path: &Path) -> io::Result<()> {
    let fresh = path.with_extension("salvaged");
    let unpacked = MultiGzDecoder::new(BufReader::new(File::open(path)?));
    let mut lines = BufReader::new(UntilError(unpacked));
    let mut packed = GzEncoder::new(BufWriter::new(File::create(&fresh)?), Compression::fast());
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        if line.ends_with(b"\n") {
            packed.write_all(&line)?;
        }
        line.clear();
    }
    packed.finish()?.into_inner()?.sync_data()?;
    fs::rename(fresh, path)
}

/// A reader that ends where the other one breaks.
struct UntilError<R>(R);

impl<R: Read> Read for UntilError<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}

fn cut_to_last_line(path: &Path) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < bytes.len() {
        File::options()
            .write(true)
            .open(path)?
            .set_len(whole as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    }

    fn unpacked(path: &Path) -> String {
        let mut text = String::new();
        MultiGzDecoder::new(BufReader::new(File::open(path).unwrap()))
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    struct Directories(PathBuf, Vec<PathBuf>);

    impl Directories {
        fn new(name: &str, count: usize) -> Self {
            let root = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
            let parts: Vec<_> = (0..count).map(|i| root.join(i.to_string())).collect();
            for part in &parts {
                fs::create_dir_all(part).unwrap();
            }
            Self(root, parts)
        }
    }

    impl Drop for Directories {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn joins_whole_parts_and_passes_over_missing_ones() {
        let dirs = Directories::new("join", 3);
        fs::write(dirs.1[0].join("r"), packed("a\nb\n")).unwrap();
        fs::write(dirs.1[2].join("r"), packed("c\n")).unwrap();
        let to = dirs.0.join("joined");
        join_gzip(&dirs.1, "r", &to, false).unwrap();
        assert_eq!(unpacked(&to), "a\nb\nc\n");
    }

    #[test]
    fn a_torn_part_keeps_its_whole_lines_and_the_parts_behind_it() {
        let dirs = Directories::new("torn", 2);
        let mut lines = String::new();
        for i in 0..20_000 {
            let _ = writeln!(lines, "line {i} {}", i * 7919);
        }
        let mut torn = packed("first\n");
        torn.extend(packed(&lines));
        torn.truncate(torn.len() - 1_000);
        fs::write(dirs.1[0].join("r"), torn).unwrap();
        fs::write(dirs.1[1].join("r"), packed("behind\n")).unwrap();
        let to = dirs.0.join("joined");
        join_gzip(&dirs.1, "r", &to, false).unwrap();
        let text = unpacked(&to);
        assert!(text.starts_with("first\nline 0 0\n"));
        assert!(text.ends_with("\nbehind\n"));
        let kept = text.lines().count();
        assert!(kept > 10_000, "only {kept} lines were kept");
        for (line, expected) in text.lines().skip(1).take(kept - 2).zip(lines.lines()) {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn text_parts_are_cut_to_whole_lines() {
        let dirs = Directories::new("text", 2);
        fs::write(dirs.1[0].join("t"), "a\nb\nhal").unwrap();
        fs::write(dirs.1[1].join("t"), "c\n").unwrap();
        let to = dirs.0.join("joined");
        join_text(&dirs.1, "t", &to, false).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "a\nb\nc\n");
    }
}
