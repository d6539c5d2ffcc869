//! What a manifest says of loads and targets, as the plan has it.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use std::time::Duration;

use loadtest_core::plan::{
    Arrivals, ClientCertificate, Connections, Cookies, HostRule, Load, Plan, Protocol, RateStage,
    RunIdentity, Scheme, TargetTls, UserStage,
};
use loadtest_crds::{Overrides, TestSpec, plan::build};
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

/// A test of one scenario: `scenario` says what is not usual of it.
fn spec_of(target: Value, scenario: Value, steps: Value) -> TestSpec {
    let mut whole = json!({
        "name": "main",
        "load": { "constantUsers": { "users": 3, "duration": "1m" } },
        "tasks": [{ "steps": steps }]
    });
    for (name, value) in scenario.as_object().unwrap() {
        whole[name] = value.clone();
    }
    serde_json::from_value(json!({ "target": target, "scenarios": [whole] })).unwrap()
}

fn plan_of(target: Value, scenario: Value, steps: Value) -> Plan {
    let spec = spec_of(target, scenario, steps);
    build(&spec, identity(), &Overrides::default()).unwrap()
}

fn load_of(load: Value) -> Load {
    let scenario = json!({ "load": load });
    let plan = plan_of(
        json!({ "url": "http://shop" }),
        scenario,
        json!([{ "request": { "url": "/" } }]),
    );
    plan.scenarios[0].load.clone()
}

#[test]
fn ramps_begin_at_zero_and_have_users_for_their_peak() {
    let load = load_of(json!({ "rampingRate": {
        "stages": [{ "duration": "30s", "rate": "9000/m" }, { "duration": "0s", "rate": "0/s" }],
        "arrivals": "Poisson"
    }}));
    let expected = Load::RampingRate {
        start_rate: "0/s".parse().unwrap(),
        stages: vec![
            RateStage {
                duration: Duration::from_secs(30),
                rate: "9000/m".parse().unwrap(),
            },
            RateStage {
                duration: Duration::ZERO,
                rate: "0/s".parse().unwrap(),
            },
        ],
        max_users: 300,
        arrivals: Arrivals::Poisson,
    };
    assert_eq!(load, expected);
    // The peak may be where the ramp begins.
    let load = load_of(json!({ "rampingRate": {
        "startRate": "500/s", "stages": [{ "duration": "30s", "rate": "1/s" }]
    }}));
    assert_eq!(load.max_users(), 1_000);
    let load =
        load_of(json!({ "rampingUsers": { "stages": [{ "duration": "10s", "users": 100 }] } }));
    let expected = Load::RampingUsers {
        start_users: 0,
        stages: vec![UserStage {
            duration: Duration::from_secs(10),
            users: 100,
        }],
    };
    assert_eq!(load, expected);
}

#[test]
fn iterations_may_take_ten_minutes() {
    let shared = load_of(json!({ "sharedIterations": { "users": 10, "iterations": 1000 } }));
    assert_eq!(shared.duration(), Duration::from_mins(10));
    assert_eq!(shared.planned_iterations(), Some(1_000));
    let own = load_of(json!({ "perUserIterations": {
        "users": 10, "iterations": 100, "maxDuration": "30s"
    }}));
    assert_eq!(own.duration(), Duration::from_secs(30));
    assert_eq!(own.planned_iterations(), Some(1_000));
}

#[test]
fn warm_up_pacing_connections_and_cookies_reach_the_plan() {
    let steps = json!([{ "request": { "url": "/", "followRedirects": 3 } }]);
    let mut spec = spec_of(
        json!({ "url": "http://shop" }),
        json!({
            "connections": "PerIteration",
            "cookies": "Off",
            "tasks": [{ "pacing": "5s", "steps": steps }]
        }),
        json!([]),
    );
    spec.warm_up = Some("10s".into());
    let plan = build(&spec, identity(), &Overrides::default()).unwrap();
    assert_eq!(plan.warm_up, Duration::from_secs(10));
    let scenario = &plan.scenarios[0];
    assert_eq!(
        (scenario.connections, scenario.cookies),
        (Connections::PerIteration, Cookies::Off)
    );
    assert_eq!(scenario.tasks[0].pacing, Some(Duration::from_secs(5)));
    assert_eq!(plan.requests().next().unwrap().2.follow_redirects, 3);
}

#[test]
fn absolute_urls_lead_to_the_target_or_to_other_servers_once_each() {
    let request = |url: &str| json!({ "request": { "url": url } });
    let plan = plan_of(
        json!({
            "url": "https://Shop/api",
            "allowedHosts": ["CDN", "[::1]:8080", "shop"],
            "protocol": "Http1",
            "proxy": { "url": "http://proxy" }
        }),
        json!({}),
        json!([
            request("/a"),
            request("https://shop:443/b"),
            request("https://cdn?v=1"),
            request("http://[0:0::1]:8080/c"),
            request("https://CDN:443/d"),
            request("http://shop/e"),
        ]),
    );
    let urls: Vec<_> = plan
        .requests()
        .map(|(_, _, request)| (request.origin, request.path.to_display()))
        .collect();
    let expected = [
        (None, "/api/a"),
        (None, "/b"),
        (Some(0), "/?v=1"),
        (Some(1), "/c"),
        (Some(0), "/d"),
        (Some(2), "/e"),
    ];
    assert_eq!(
        urls,
        expected.map(|(origin, path)| (origin, path.to_owned()))
    );
    let origins: Vec<_> = plan
        .target
        .other_origins
        .iter()
        .map(|origin| (origin.scheme, origin.host.as_str(), origin.port))
        .collect();
    assert_eq!(
        origins,
        [
            (Scheme::Https, "cdn", 443),
            (Scheme::Http, "::1", 8080),
            (Scheme::Http, "shop", 80)
        ]
    );
    assert!(
        plan.target
            .other_origins
            .iter()
            .all(|o| plan.target.allows(o))
    );
    let rule = |host: &str, port| HostRule {
        host: host.to_owned(),
        port,
    };
    assert_eq!(
        plan.target.allowed_hosts,
        [
            rule("cdn", None),
            rule("::1", Some(8080)),
            rule("shop", None)
        ]
    );
    assert_eq!(plan.target.protocol, Protocol::Http1);
    assert_eq!(plan.target.proxy.as_deref(), Some("http://proxy:80"));
}

const SECURE: &str = r#"{
    "url": "https://shop",
    "tls": {
        "caRef": { "configMap": { "name": "shop-ca", "key": "root.pem" } },
        "clientCertificateRef": { "name": "me" },
        "serverName": "shop.example.com"
    }
}"#;

fn secure() -> TestSpec {
    spec_of(
        serde_json::from_str(SECURE).unwrap(),
        json!({}),
        json!([{ "request": { "url": "/" } }]),
    )
}

#[test]
fn certificates_are_named_by_their_mounts() {
    let plan = build(&secure(), identity(), &Overrides::default()).unwrap();
    let certificate = ClientCertificate {
        certificate_file: "/etc/loadtest/target-certificate/tls.crt".to_owned(),
        key_file: "/etc/loadtest/target-certificate/tls.key".to_owned(),
    };
    let expected = TargetTls {
        ca_file: Some("/etc/loadtest/target-ca/ca.crt".to_owned()),
        client_certificate: Some(certificate),
        server_name: Some("shop.example.com".to_owned()),
        insecure_skip_verify: false,
    };
    assert_eq!(plan.target.tls, expected);
}

#[test]
fn a_local_run_takes_certificates_from_files_or_is_refused() {
    let local = Overrides {
        local: true,
        ..Overrides::default()
    };
    let told = |overrides: &Overrides| -> Vec<String> {
        let problems = build(&secure(), identity(), overrides).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(&local),
        [
            "spec.target.tls.caRef: is in the cluster, not on this machine: give the certificates as a file with --target-ca FILE",
            "spec.target.tls.clientCertificateRef: is in the cluster, not on this machine: give certificate and key as files with --target-cert FILE --target-key FILE",
        ]
    );
    let certificate = ClientCertificate {
        certificate_file: "/tmp/me.crt".to_owned(),
        key_file: "/tmp/me.key".to_owned(),
    };
    let given = Overrides {
        target_ca_file: Some("/tmp/ca.crt".to_owned()),
        target_certificate: Some(certificate.clone()),
        target: Some("https://127.0.0.1:8443/v2".to_owned()),
        ..local.clone()
    };
    let plan = build(&secure(), identity(), &given).unwrap();
    assert_eq!(plan.target.origin.scheme, Scheme::Https);
    assert_eq!(
        plan.target.tls,
        TargetTls {
            ca_file: Some("/tmp/ca.crt".to_owned()),
            client_certificate: Some(certificate),
            server_name: Some("shop.example.com".to_owned()),
            insecure_skip_verify: false,
        }
    );

    // Over plain HTTP none of it is needed, and an option for it is a mistake.
    let unsecured = Overrides {
        target: Some("http://127.0.0.1:8080".to_owned()),
        ..local
    };
    let plan = build(&secure(), identity(), &unsecured).unwrap();
    assert_eq!(plan.target.tls, TargetTls::default());
    let odd = Overrides {
        target_ca_file: Some("/tmp/ca.crt".to_owned()),
        ..unsecured
    };
    assert_eq!(
        told(&odd),
        ["--target-ca: nothing of this test goes to an https url"]
    );
}
