//! A search server as a process.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Directory of the certificates of the servers that speak TLS.
pub fn certificates() -> PathBuf {
    let cache = std::env::var_os("LOADTEST_SEARCH_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/search"),
        PathBuf::from,
    );
    cache.join("tls")
}

/// A server of a test's own; ends with it: its stdin closes.
pub struct Launched {
    pub url: String,
    child: Child,
}

impl Launched {
    /// One of those of `tests/search/start.sh`, which knows the flags.
    pub fn start(name: &str, flags: &[&str], settings: &[String]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/search/start.sh");
        let mut child = Command::new(script)
            .args([name, "--die-with-parent"])
            .args(flags)
            .arg("--")
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        let url = ready
            .trim()
            .strip_prefix("READY ")
            .expect("the server starts");
        Self {
            url: url.to_owned(),
            child,
        }
    }

    /// As the kernel kills: nothing is written any more.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
