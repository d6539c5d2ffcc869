//! `loadtest try`: one iteration, and everything in it is shown.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use common::{Place, SECOND, Started, Target, manifest, scratch_of, stats};

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
        - set: { both: me:$(secret.key) }
        - request:
            url: /anything/$(secret.key)
            headers:
              authorization: Basic $(base64 both)
              x-coded: $(base64 secret.key)
              x-hex: $(hex secret.key)
              x-plain: $(secret.key)
              x-url: $(base64 secret.key url)
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
    // Of no length that fills the last group of base64.
    place.write("key", "hush \"/ hushy\n");
    let args = ["try", "test.yaml", "--secret", "key=file:key"];
    let finished = place.finish(&args).exits(0);
    let shown = finished.stdout + &finished.stderr;
    has_in_order(
        &shown,
        &[
            "both = me:[secret.key]",
            "/anything/[secret.key]",
            "authorization: Basic [both]",
            "x-coded: [secret.key]",
            "x-hex: [secret.key]",
            "x-plain: [secret.key]",
            "x-url: [secret.key]",
        ],
    );
    assert!(shown.contains("echoed = [secret.key]"), "{shown}");
    let codings = [
        "hush",
        "aHVzaCAiLyBodXNoe",
        "6875736820222f20",
        "bWU6aHVzaCAiLyBodXNoe",
    ];
    for coding in codings {
        assert!(!shown.contains(coding), "{coding} in {shown}");
    }
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

/// A manifest of one scenario with these steps, and more of the spec before it.
fn test_of(target: &str, spec: &str, steps: &str) -> String {
    format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: tried }}
spec:
  target: {{ url: {target}, allowedHosts: [127.0.0.1] }}
{spec}
  scenarios:
    - name: main
      load: {{ constantUsers: {{ users: 1, duration: 1s }} }}
      tasks:
        - steps:
{steps}
"
    )
}

#[test]
fn a_check_that_is_waited_for_in_vain_is_exit_code_one() {
    let (place, target) = (Place::new(), Target::start());
    let steps = "
            - request:
                url: /json
                checks: [{ name: done, jsonPath: { path: $.state, equals: done } }]
                until: { check: done, every: 10ms, timeout: 30ms }";
    place.write("test.yaml", &test_of(&target.url, "", steps));
    let finished = place.finish(&["try", "test.yaml"]).exits(1);
    has_in_order(&finished.stdout, &["< 200 in ", "✗ done"]);
    let said = finished.stderr.trim_end();
    assert_eq!(said, "not every request and check succeeded");
}

#[test]
fn a_redirect_that_is_followed_is_not_judged() {
    let (place, target) = (Place::new(), Target::start());
    example(&place, "06-form-login.yaml", &target);
    let shown = place.finish(&["try", "test.yaml"]).exits(0).stdout;
    let lines = ["POST ", "< 303 in ", "GET ", "/shop/account", "✓ welcome"];
    has_in_order(&shown, &lines);
    assert!(!shown.contains('✗'), "{shown}");
}

#[test]
fn a_redirect_that_leads_nowhere_is_named_with_where_it_leads() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/lost\r\n\
                       Content-Length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    let steps = "            - request: { url: /, followRedirects: 1 }";
    place.write("test.yaml", &test_of(&url, "", steps));
    let finished = place.finish(&["try", "test.yaml"]).exits(1);
    server.join().unwrap();
    let dead = "✗ http://127.0.0.1:1: connection refused";
    has_in_order(&finished.stdout, &["GET ", "< 302 in ", dead]);
}

#[test]
fn data_that_are_used_up_are_named() {
    let (place, target) = (Place::new(), Target::start());
    let spec = "
  data:
    - name: users
      from: { inline: \"name\\nann\\n\" }
      onExhausted: Stop
  setup: prepare
  flows:
    - { name: prepare, steps: [{ request: { url: /anything/$(users.name) } }] }";
    let steps = "            - request: { url: /anything/$(users.name) }";
    place.write("test.yaml", &test_of(&target.url, spec, steps));
    let finished = place.finish(&["try", "test.yaml"]).exits(3);
    let said = "error: there was no row of users left for the iteration: give it more rows, or \
                onExhausted: Recycle";
    assert_eq!(finished.stderr.trim_end(), said);
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

/// What a run takes to reach a target, a try takes as well.
#[test]
fn a_client_certificate_is_read_from_the_files_that_are_named() {
    let place = Place::new();
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let target = ["try", "test.yaml", "--target", "https://127.0.0.1:1"];
    let certificate = ["--target-cert", "absent.crt", "--target-key", "absent.key"];
    place
        .finish(&[target, certificate].concat())
        .exits(2)
        .says("--target-cert: cannot read absent.crt: ");
}

#[test]
fn a_step_kind_that_nobody_knows_is_named_with_the_way_to_run_it() {
    let place = Place::new();
    let own_step = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/own-step/test.yaml"
    );
    let finished = place.finish(&["try", own_step]).exits(3);
    let said = finished.stderr.trim_end();
    assert_eq!(said.lines().count(), 1, "{said}");
    has_in_order(
        said,
        &[
            "error: task \"task-1\" of scenario \"chat\" has a step of the kind \"webSocketEcho\"",
            "which the runner /",
            "does not know: it knows none. Use a runner that has it: ",
            "--runner-binary the file on this machine",
        ],
    );
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_runner_that_does_not_rehearse_is_no_riddle() {
    let (place, target) = (Place::new(), Target::start());
    example(&place, "04-create-read-delete.yaml", &target);
    let with = |runner| ["try", "test.yaml", "--runner-binary", runner];
    let said = "error: /bin/true ended before the iteration did (exit status: 0). Is it a runner";
    place.finish(&with("/bin/true")).exits(3).says(said);
    let said = "--runner-binary: cannot start nowhere: No such file";
    place.finish(&with("nowhere")).exits(2).says(said);
    let said = "--runner-binary: cannot start test.yaml: it is no program";
    place.finish(&with("test.yaml")).exits(2).says(said);
}

/// The files of secrets are gone, whoever stops it.
#[test]
fn an_iteration_that_is_stopped_leaves_no_secret() {
    let (place, target) = (Place::new(), Target::start());
    let yaml = manifest(SECOND, "/delay/10", &[])
        .replace("timeout: 2s", "timeout: 20s, headers: { x: $(secret.key) }")
        .replace(
            "  scenarios:",
            "  secrets: [{ name: key, secretRef: { name: s, key: k } }]\n  scenarios:",
        );
    place.write("test.yaml", &yaml);
    place.write("key", "hush\n");
    let args = [
        "try",
        "test.yaml",
        "--target",
        &target.url,
        "--secret",
        "key=file:key",
    ];
    let mut started = Started::new(place.loadtest(&args));
    let mut shown = BufReader::new(started.child.as_mut().unwrap().stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("> x: [secret.key]") {
        assert!(shown.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let id = text
        .split("run/")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert!(scratch_of(id));
    started.signal("INT");
    let ended = started.child.as_mut().unwrap().wait().unwrap();
    assert_eq!(ended.code(), Some(130));
    assert!(!scratch_of(id));
}
