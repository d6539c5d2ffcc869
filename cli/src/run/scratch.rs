//! Memory-backed private directories for the pools of the runner processes.
//!
//! Invariant: a directory under [`MEMORY`] or [`INSTEAD`] with our prefix belongs to a living process exactly if its
//! `lock` file is locked. So a run that was killed with SIGKILL, which could not tidy up, is tidied up
//! by the next one, and a living run is never touched.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

/// For machines without it; may lie on a disk, so no secret is put there.
const INSTEAD: &str = "/tmp";

const PREFIX: &str = "loadtest-run-";

/// A private directory that is gone when this value is.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Why it may be on a disk.
    not_in_memory: Option<String>,
    /// Locked for as long as the directory is in use.
    _lock: File,
}

impl Scratch {
    /// Makes one, after removing those that dead runs have left.
    ///
    /// # Errors
    /// When it can be made nowhere.
    pub fn new(id: &str) -> io::Result<Self> {
        Self::in_one_of(Path::new(MEMORY), Path::new(INSTEAD), id)
    }

    pub(crate) fn in_one_of(memory: &Path, instead: &Path, id: &str) -> io::Result<Self> {
        remove_stale(memory);
        remove_stale(instead);
        Self::in_root(memory, id).or_else(|error| {
            let mut scratch = Self::in_root(instead, id)?;
            let (memory, instead) = (memory.display(), instead.display());
            scratch.not_in_memory = Some(format!(
                "{memory} cannot be written ({error}), and {instead} may lie on a disk: mount a tmpfs at {memory}"
            ));
            Ok(scratch)
        })
    }

    /// Why its files may lie on a disk, and what to do; `None` if they are in memory.
    pub fn not_in_memory(&self) -> Option<&str> {
        self.not_in_memory.as_deref()
    }

    fn in_root(root: &Path, id: &str) -> io::Result<Self> {
        let path = root.join(format!("{PREFIX}{id}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        // Locked before it has the name that others look at.
        let fresh = path.join("lock.new");
        let lock = File::create(&fresh).and_then(|lock| {
            lock.try_lock().map_err(io::Error::from)?;
            fs::rename(&fresh, path.join("lock"))?;
            Ok(lock)
        });
        match lock {
            Ok(lock) => Ok(Self {
                path,
                not_in_memory: None,
                _lock: lock,
            }),
            Err(error) => {
                let _ = fs::remove_dir_all(&path);
                Err(error)
            }
        }
    }

    /// A directory in it.
    ///
    /// # Errors
    /// As of the system call.
    pub fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// A file in it that only this user can read.
    ///
    /// # Errors
    /// As of the system calls.
    pub fn secret(&self, name: &str, content: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(content.as_ref())?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove_stale(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let abandoned = File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_private_and_gone_when_dropped() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new(&format!("unit-{}-a", std::process::id())).unwrap();
        let path = scratch.path.clone();
        let token = scratch.secret("token", "geheim").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(&token).unwrap().permissions().mode() & 0o777,
            0o600
        );
        scratch.directory("pool-0").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn removes_what_a_dead_run_left_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("loadtest-stale-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let living = Scratch::in_root(&root, "living").unwrap();
        let dead = root.join(format!("{PREFIX}dead"));
        let being_made = root.join(format!("{PREFIX}being-made"));
        let foreign = root.join("foreign");
        for path in [&dead, &being_made, &foreign] {
            fs::create_dir(path).unwrap();
        }
        fs::write(dead.join("lock"), "").unwrap();
        fs::write(foreign.join("lock"), "").unwrap();
        remove_stale(&root);
        assert!(!dead.exists());
        assert!(living.path.exists() && being_made.exists() && foreign.exists());
        drop(living);
        fs::remove_dir_all(&root).unwrap();
    }
}
