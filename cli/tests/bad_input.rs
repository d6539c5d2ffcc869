//! What is refused, and that it is refused before anything is sent or written.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Place, SECOND, manifest};

#[test]
fn an_unknown_field_is_refused_with_its_line() {
    let place = Place::new();
    let yaml = manifest(SECOND, "/get", &[]) + "  treshold: []\n";
    let line = yaml.lines().count();
    place.write("test.yaml", &yaml);
    for command in ["run", "validate"] {
        let finished = place.finish(&[command, "test.yaml"]).exits(2);
        assert_eq!(finished.stdout, "");
        finished
            .says(&format!("test.yaml:{line}:3: "))
            .says("treshold");
    }
    assert!(
        !place.path().join("loadtest-runs").exists(),
        "nothing is written"
    );
}

#[test]
fn a_variable_that_does_not_exist_is_refused_and_can_be_given() {
    let place = Place::new();
    place.write(
        "test.yaml",
        &manifest(SECOND, "/get?region=$(var.region)", &[]),
    );
    place
        .finish(&["validate", "test.yaml"])
        .exits(2)
        .says("region");
    let finished = place.finish(&["run", "test.yaml"]).exits(2).says("region");
    assert!(
        finished.stderr.contains("test.yaml:12:26: "),
        "{}",
        finished.stderr
    );

    let target = common::Target::start();
    let args = [
        "run",
        "test.yaml",
        "--target",
        &target.url,
        "--var",
        "region=eu",
        "-o",
        "json",
    ];
    let status = place.finish_delivered(&args).exits(0).run_status();
    assert_eq!(target.requests_of(&status.run.unwrap().id), 100);
}

#[test]
fn certificates_of_the_cluster_are_refused_here_and_can_be_given() {
    let place = Place::new();
    let plain = manifest(SECOND, "/get", &[]);
    let secure = plain.replace(
        r#"{ url: "http://127.0.0.1:1" }"#,
        r#"{ url: "https://127.0.0.1:1", tls: { caRef: { secret: { name: ca, key: ca.crt } } } }"#,
    );
    assert_ne!(secure, plain);
    place.write("test.yaml", &secure);
    place.finish(&["validate", "test.yaml"]).exits(0);
    let finished = place.finish(&["run", "test.yaml"]).exits(2);
    assert!(
        finished.stderr.contains("--target-ca FILE") && finished.stderr.contains("test.yaml:"),
        "{}",
        finished.stderr
    );
    // Over plain HTTP nothing of it is needed.
    let target = common::Target::start();
    let args = ["run", "test.yaml", "--target", &target.url, "-o", "json"];
    place.finish_delivered(&args).exits(0);
}

#[test]
fn what_is_no_manifest_is_refused() {
    let place = Place::new();
    place
        .finish(&["run", "absent.yaml"])
        .exits(2)
        .says("absent.yaml");
    place.write("empty.yaml", "");
    place
        .finish(&["run", "empty.yaml"])
        .exits(2)
        .says("no LoadTest");
    place.write("broken.yaml", "a: [\n");
    place
        .finish(&["run", "broken.yaml"])
        .exits(2)
        .says("broken.yaml:");
    let one = manifest(SECOND, "/get", &[]);
    place.write(
        "two.yaml",
        &format!("{one}---\n{}", one.replace("quick", "other")),
    );
    place
        .finish(&["run", "two.yaml"])
        .exits(2)
        .says("2 LoadTests");
    place.finish(&["validate", "two.yaml"]).exits(0);
}

#[test]
fn wrong_options_are_refused() {
    let place = Place::new();
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    for options in [
        vec!["--runners", "0"],
        vec!["--var", "novalue"],
        vec!["--raw", "some"],
        vec!["--target", "ftp://x"],
        vec!["--target-ca", "test.yaml"],
        vec!["--target", "https://x", "--target-ca", "absent.pem"],
        vec!["--target", "https://x", "--target-cert", "test.yaml"],
        vec!["--target", "https://x", "--target-key", "test.yaml"],
        vec!["--target", "nonsense"],
        vec!["--elasticsearch", "nonsense"],
        vec!["--unknown"],
    ] {
        let mut args = vec!["run", "test.yaml"];
        args.extend(&options);
        let finished = place.finish(&args);
        assert_eq!(finished.status, Some(2), "{options:?}: {}", finished.stderr);
        assert!(!finished.stderr.is_empty());
    }
    assert!(!place.path().join("loadtest-runs").exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_before_the_load() {
    let place = Place::new();
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    place.write("file", "");
    let target = common::Target::start();
    let run =
        |out: &str| place.finish(&["run", "test.yaml", "--target", &target.url, "--out", out]);
    // Even root cannot make a directory below a file, or in /proc.
    run("file/out")
        .exits(3)
        .says("cannot write the run directory file/out");
    run("/proc/loadtest")
        .exits(3)
        .says("cannot write the run directory /proc/loadtest");
    let csv = [
        "run",
        "test.yaml",
        "--target",
        &target.url,
        "--csv",
        "file/mine",
    ];
    place.finish(&csv).exits(3).says("file/mine_stats.csv");
}

#[test]
fn results_of_another_run_are_never_overwritten() {
    let place = Place::new();
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let target = common::Target::start();
    let args = [
        "run",
        "test.yaml",
        "--target",
        &target.url,
        "--out",
        "out",
        "-q",
    ];
    place.finish_delivered(&args).exits(0);
    let before = std::fs::read(place.path().join("out/summary.json")).unwrap();
    place
        .finish(&args)
        .exits(3)
        .says("already holds the results of a run");
    assert_eq!(
        before,
        std::fs::read(place.path().join("out/summary.json")).unwrap()
    );
}

#[test]
fn a_port_in_use_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    Place::new()
        .finish(&["target", "--listen", &address])
        .exits(3)
        .says(&format!("{address} is in use"));
}

#[test]
fn more_runners_in_the_manifest_than_here_is_said() {
    let place = Place::new();
    let yaml = manifest(SECOND, "/get", &[]) + "  runners: { count: 3 }\n";
    place.write("test.yaml", &yaml);
    let target = common::Target::start();
    let args = ["run", "test.yaml", "--target", &target.url, "-o", "json"];
    let finished = place
        .finish_delivered(&args)
        .exits(0)
        .says("the manifest asks for 3 runners");
    assert_eq!(finished.run_status().run.unwrap().runners.expected, 1);
}
