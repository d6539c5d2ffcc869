//! What the command line changes of a manifest, and where secrets go.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use common::{Place, SECOND, Started, Target, eventually, manifest, run_args, scratch_of};

const SECRET: &str = "k3y-0f-n0b0dy";

/// A test that sends a secret and a column of data.
fn with_inputs() -> String {
    // The target answers with what it was sent; only a part of the secret is in the check.
    let more = "timeout: 2s, headers: { x-key: $(secret.key), x-row: $(products.id) },
                checks: [{ bodyContains: k3y-0f-n0b }, { bodyContains: row-7 }]";
    manifest(SECOND, "/headers", &["checks.ratio == 100%"]).replace("timeout: 2s", more)
        + "  secrets: [{ name: key, secretRef: { name: shop, key: api } }]
  data: [{ name: products, from: { configMapRef: { name: lists, key: p.csv } } }]
"
}

const BESIDE: &str = "---
apiVersion: v1
kind: Secret
metadata: { name: shop }
data: { api: azN5LTBmLW4wYjBkeQ== }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: lists }
data: { p.csv: \"id\\nrow-7\\n\" }
";

/// Every file below a directory whose content has a text.
fn files_with(directory: &std::path::Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn fields_are_set_overlaid_and_scaled_before_they_are_checked() {
    let (place, target) = (Place::new(), Target::start());
    let load = "{ constantRate: { rate: 1000/s, duration: 1m } }";
    place.write("test.yaml", &manifest(load, "/get?r=$(var.region)", &[]));
    place.write(
        "ci.yaml",
        "spec: { scenarios: [{ name: main, load: { constantRate: { duration: 1s } } }], thresholds: [{ expr: errors.ratio < 1% }] }",
    );
    let mut args = run_args(&target.url).to_vec();
    args.extend([
        "--overlay",
        "ci.yaml",
        "--scale",
        "5%",
        "--var",
        "region=eu",
        "--set",
        "spec.scenarios[main].tasks[0].steps[0].request.name=renamed",
    ]);
    let status = place.finish_delivered(&args).exits(0).run_status();
    let summary = status.summary.unwrap();
    assert_eq!(summary.requests, 50, "1000/s for 1m → for 1s → at 5%");
    assert_eq!(summary.requests_by_name[0].name, "renamed");
    assert_eq!(status.thresholds.len(), 1);
    assert_eq!(target.requests_of(&status.run.unwrap().id), 50);
}

#[test]
fn validate_says_what_is_wrong_with_a_change() {
    let place = Place::new();
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let wrong = [
        (
            ["--set", "spec.treshold=1"],
            "unknown field \"spec.treshold\"",
        ),
        (["--set", "spec.runners.count=0"], "spec.runners.count"),
        (
            ["--set", "spec.scenarios[other].load=1"],
            "no item is named other; there is main",
        ),
        (["--set", "spec..x=1"], "is no path"),
        (["--scale", "0%"], "write a percentage"),
        (["--overlay", "absent.yaml"], "absent.yaml"),
        (
            ["--set", "spec"],
            "write PATH=VALUE, such as spec.target.url=",
        ),
        (
            ["--var", "regoin=eu"],
            "--var regoin: the test neither has such a variable nor uses $(var.regoin)",
        ),
        (["--secret", "key=env:HOME"], "the test has no secrets"),
        (
            ["--secret", "key=plain"],
            "write NAME=env:VAR or NAME=file:PATH",
        ),
    ];
    for (change, message) in wrong {
        let mut args = vec!["validate", "test.yaml"];
        args.extend(change);
        place.finish(&args).exits(2).says(message);
    }
    let right = [
        "validate",
        "test.yaml",
        "--set",
        "spec.warmUp=200ms",
        "--scale",
        "50%",
    ];
    place.finish(&right).exits(0);
    // The beginning of a name is another name.
    let path = "/get?in=$(var.region)";
    place.write("region.yaml", &manifest(SECOND, path, &[]));
    let with = |variable| place.finish(&["validate", "region.yaml", "--var", variable]);
    with("region=eu").exits(0);
    with("regio=eu")
        .exits(2)
        .says("--var regio: the test neither has such a variable nor uses $(var.regio)");
}

#[test]
fn secrets_and_data_beside_the_test_reach_the_target_and_nothing_else() {
    let (place, target) = (Place::new(), Target::start());
    place.write("test.yaml", &(with_inputs() + BESIDE));
    let finished = place.finish_delivered(&run_args(&target.url)).exits(0);
    let status = finished.run_status();
    assert_eq!(target.requests_of(&status.run.as_ref().unwrap().id), 100);
    assert!(!finished.stderr.contains(SECRET) && !finished.stdout.contains(SECRET));
    let out = place.path().join("out");
    assert_eq!(files_with(&out, SECRET), Vec::<String>::new());
    assert!(!scratch_of(&status.run.as_ref().unwrap().id));
    let checks = status.summary.unwrap().checks;
    let all_held =
        |check: &loadtest_crds::status::CheckRow| (check.passed, check.failed) == (100, 0);
    assert!(
        checks.len() == 2 && checks.iter().all(all_held),
        "{checks:?}"
    );
}

#[test]
fn secrets_are_private_files_while_the_run_goes_on_and_gone_after_ctrl_c() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = with_inputs().replace("duration: 1s", "duration: 1m") + BESIDE;
    place.write("test.yaml", &yaml);
    place.write("key", SECRET);
    let mut args = run_args(&target.url).to_vec();
    args.extend(["--secret", "key=file:key"]);
    let started = Started::new(place.loadtest(&args));
    eventually("load reaches the target", Duration::from_mins(1), || {
        common::requests(&target, "headers") > 0
    });
    let plan = fs::read_to_string(place.path().join("out/plan.json")).unwrap();
    assert!(!plan.contains(SECRET));
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let path = plan["inputs"]["secrets"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(fs::read_to_string(&path).unwrap(), SECRET);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    started.signal("INT");
    started.wait(Duration::from_mins(1)).exits(130);
    eventually("the secret is gone", Duration::from_secs(5), || {
        !fs::exists(&path).unwrap()
    });
}

#[test]
fn what_is_missing_says_how_it_can_be_given() {
    let place = Place::new();
    place.write("test.yaml", &with_inputs());
    place
        .finish(&["run", "test.yaml"])
        .exits(2)
        .says("--secret key=env:VAR")
        .says("put the ConfigMap lists");
    place.write(
        "test.yaml",
        &(with_inputs() + &BESIDE.replace("api:", "other:")),
    );
    place
        .finish(&["run", "test.yaml"])
        .exits(2)
        .says("the Secret shop of this file has no key api; it has other");
    let unset = [
        "run",
        "test.yaml",
        "--secret",
        "key=env:NO_SUCH_VARIABLE_HERE",
    ];
    place
        .finish(&unset)
        .exits(2)
        .says("no variable NO_SUCH_VARIABLE_HERE");
}

#[test]
fn paths_are_relative_to_the_manifest() {
    let (place, target) = (Place::new(), Target::start());
    fs::create_dir(place.path().join("tests")).unwrap();
    let yaml = manifest(SECOND, "/status/$(products.code)", &[])
        + "  data: [{ name: products, from: { path: rows.csv } }]\n";
    place.write("tests/test.yaml", &yaml);
    place.write("tests/rows.csv", "code\n404\n");
    let args = [
        "run",
        "tests/test.yaml",
        "--target",
        &target.url,
        "--out",
        "out",
        "-o",
        "json",
    ];
    let status = place.finish_delivered(&args).exits(1).run_status();
    assert_eq!(status.summary.unwrap().errors[0].message, "status 404");
}

#[test]
fn a_variable_that_the_test_has_or_uses_can_be_set_and_no_other() {
    let place = Place::new();
    let yaml = manifest(SECOND, "/$(var.used)/$(var.declared)", &[]);
    let declared = "variables: { declared: a }\n  scenarios:";
    place.write("test.yaml", &yaml.replacen("scenarios:", declared, 1));
    let with = |options: &[&str]| place.finish(&[&["validate", "test.yaml"], options].concat());
    with(&["--var", "used=b"]).exits(0);
    with(&["--var", "used=b", "--var", "declared=c"]).exits(0);
    let said = "--var declard: the test neither has such a variable nor uses $(var.declard); it has declared";
    with(&["--var", "used=b", "--var", "declard=c"]).exits(2);
    let finished = with(&["--var", "used=b", "--var", "declard=c"]);
    assert!(
        finished.stdout.contains(said) || finished.stderr.contains(said),
        "{finished:?}"
    );
}
