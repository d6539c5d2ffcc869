//! The plan file: JSON, gzipped or not, that must be the very plan of the run.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use loadtest_core::{identity, plan::Plan};

/// Largest plan, uncompressed: a `ConfigMap` holds 1 MiB, and text shrinks tenfold at best.
const MAX_PLAN_BYTES: u64 = 32 << 20;

/// Why there is no plan to work with.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The file cannot be read or unpacked.
    #[error("cannot read the plan {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// More than any plan can have.
    #[error("the plan {0} is longer than 32 MiB")]
    TooLong(PathBuf),
    /// Another plan than the run's.
    #[error("the plan {path} has hash {found}, the run has {expected}")]
    OtherPlan {
        /// Which file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The one asked for.
        expected: String,
    },
    /// Not a plan of this version.
    #[error("the plan {path} cannot be understood: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
}

/// Reads a plan and verifies its hash.
///
/// # Errors
/// [`PlanFileError`] says which file and what is wrong with it.
pub fn read(path: &Path, expected_hash: &str) -> Result<Plan, PlanFileError> {
    let read_error = |source| PlanFileError::Read {
        path: path.to_owned(),
        source,
    };
    let raw = std::fs::read(path).map_err(read_error)?;
    let bytes = if raw.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(raw.as_slice())
            .take(MAX_PLAN_BYTES + 1)
            .read_to_end(&mut unpacked)
            .map_err(read_error)?;
        unpacked
    } else {
        raw
    };
    if bytes.len() as u64 > MAX_PLAN_BYTES {
        return Err(PlanFileError::TooLong(path.to_owned()));
    }
    let found = identity::plan_hash(&bytes);
    if found != expected_hash {
        return Err(PlanFileError::OtherPlan {
            path: path.to_owned(),
            found,
            expected: expected_hash.to_owned(),
        });
    }
    Plan::from_bytes(&bytes).map_err(|source| PlanFileError::Parse {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("loadtest-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn another_plan_is_refused_packed_or_not() {
        let json = b"{\"not\":\"a plan\"}";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(json).unwrap();
        let hash = identity::plan_hash(json);
        for (name, bytes) in [("plain", json.to_vec()), ("packed", gzip.finish().unwrap())] {
            let path = file(name, &bytes);
            let refused = read(&path, "00").unwrap_err();
            assert!(matches!(&refused, PlanFileError::OtherPlan { found, .. } if *found == hash));
            // With the right hash it is read, and found not to be a plan.
            let refused = read(&path, &hash).unwrap_err();
            assert!(matches!(refused, PlanFileError::Parse { .. }), "{refused}");
            std::fs::remove_file(path).unwrap();
        }
        assert!(matches!(
            read(Path::new("/nowhere"), ""),
            Err(PlanFileError::Read { .. })
        ));
    }
}
