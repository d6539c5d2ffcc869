//! From a spec to a plan.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use loadtest_core::{
    plan::{Auth, Condition, Flavor, RawMode, Request, RunIdentity, Step},
    template::{Segment, Slot},
    threshold::Abort,
};
use loadtest_crds::{
    Manifest, Overrides, SearchServer, TestSpec,
    plan::{self, build},
    validate::load,
};
use serde_json::{Value, json};

fn identity() -> RunIdentity {
    RunIdentity {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        namespace: "perf".to_owned(),
        test: "shop".to_owned(),
        name: "shop-1".to_owned(),
        number: 1,
        seed: 7,
    }
}

fn spec_of(spec: Value) -> TestSpec {
    serde_json::from_value(spec).unwrap()
}

/// A test of one closed scenario with these steps.
fn with_steps(steps: Value) -> TestSpec {
    spec_of(json!({
        "target": { "url": "http://shop:8080/base/" },
        "variables": { "city": "São \"P\" & co", "n": 5 },
        "scenarios": [{
            "name": "main",
            "load": { "constantUsers": { "users": 3, "duration": "1m" } },
            "tasks": [{ "steps": steps }]
        }]
    }))
}

fn request_of(step: Value) -> Request {
    let plan = build(
        &with_steps(json!([{ "request": step }])),
        identity(),
        &Overrides::default(),
    );
    plan.unwrap().requests().next().unwrap().2.clone()
}

fn manifest(path: &str) -> TestSpec {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(path).unwrap();
    match load(&text).unwrap().into_iter().next().unwrap() {
        Manifest::LoadTest(manifest) => manifest.spec.test,
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_are_resolved() {
    let spec = spec_of(json!({
        "target": { "url": "http://shop" },
        "scenarios": [{
            "name": "main",
            "load": { "constantRate": { "rate": "200/s", "duration": "1m" } },
            "tasks": [{ "steps": [{ "request": { "url": "/get" } }] }]
        }]
    }));
    let plan = build(&spec, identity(), &Overrides::default()).unwrap();
    assert_eq!(
        (plan.target.origin.host.as_str(), plan.target.origin.port),
        ("shop", 80)
    );
    assert_eq!(plan.target.origin.authority(), "shop");
    assert_eq!(plan.runners, 1);
    assert_eq!(plan.start_timeout, Duration::from_mins(5));
    assert_eq!(plan.max_duration, Duration::from_secs(60 + 30 + 60));
    assert_eq!(plan.load_duration(), Duration::from_mins(1));
    assert_eq!(plan.results.interval, Duration::from_secs(5));
    assert_eq!(plan.results.drain_timeout, Duration::from_mins(5));
    assert!(!plan.results.exports());
    let scenario = &plan.scenarios[0];
    assert_eq!(scenario.load.max_users(), 400);
    assert_eq!(scenario.graceful_stop, Duration::from_secs(30));
    assert_eq!(
        (scenario.tasks[0].name.as_str(), scenario.tasks[0].weight),
        ("task-1", 1)
    );
    let (_, _, request) = plan.requests().next().unwrap();
    assert_eq!(plan.series[0].name, "GET /get");
    assert_eq!(request.method, "GET");
    assert_eq!(request.path.to_display(), "/get");
    assert_eq!(request.timeout, Duration::from_secs(10));
    assert_eq!((request.success[0].from, request.success[0].to), (200, 399));
    assert!(request.headers.is_empty() && request.body.is_none());
}

#[test]
fn users_of_open_models_follow_rate_and_runners() {
    for (rate, runners, users) in [
        ("1/s", 1, 10),
        ("30/m", 1, 10),
        ("1000/m", 1, 34),
        ("200/s", 1, 400),
        ("999999/s", 1, 10_000),
        ("1/s", 50, 50),
    ] {
        let spec = spec_of(json!({
            "target": { "url": "http://shop" },
            "runners": { "count": runners },
            "scenarios": [{
                "name": "main",
                "load": { "constantRate": { "rate": rate, "duration": "1m" } },
                "tasks": [{ "steps": [{ "request": { "url": "/" } }] }]
            }]
        }));
        let plan = build(&spec, identity(), &Overrides::default()).unwrap();
        assert_eq!(plan.scenarios[0].load.max_users(), users, "{rate}");
    }
}

#[test]
fn values_are_escaped_by_their_position() {
    let request = request_of(json!({
        "url": "/find?city=$(var.city)&u=$(user.index)",
        "headers": { "X-City": "$(var.city)", "x-n": 5, "x-cost": "$$(5)" },
        "method": "POST",
        "body": { "json": { "b": "$(var.city)", "a": ["$(run.id)", 1, 2.5, null, true], "k\"$(var.n)": "\n" } }
    }));
    assert_eq!(
        request.path.to_display(),
        "/base/find?city=S%C3%A3o%20%22P%22%20%26%20co&u=$(user.index)"
    );
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_display()))
        .collect();
    assert_eq!(
        headers,
        [
            ("X-City", "São \"P\" & co".to_owned()),
            ("x-cost", "$(5)".to_owned()),
            ("x-n", "5".to_owned()),
            ("content-type", "application/json".to_owned()),
        ]
    );
    let body = request.body.unwrap();
    let slots: Vec<_> = body
        .segments
        .iter()
        .filter_map(|s| {
            if let Segment::Slot(slot) = s {
                Some(*slot)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(slots, [Slot::RunId]);
    let sent: Value = serde_json::from_str(&body.to_display()).unwrap();
    assert_eq!(
        sent,
        json!({ "a": ["$(run.id)", 1, 2.5, null, true], "b": "São \"P\" & co", "k\"5": "\n" })
    );
}

#[test]
fn forms_are_encoded_and_typed() {
    let request = request_of(json!({
        "url": "/login",
        "method": "POST",
        "headers": { "Content-Type": "application/x-www-form-urlencoded; charset=utf-8" },
        "body": { "form": [
            { "name": "user name", "value": "$(var.city)" },
            { "name": "id", "value": 5 },
            { "name": "u", "value": "$(user.index)&" }
        ] }
    }));
    assert_eq!(
        request.body.unwrap().to_display(),
        "user%20name=S%C3%A3o%20%22P%22%20%26%20co&id=5&u=$(user.index)%26"
    );
    // The user's own content type stays alone.
    assert_eq!(request.headers.len(), 1);
}

#[test]
fn urls_of_the_target_may_be_absolute() {
    for (url, path) in [
        ("http://shop:8080/x?y=1", "/x?y=1"),
        ("http://SHOP:8080", "/"),
        ("http://shop:8080?a=b", "/?a=b"),
        ("/", "/base/"),
    ] {
        assert_eq!(
            request_of(json!({ "url": url })).path.to_display(),
            path,
            "{url}"
        );
    }
}

#[test]
fn names_are_rows_and_checks_are_counted_by_name() {
    let plan = build(
        &with_steps(json!([
            { "request": { "url": "/a/$(user.index)", "checks": [{ "status": [200, "201-204"] }] } },
            { "request": { "url": "/b", "name": "both", "checks": [{ "bodyContains": "in \"stock\"" }] } },
            { "pause": { "min": "0s", "max": "1s" } },
            { "request": { "url": "/c", "name": "both", "method": "PUT", "checks": [{ "status": [200, "201-204"] }, { "name": "x", "status": [404] }] } },
        ])),
        identity(),
        &Overrides::default(),
    )
    .unwrap();
    let names: Vec<_> = plan
        .series
        .iter()
        .map(|s| (s.method.as_str(), s.name.as_str()))
        .collect();
    assert_eq!(names, [("GET", "GET /a/$(user.index)"), ("GET", "both")]);
    let requests: Vec<_> = plan
        .requests()
        .map(|(_, _, r)| (r.step, r.series))
        .collect();
    assert_eq!(requests, [(0, 0), (1, 1), (2, 1)]);
    assert_eq!(
        plan.checks,
        [
            "status is 200 or 201-204",
            "body contains \"in \\\"stock\\\"\"",
            "x"
        ]
    );
    let Step::Request(last) = &plan.scenarios[0].tasks[0].steps[3] else {
        panic!()
    };
    assert_eq!(
        last.checks.iter().map(|c| c.index).collect::<Vec<_>>(),
        [0, 2]
    );
    assert!(
        matches!(&last.checks[1].condition, Condition::Status(ranges) if ranges[0].contains(404))
    );
}

#[test]
fn the_command_line_wins() {
    let spec = manifest("tests/manifests/good/everything.yaml");
    let overrides = Overrides {
        target: Some("http://127.0.0.1:9".to_owned()),
        variables: BTreeMap::from([("region".to_owned(), "us".to_owned())]),
        runners: Some(3),
        raw: Some(RawMode::All),
        local: true,
        files: true,
        elasticsearch: Some(SearchServer {
            url: "http://127.0.0.1:9200/".to_owned(),
            ..SearchServer::default()
        }),
        ..Overrides::default()
    };
    let plan = build(&spec, identity(), &overrides).unwrap();
    assert_eq!(
        (plan.target.origin.host.as_str(), plan.target.origin.port),
        ("127.0.0.1", 9)
    );
    assert_eq!(plan.runners, 3);
    let requests: Vec<_> = plan
        .requests()
        .map(|(_, _, r)| r.path.to_display())
        .collect();
    assert!(
        requests[0].starts_with("/product/$(user.index)?r=us&"),
        "{requests:?}"
    );
    // An absolute url of the manifest's target follows the target.
    assert_eq!(requests[1], "/login");
    let search = plan.results.elasticsearch.clone().unwrap();
    assert_eq!(search.urls, ["http://127.0.0.1:9200"]);
    assert_eq!(
        (search.auth, search.ca_file, search.raw),
        (None, None, RawMode::All)
    );
    assert!(plan.results.wants_raw() && plan.results.files.is_some());

    // On this machine nothing of a cluster's search server is used unless it is asked for.
    let local = Overrides {
        local: true,
        ..Overrides::default()
    };
    assert!(!build(&spec, identity(), &local).unwrap().results.exports());
    let bad = Overrides {
        target: Some("ftp://a".to_owned()),
        ..Overrides::default()
    };
    let problems = build(&spec, identity(), &bad).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "--target: must be an absolute http or https url, such as http://shop.perf.svc:8080"
    );
}

#[test]
fn secrets_are_named_by_their_mounts() {
    let plan = build(
        &manifest("tests/manifests/good/everything.yaml"),
        identity(),
        &Overrides::default(),
    )
    .unwrap();
    let search = plan.results.elasticsearch.clone().unwrap();
    assert_eq!(
        search.urls,
        ["https://es-http.perf.svc:9200", "https://es2.perf.svc:9200"]
    );
    assert_eq!(search.flavor, Flavor::OpenSearch);
    assert_eq!(
        search.auth,
        Some(Auth::Basic {
            username_file: "/etc/loadtest/auth/username".to_owned(),
            password_file: "/etc/loadtest/auth/password".to_owned(),
        })
    );
    assert_eq!(
        search.ca_file.as_deref(),
        Some("/etc/loadtest/es-ca/ca.crt")
    );
    let shown = search.client_certificate.as_ref().unwrap();
    assert_eq!(
        [&shown.certificate_file, &shown.key_file],
        [
            "/etc/loadtest/es-certificate/tls.crt",
            "/etc/loadtest/es-certificate/tls.key"
        ]
    );
    assert_eq!(search.raw, RawMode::None);
    assert_eq!(plan.results.drain_timeout, Duration::from_mins(10));
    assert_eq!(plan.max_duration, Duration::from_mins(30));
}

#[test]
fn all_problems_are_told_at_once_below_their_root() {
    let spec = spec_of(json!({
        "target": { "url": "http://shop" },
        "scenarios": [{
            "name": "main",
            "load": { "constantUsers": { "users": 1, "duration": "1m" } },
            "tasks": [{ "weight": 0, "steps": [{ "request": { "url": "/$(var.a)" } }] }]
        }],
        "thresholds": [{ "expr": "nonsense" }]
    }));
    let problems = plan::accept(&spec, "spec.test").unwrap_err();
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.test.scenarios[0].tasks[0].steps[0].request.url",
            "spec.test.scenarios[0].tasks",
            "spec.test.thresholds[0].expr"
        ]
    );
}

#[test]
fn a_pod_template_may_say_what_a_pod_may() {
    let template = json!({
        "metadata": { "labels": { "a": "b" }, "annotations": {} },
        "spec": {
            "restartPolicy": "Never",
            "tolerations": [{ "key": "load", "operator": "Exists" }],
            "volumes": [{ "name": "tmp", "emptyDir": { "medium": "Memory", "sizeLimit": 1024 } }],
            "containers": [{
                "name": "runner",
                "ports": [{ "containerPort": 80 }],
                "livenessProbe": { "httpGet": { "path": "/", "port": "http" } },
                "resources": { "limits": { "cpu": 0.5, "memory": "1Gi" } }
            }]
        }
    });
    let with = |template: Value| {
        let mut spec =
            serde_json::to_value(with_steps(json!([{ "request": { "url": "/" } }]))).unwrap();
        spec["runners"] = json!({ "template": template });
        plan::accept(&spec_of(spec), "spec")
    };
    assert_eq!(with(template), Ok(()));
    let refused = |template: Value| with(template).unwrap_err()[0].to_string();
    assert_eq!(
        refused(json!({ "spec": { "containers": [{ "name": "runner", "image:": "x" }] } })),
        "spec.runners.template.spec.containers[0].image:: a pod template has no such field"
    );
    assert!(
        refused(json!({ "spec": { "tolerations": "all" } }))
            .starts_with("spec.runners.template: is not a pod template: "),
    );
}

#[test]
fn a_threshold_may_look_at_some_requests_and_stop_the_load() {
    let mut spec = with_steps(json!([
        { "request": { "name": "a", "url": "/a" } },
        { "request": { "name": "b", "url": "/b" } },
    ]));
    spec.thresholds = serde_json::from_value(json!([
        { "expr": "latency.p99 < 250ms", "selector": { "request": "b" } },
        { "expr": "errors.ratio < 1%", "selector": { "scenario": "main" }, "abort": {} },
        { "expr": "errors.count < 9", "abort": { "after": "10m", "minRequests": 0 } },
    ]))
    .unwrap();
    let plan = build(&spec, identity(), &Overrides::default()).unwrap();
    let series: Vec<_> = plan.thresholds.iter().map(|t| t.series.clone()).collect();
    assert_eq!(series, [Some(vec![1]), Some(vec![0, 1]), None]);
    let abort = |seconds, min_requests| {
        Some(Abort {
            after: Duration::from_secs(seconds),
            min_requests,
        })
    };
    let aborts: Vec<_> = plan.thresholds.iter().map(|t| t.abort).collect();
    assert_eq!(aborts, [None, abort(10, 100), abort(600, 0)]);
}
