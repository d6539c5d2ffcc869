//! Every scenario of `examples/scenarios`, as it stands there, against the bundled shop: what the
//! target counted is what the scenario says.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{Finished, Place, Target, run_args, stats};
use loadtest_crds::LoadTestRunStatus;
use serde_json::Value;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/scenarios");

/// A scenario that has run to its end.
struct Ran {
    status: LoadTestRunStatus,
    /// What the target counted: operations of the shop, and `/segment` for all else.
    counts: BTreeMap<String, u64>,
    summary: Value,
}

impl Ran {
    /// What the target counted of some operations.
    fn counted(&self, operation: &str) -> u64 {
        self.counts.get(operation).copied().unwrap_or(0)
    }

    /// Count and failures of a group.
    fn group(&self, name: &str) -> (u64, u64) {
        let rows = self.summary["summary"]["groups"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        (
            row["count"].as_u64().unwrap(),
            row["failures"].as_u64().unwrap(),
        )
    }

    #[track_caller]
    fn requests(&self) -> u64 {
        self.status
            .summary
            .as_ref()
            .unwrap()
            .requests
            .try_into()
            .unwrap()
    }
}

/// Runs a scenario as it stands in `examples`, with the target's address put in. It must pass, and
/// every request that the target counted must be in the result, but for `besides`.
fn ran(file: &str, more: &[&str], besides: &[&str]) -> Ran {
    let (place, target) = (Place::new(), Target::start());
    let text = fs::read_to_string(Path::new(EXAMPLES).join(file)).unwrap();
    let address = target.url.strip_prefix("http://").unwrap();
    place.write("test.yaml", &text.replace("127.0.0.1:8080", address));
    fs::copy(
        Path::new(EXAMPLES).join("picture.png"),
        place.path().join("picture.png"),
    )
    .unwrap();
    let mut args = run_args(&target.url).to_vec();
    args.extend(more);
    let finished: Finished = place.finish(&args);
    let finished = match finished.status {
        // Too busy a machine; what the target counted is of all tries then, so only once more.
        Some(4) => return ran(file, more, besides),
        _ => finished.exits(0),
    };
    let stats = stats(&target);
    let of = |name: &str| -> BTreeMap<String, u64> {
        serde_json::from_value(stats[name].clone()).unwrap_or_default()
    };
    let mut counts = of("shop");
    counts.extend(
        of("by_path")
            .into_iter()
            .filter(|(name, _)| name != "shop")
            .map(|(name, count)| (format!("/{name}"), count)),
    );
    let ran = Ran {
        status: finished.run_status(),
        summary: serde_json::from_str(&finished.stdout).unwrap(),
        counts,
    };
    let all: u64 = ran.counts.values().sum();
    let outside: u64 = besides.iter().map(|operation| ran.counted(operation)).sum();
    assert_eq!(ran.requests(), all - outside, "{:?}", ran.counts);
    assert_eq!(ran.status.summary.as_ref().unwrap().failures, 0);
    ran
}

/// The counts, exactly, of a scenario that needs nothing else looked at.
#[track_caller]
fn counts(file: &str, expected: &[(&str, u64)]) -> Ran {
    let ran = ran(file, &[], &[]);
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(ran.counts, expected);
    ran
}

#[test]
fn every_example_is_run_here() {
    let here = include_str!("scenarios.rs");
    for entry in fs::read_dir(EXAMPLES).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_scenario = path.extension().is_some_and(|end| end == "yaml");
        assert!(
            !is_scenario || here.contains(&format!("\"{name}\"")),
            "{name} is not run"
        );
    }
}

#[test]
fn one_url_at_a_rate() {
    counts("01-rate.yaml", &[("/get", 100)]);
}

#[test]
fn weighted_endpoints() {
    counts(
        "02-weights.yaml",
        &[("GET catalog", 30), ("GET products/{id}", 10)],
    );
}

#[test]
fn stages_and_a_spike() {
    counts("03-stages.yaml", &[("/get", 110)]);
}

#[test]
fn create_read_delete() {
    let expected = [
        ("POST items", 10),
        ("GET items/{id}", 10),
        ("DELETE items/{id}", 10),
    ];
    counts("04-create-read-delete.yaml", &expected);
}

#[test]
fn a_login_in_each_iteration() {
    counts(
        "05-login-each-iteration.yaml",
        &[("POST login", 10), ("GET me", 10)],
    );
}

#[test]
fn a_form_with_a_cookie_and_a_csrf_field() {
    let expected = [
        ("GET login-form", 6),
        ("POST login-form", 6),
        ("GET account", 6),
    ];
    counts("06-form-login.yaml", &expected);
}

#[test]
fn graphql_with_a_check_of_the_body() {
    counts("07-graphql.yaml", &[("POST graphql", 10)]);
}

#[test]
fn an_own_meaning_of_success() {
    counts(
        "08-own-success.yaml",
        &[("GET items/{id}", 10), ("GET me", 10)],
    );
}

#[test]
fn a_row_for_each_iteration_over_two_runners() {
    let ran = ran("09-csv-rows.yaml", &["--runners", "2"], &[]);
    assert_eq!(ran.counted("GET products/{id}"), 6);
    let message = ran.status.message.as_deref().unwrap_or_default();
    assert!(message.contains("products"), "{message}");
}

#[test]
fn unique_payloads() {
    counts("10-unique-payloads.yaml", &[("POST items", 10)]);
}

#[test]
fn a_login_once_for_each_user() {
    counts(
        "11-login-once.yaml",
        &[("POST login", 3), ("GET me", 12), ("/get", 3)],
    );
}

#[test]
fn tokens_are_renewed_in_time() {
    let ran = ran("12-token-refresh.yaml", &[], &["POST oauth/token"]);
    assert_eq!(ran.counted("GET me"), 100);
    let tokens = ran.counted("POST oauth/token");
    // Good for 5 s, renewed 3 s before: about every 2 s from before the start to the end.
    assert!((3..=6).contains(&tokens), "{tokens} tokens");
}

#[test]
fn setup_and_teardown_once_for_two_runners() {
    let besides = ["POST tenants", "DELETE tenants/{id}"];
    let ran = ran("13-setup-teardown.yaml", &["--runners", "2"], &besides);
    assert_eq!(besides.map(|operation| ran.counted(operation)), [1, 1]);
    assert_eq!(ran.counted("GET tenants/{id}/orders"), 10);
}

#[test]
fn a_job_is_asked_for_until_it_is_done() {
    let ran = counts("14-poll.yaml", &[("POST jobs", 6), ("GET jobs/{id}", 18)]);
    assert_eq!(ran.group("look until done"), (6, 0));
}

#[test]
fn branches_by_chance_answer_and_status() {
    let ran = ran("15-branch.yaml", &[], &[]);
    assert_eq!(ran.counted("GET products/{id}"), 60);
    assert_eq!(ran.counted("POST items") + ran.counted("POST jobs"), 60);
    assert!(ran.counted("POST items") > 0 && ran.counted("POST jobs") > 0);
    assert_eq!(
        (ran.counted("GET items/{id}"), ran.counted("GET catalog")),
        (60, 60)
    );
    // 60 tries at 10 %: more than 20 comes about once in a million.
    assert!(ran.counted("/get") <= 20);
}

#[test]
fn a_list_page_by_page() {
    counts(
        "16-for-each.yaml",
        &[("GET catalog", 6), ("GET products/{id}", 60)],
    );
}

#[test]
fn parts_of_a_page_side_by_side() {
    let expected = [
        ("GET catalog", 10),
        ("GET assets/{name}", 20),
        ("/bytes", 10),
    ];
    let ran = counts("17-parallel.yaml", &expected);
    assert_eq!(ran.group("whole page"), (10, 0));
}

#[test]
fn a_multipart_upload() {
    counts("18-upload.yaml", &[("POST upload", 6)]);
}

#[test]
fn signed_requests() {
    counts("19-signed.yaml", &[("POST signed", 10), ("GET me", 10)]);
}
