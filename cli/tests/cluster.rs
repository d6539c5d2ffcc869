//! Cluster commands where there is no cluster: which commands are theirs, what is refused before one
//! is asked, and what is said when there is none.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use common::{BINARY, Finished, Place, Started};

const TEST: &str = "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: { name: shop, namespace: perf }
spec:
  target: { url: \"http://shop\" }
  scenarios:
    - name: main
      load: { constantRate: { rate: 10/s, duration: 1s } }
      tasks: [ { steps: [ { request: { url: \"/$(var.page)\" } } ] } ]
";

/// `loadtest`, or the same by another name, where no kubeconfig is to be found.
fn run(place: &Place, name: &str, args: &[&str]) -> Finished {
    let link = place.path().join(name);
    if !link.exists() {
        symlink(BINARY, &link).unwrap();
    }
    let mut command = Command::new(link);
    command
        .args(args)
        .current_dir(place.path())
        .env_clear()
        .env("HOME", place.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Started::new(command).wait(Duration::from_secs(30))
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: here
clusters: [ {{ name: c, cluster: {{ server: \"{server}\" }} }} ]
users: [ {{ name: u, user: {{ token: t }} }} ]
contexts: [ {{ name: here, context: {{ cluster: c, user: u, namespace: perf }} }} ]
"
    )
}

#[test]
fn a_test_without_a_cluster_is_told_where_one_would_be_looked_for() {
    let place = Place::new();
    for (name, args) in [
        ("loadtest", &["cluster", "history"][..]),
        ("kubectl-loadtest", &["history"]),
    ] {
        let said = run(&place, name, args).exits(3).stderr;
        assert!(
            said.starts_with("error: there is no kubeconfig ("),
            "{said}"
        );
        assert!(said.contains("/.kube/config does not exist"), "{said}");
        assert!(said.contains("--kubeconfig FILE"), "{said}");
    }
    place.write("kubeconfig", &kubeconfig("http://127.0.0.1:1"));
    let args = [
        "history",
        "--kubeconfig",
        "kubeconfig",
        "--context",
        "there",
    ];
    let said = run(&place, "kubectl-loadtest", &args).exits(2).stderr;
    assert!(
        said.contains("no context \"there\": `kubectl config get-contexts`"),
        "{said}"
    );
    let said = run(&place, "kubectl-loadtest", &["history", "--as-group", "g"])
        .exits(2)
        .stderr;
    assert!(said.contains("--as-group needs --as USER"), "{said}");
}

#[test]
fn a_cluster_that_does_not_answer_is_named() {
    let place = Place::new();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    place.write("kubeconfig", &kubeconfig(&format!("http://{gone}")));
    let args = ["--kubeconfig", "kubeconfig", "stop", "shop"];
    let said = run(&place, "kubectl-loadtest", &args).exits(3).stderr;
    let begin = format!("error: cannot reach the cluster at http://{gone}: Connection refused");
    assert!(said.starts_with(&begin), "{said}");
}

/// A real API server has the API in every test but this one.
#[test]
fn a_cluster_without_the_operator_is_told_how_to_get_it() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = "404 page not found\n";
            let head = format!(
                "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\nconnection: close",
                body.len()
            );
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    place.write("kubeconfig", &kubeconfig(&server));
    for args in [&["history"][..], &["run", "shop"], &["watch", "shop"]] {
        let args = [&["--kubeconfig", "kubeconfig"], args].concat();
        let said = run(&place, "kubectl-loadtest", &args).exits(3).stderr;
        assert!(said.contains("does not know LoadTests (loadtest.dev/v1alpha1): install the operator with `helm install"), "{said}");
    }
}

/// A server that answers everything with this status; the methods that it was asked with.
fn refusing(status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 8192];
            let read = stream.read(&mut bytes).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes[..read]);
            let method = text.split(' ').next().unwrap().to_owned();
            noted.lock().unwrap().push(method);
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close");
            let _ = stream.write_all(format!("{head}\r\n\r\n").as_bytes());
        }
    });
    (server, asked)
}

/// The run may have been made all the same: a second one would send its load as well.
#[test]
fn a_new_run_is_asked_for_once() {
    let place = Place::new();
    let (server, asked) = refusing("504 Gateway Timeout");
    place.write("kubeconfig", &kubeconfig(&server));
    place.write("test.yaml", &TEST.replace("/$(var.page)", "/"));
    let args = ["--kubeconfig", "kubeconfig", "run", "-f", "test.yaml"];
    let said = run(&place, "kubectl-loadtest", &args).exits(3).stderr;
    assert!(
        said.contains("did not say whether it made the run")
            && said.contains("`kubectl loadtest history -n perf`"),
        "{said}"
    );
    assert_eq!(*asked.lock().unwrap(), ["POST"]);
}

#[test]
fn a_cluster_that_stays_busy_is_asked_for_seconds_and_no_longer() {
    let place = Place::new();
    let (server, asked) = refusing("503 Service Unavailable");
    place.write("kubeconfig", &kubeconfig(&server));
    let args = ["--kubeconfig", "kubeconfig", "history"];
    let said = run(&place, "kubectl-loadtest", &args).exits(3).stderr;
    assert!(said.contains("cannot list LoadTestRuns now"), "{said}");
    assert_eq!(*asked.lock().unwrap(), ["GET"; 4]);
}

#[test]
fn a_bad_file_is_refused_before_a_cluster_is_looked_for() {
    let place = Place::new();
    place.write("test.yaml", TEST);
    let refused = |args: &[&str]| run(&place, "kubectl-loadtest", args).exits(2).stderr;
    let said = refused(&["run", "-f", "test.yaml"]);
    assert!(said.starts_with("test.yaml:9:"), "{said}");
    assert!(said.contains("page"), "{said}");
    let variable = ["run", "-f", "test.yaml", "--var", "page=a"];
    let said = refused(&[&variable[..], &["-n", "other"]].concat());
    assert!(
        said.contains("metadata.namespace: is \"perf\", but the command line says \"other\""),
        "{said}"
    );
    let said = refused(&[&variable[..], &["--target", "shop"]].concat());
    assert!(said.contains("shop"), "{said}");
    place.write(
        "two.yaml",
        &format!("{TEST}---\n{}", TEST.replace("name: shop,", "name: b,")),
    );
    let said = refused(&["run", "-f", "two.yaml"]);
    assert!(said.contains("there are 2 LoadTests in it"), "{said}");
    for args in [
        &["run"][..],
        &["run", "shop", "-f", "test.yaml"],
        &["run", "shop", "--timeout", "5m"],
    ] {
        assert!(refused(args).contains("Usage:"), "{args:?}");
    }
    // What is right gets as far as the kubeconfig that is not there.
    let said = run(&place, "kubectl-loadtest", &variable).exits(3).stderr;
    assert!(said.starts_with("error: there is no kubeconfig"), "{said}");
}

#[test]
fn the_name_of_the_binary_decides_what_run_is() {
    let place = Place::new();
    let local = run(&place, "loadtest", &["run", "--help"]).exits(0).stdout;
    assert!(
        local.contains("--runners") && !local.contains("--wait"),
        "{local}"
    );
    let cluster = run(&place, "kubectl-loadtest", &["run", "--help"])
        .exits(0)
        .stdout;
    assert!(cluster.contains("Usage: kubectl loadtest run"), "{cluster}");
    for option in [
        "--wait",
        "--detach",
        "--context",
        "--namespace",
        "--as-group",
        "--var",
    ] {
        assert!(cluster.contains(option), "no {option} in {cluster}");
    }
    // A kubeconfig that is broken disturbs nothing that stays on this machine.
    place.write("broken", "}");
    place.write("test.yaml", &TEST.replace("/$(var.page)", "/"));
    let mut command = place.loadtest(&["validate", "test.yaml"]);
    command.env("KUBECONFIG", place.path().join("broken"));
    let said = Started::new(command)
        .wait(Duration::from_secs(30))
        .exits(0)
        .stdout;
    assert_eq!(said, "test.yaml: 1 object, all accepted\n");
}

#[test]
fn every_shell_completes_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&place, "loadtest", &["completions", shell])
            .exits(0)
            .stdout;
        for word in ["validate", "cluster", "history", "--wait"] {
            assert!(
                script.contains(word.trim_start_matches('-')),
                "no {word} for {shell}"
            );
        }
        let script = run(&place, "kubectl-loadtest", &["completions", shell])
            .exits(0)
            .stdout;
        assert!(
            script.contains("kubectl-loadtest") && script.contains("rerun"),
            "{shell}"
        );
    }
    let script = run(&place, "loadtest", &["completions", "bash"]).stdout;
    let mut checked = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    checked
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(checked.wait().unwrap().success());
}

/// What the page says of the commands, and the entry for krew, are of this binary.
#[test]
fn documents_speak_of_commands_that_there_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let place = Place::new();
    let help = run(&place, "kubectl-loadtest", &["--help"]).exits(0).stdout;
    let page = read("docs/cli.md");
    let listed = help.split("Commands:\n").nth(1).unwrap();
    let commands: Vec<_> = listed
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let mut options = help.clone();
    for command in commands {
        assert!(
            page.contains(&format!("| `{command} ")),
            "docs/cli.md has no {command}"
        );
        options += &run(&place, "kubectl-loadtest", &[command, "--help"])
            .exits(0)
            .stdout;
    }
    for option in page.split('`').filter(|code| code.starts_with("--")) {
        let option = option.split(' ').next().unwrap();
        assert!(options.contains(option), "there is no {option}");
    }
    let entry = read("dist/krew/loadtest.yaml");
    assert!(entry.contains("\n  name: loadtest\n"));
    assert_eq!(entry.matches("bin: loadtest\n").count(), 2);
}
