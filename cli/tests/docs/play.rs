//! Runs the `loadtest` commands of a page, in their order, in a directory that has what they name.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::{
    common::{BINARY, Place, Target},
    page::{Block, Page, root},
    shell,
};

/// Where the pages say that the target listens.
const SAID: &str = "127.0.0.1:8080";

/// Pages whose `loadtest` commands are all run as they stand.
pub const PLAYED: [&str; 2] = ["docs/getting-started.md", "docs/scenarios.md"];

/// What the commands of a page left behind.
pub struct Played {
    /// The directory that they were done in.
    pub place: Place,
    output: Output,
}

impl Played {
    /// Runs them until they all succeed: on a machine that is too busy to send the load a run is
    /// truthfully Invalid, and is tried again.
    pub fn page(path: &str) -> Self {
        let page = Page::read(path);
        let mut played = play(&page);
        for _ in 0..3 {
            if played.output.status.code() != Some(4) {
                break;
            }
            played = play(&page);
        }
        let said = played.said();
        assert!(played.output.status.success(), "{path}: {said}");
        played
    }

    /// Everything that was printed.
    pub fn said(&self) -> String {
        let Output { stdout, stderr, .. } = &self.output;
        String::from_utf8_lossy(stdout).into_owned() + &String::from_utf8_lossy(stderr)
    }
}

fn play(page: &Page) -> Played {
    let place = Place::new();
    let lines: Vec<_> = page
        .blocks_of("sh")
        .flat_map(|block| shell::lines(&block.text))
        .collect();
    let ours = lines.into_iter().filter(|line| {
        line.commands
            .iter()
            .all(|words| words.first().is_some_and(|word| word == "loadtest"))
    });
    let mut ours: Vec<_> = ours.map(|line| line.text).collect();
    assert!(!ours.is_empty(), "{} has no commands", page.path);
    // One that the page starts itself, or one that it takes to be there.
    let target = (!ours.iter().any(|line| line.starts_with("loadtest target"))).then(Target::start);
    let address = target.as_ref().map_or_else(free, |target| {
        target.url.trim_start_matches("http://").to_owned()
    });
    for line in &mut ours {
        *line = here(line, &address);
        if line.trim_end().ends_with('&') {
            // People are slower than scripts.
            let (host, port) = address.split_once(':').unwrap();
            let wait = format!(
                "\nfor _ in $(seq 100); do (: > /dev/tcp/{host}/{port}) 2> /dev/null && break; sleep 0.1; done"
            );
            line.push_str(&wait);
        }
    }
    copy(
        &root().join("examples"),
        &place.path().join("examples"),
        &address,
    );
    for block in page.blocks_of("yaml") {
        if let Some(name) = file_name(block) {
            place.write(name, &here(&block.text, &address));
        }
    }
    let bin = place.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(BINARY, bin.join("loadtest")).unwrap();
    let script = format!(
        "set -eu\ntrap 'kill $(jobs -p) 2> /dev/null || :' EXIT\n{}\n",
        ours.join("\n")
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(place.path())
        .env(
            "PATH",
            format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()),
        )
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Played { place, output }
}

/// The name that a block's first line gives it, as `# first.yaml`.
pub fn file_name(block: &Block) -> Option<&str> {
    let name = block.text.lines().next()?.strip_prefix("# ")?;
    (Path::new(name).extension()? == "yaml").then_some(name)
}

fn here(text: &str, address: &str) -> String {
    let port = address.rsplit(':').next().unwrap();
    text.replace(SAID, address)
        .replace("localhost:8080", &format!("localhost:{port}"))
}

/// A port that nobody listens at for now.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn copy(from: &Path, to: &Path, address: &str) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if path.is_dir() {
            copy(&path, &to, address);
        } else if let Ok(text) = fs::read_to_string(&path) {
            fs::write(to, here(&text, address)).unwrap();
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}
