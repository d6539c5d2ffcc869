//! A run as the tests of this folder need it.

use clap::Parser as _;
use loadtest_crds::{LoadTestRunSpec, Overrides, TestSpec, plan};
use serde_json::json;

use super::{observe::Run, validate::Prepared};
use crate::settings::{Args, Settings};

/// The least that an operator must be told, and more.
pub fn settings(more: &[&str]) -> Settings {
    let least = [
        "loadtest-operator",
        "--namespace=loadtest-system",
        "--ca-secret=loadtest-ca",
        "--control-url=https://loadtest-operator.loadtest-system.svc:8443",
        "--runner-image=registry.example/loadtest-runner:1",
    ];
    let args = Args::try_parse_from(least.iter().chain(more)).unwrap();
    args.try_into().unwrap()
}

/// A test that uses everything which makes a difference to the objects of a run.
pub fn spec() -> TestSpec {
    serde_json::from_value(json!({
        "target": {"url": "https://shop:8443", "tls": {
            "caRef": {"secret": {"name": "shop-ca", "key": "root.pem"}},
            "clientCertificateRef": {"name": "shop-client"},
        }},
        "secrets": [{"name": "key", "secretRef": {"name": "shop-hmac", "key": "k"}}],
        "auth": {"basic": {"secretRef": {"name": "shop-account", "passwordKey": "pass"}}},
        "data": [
            {"name": "products", "from": {"configMapRef": {"name": "shop-data", "key": "p.csv"}}},
            {"name": "few", "from": {"inline": "id\n1\n"}},
        ],
        "scenarios": [{
            "name": "browse",
            "load": {"constantRate": {"rate": "100/s", "duration": "1m"}},
            "gracefulStop": "10s",
            "tasks": [{"name": "main", "steps": [{"request": {"url": "/"}}]}],
        }],
        "runners": {
            "count": 2,
            "startTimeout": "2m",
            "template": {
                "metadata": {"labels": {"team": "shop"}},
                "spec": {
                    "nodeSelector": {"pool": "load"},
                    "containers": [{"name": "runner", "resources": {"limits": {"cpu": 2}}}],
                },
            },
        },
        "results": {"elasticsearch": {
            "urls": ["https://es:9200"],
            "authRef": {"basic": {"name": "es-user", "passwordKey": "pass"}},
            "tls": {"caRef": {"configMap": {"name": "es-ca", "key": "root.pem"}}},
            "drainTimeout": "30s",
        }},
    }))
    .unwrap()
}

/// Its run.
pub fn run() -> Run {
    let object = serde_json::from_value(json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun",
        "metadata": {
            "name": "shop-3", "namespace": "perf", "generation": 1,
            "uid": "0b5cf5c6-6bd9-4a6b-9e53-7a1a8e8b8b11",
        },
    }))
    .unwrap();
    let spec: LoadTestRunSpec =
        serde_json::from_value(json!({"loadTestRef": {"name": "shop"}, "number": 3})).unwrap();
    Run::new(&object, &spec)
}

/// Its plan.
pub fn prepared() -> Prepared {
    let plan = plan::build(&spec(), run().identity(), &Overrides::default()).unwrap();
    let bytes = plan.to_bytes().unwrap();
    Prepared::new(plan, bytes)
}
