//! Tests that need a machine of their own: its ports, its names.

use std::{fs, path::Path, process::Command};

/// Set in the process that runs a test in namespaces of its own, to the test's name.
const INSIDE: &str = "LOADTEST_TRUTH_INSIDE";

/// Runs a test again in a process with network and mounts of its own, and lets it do its work
/// there. `name` is the test's own, with its module.
pub fn isolated(name: &str, work: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(work);
        return;
    }
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-c"])
        .arg("ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture")
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, name)
        .output()
        .expect("unshare of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    let also = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in a namespace of its own (root and iproute2 are needed):\n{said}\n{also}"
    );
}

/// Puts a file in place of one of the system's, for this test alone. Writing to `with` changes it.
pub fn replace(system: &str, with: &Path, content: &str) {
    fs::write(with, content).unwrap();
    let status = Command::new("mount")
        .arg("--bind")
        .args([with, Path::new(system)])
        .status()
        .unwrap();
    assert!(status.success(), "cannot replace {system}");
}
