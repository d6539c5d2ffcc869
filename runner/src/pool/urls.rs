//! Where steps of step kinds go. Only the engine knows, since the exporter may be of another image: it
//! leaves a file beside the pool, which is whole before there is a pool to open.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::PoolError;

/// By the number of the step: a url with templates as the manifest has them, or none.
pub type StepUrls = BTreeMap<u32, Option<String>>;

/// Leaves them in `dir`, in place of any that were there; call it before
/// [`Pool::create`](super::Pool::create).
///
/// # Errors
/// When the file cannot be written.
pub fn leave_step_urls(dir: &Path, urls: &StepUrls) -> Result<(), PoolError> {
    let path = dir.join("urls");
    let left = if urls.is_empty() {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    } else {
        serde_json::to_vec(urls)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&path, bytes))
    };
    left.map_err(|error| PoolError::File { path, error })
}

/// Those that an engine left; none without the file.
pub(super) fn read(dir: &Path) -> Result<StepUrls, PoolError> {
    let path = dir.join("urls");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StepUrls::new()),
        Err(error) => return Err(PoolError::File { path, error }),
    };
    let urls = serde_json::from_slice(&bytes).map_err(io::Error::from);
    urls.map_err(|error| PoolError::File { path, error })
}
