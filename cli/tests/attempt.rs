//! `loadtest try`: one iteration, and everything in it is shown.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Place, Target, stats};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/scenarios");

fn example(place: &Place, file: &str, target: &Target) {
    let text = std::fs::read_to_string(format!("{EXAMPLES}/{file}")).unwrap();
    let address = target.url.strip_prefix("http://").unwrap();
    place.write("test.yaml", &text.replace("127.0.0.1:8080", address));
}

/// That the lines stand in a text, one after the other, other lines perhaps between them.
#[track_caller]
fn has_in_order(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let at = rest.find(line);
        let at = at.unwrap_or_else(|| panic!("no {line:?} where it ought to be in\n{text}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn every_request_answer_check_and_value_is_shown() {
    let (place, target) = (Place::new(), Target::start());
    example(&place, "04-create-read-delete.yaml", &target);
    let shown = place.finish(&["try", "test.yaml"]).exits(0).stdout;
    let post = format!("POST {}/shop/items", target.url);
    let lines = [
        "main, task-1",
        &post,
        "> traceparent: 00-",
        "> {\"name\":\"Rake of 0\",\"price\":17}",
        "< 201 in ",
        "< location: /shop/items/1",
        "✓ status is 201",
        "id = 1",
        "GET ",
        "/shop/items/1",
        "✓ is mine",
        "DELETE ",
        "< 204 in ",
    ];
    has_in_order(&shown, &lines);
    let shop = stats(&target)["shop"].clone();
    let once = serde_json::json!({"POST items": 1, "GET items/{id}": 1, "DELETE items/{id}": 1});
    assert_eq!(shop, once);
    // Only the manifest: nothing is written.
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn setup_and_teardown_are_around_it() {
    let (place, target) = (Place::new(), Target::start());
    example(&place, "13-setup-teardown.yaml", &target);
    let shown = place.finish(&["try", "test.yaml"]).exits(0).stdout;
    let lines = [
        "setup",
        "tenant = 1",
        "main, task-1",
        "/shop/tenants/1/orders",
        "teardown",
        "DELETE",
    ];
    has_in_order(&shown, &lines);
}

#[test]
fn secrets_are_not_shown_in_any_coding() {
    let (place, target) = (Place::new(), Target::start());
    let steps = "
        - request:
            url: /anything/$(secret.key)
            headers: { x-plain: $(secret.key), x-coded: $(base64 secret.key) }
            body: { json: { key: $(secret.key) } }
            extract: [{ name: echoed, from: { jsonPath: $.json.key } }]";
    let yaml = format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: quiet }}
spec:
  target: {{ url: {} }}
  secrets: [{{ name: key, secretRef: {{ name: s, key: k }} }}]
  scenarios:
    - name: main
      load: {{ constantUsers: {{ users: 1, duration: 1s }} }}
      tasks:
        - steps: {}
",
        target.url,
        steps.replace('\n', "\n    ")
    );
    place.write("test.yaml", &yaml);
    place.write("key", "hush \"/ hush\n");
    let args = ["try", "test.yaml", "--secret", "key=file:key"];
    let finished = place.finish(&args).exits(0);
    let shown = finished.stdout + &finished.stderr;
    has_in_order(
        &shown,
        &[
            "/anything/[secret.key]",
            "x-coded: [secret.key]",
            "x-plain: [secret.key]",
        ],
    );
    assert!(shown.contains("echoed = [secret.key]"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_failed_check_and_a_dead_target_are_exit_code_one() {
    let (place, target) = (Place::new(), Target::start());
    example(&place, "04-create-read-delete.yaml", &target);
    let wrong = "spec.scenarios[0].tasks[0].steps[1].request.checks[0].jsonPath.equals=Spade";
    let finished = place.finish(&["try", "test.yaml", "--set", wrong]).exits(1);
    has_in_order(&finished.stdout, &["✓ status is 201", "✗ is mine"]);
    let args = ["try", "test.yaml", "--target", "http://127.0.0.1:1"];
    let finished = place.finish(&args).exits(1);
    has_in_order(
        &finished.stdout,
        &["✗ http://127.0.0.1:1: connection refused"],
    );
}

#[test]
fn which_task_is_to_be_said_when_there_are_several() {
    let (place, target) = (Place::new(), Target::start());
    example(&place, "02-weights.yaml", &target);
    let finished = place.finish(&["try", "test.yaml"]).exits(2);
    assert!(
        finished
            .stderr
            .contains("--task: choose one of browse, look"),
        "{}",
        finished.stderr
    );
    let finished = place
        .finish(&["try", "test.yaml", "--task", "buy"])
        .exits(2);
    assert!(
        finished.stderr.contains("choose one of browse, look"),
        "{}",
        finished.stderr
    );
    let shown = place
        .finish(&["try", "test.yaml", "--task", "look"])
        .exits(0)
        .stdout;
    has_in_order(&shown, &["main, look", "GET ", "/shop/products/"]);
}
