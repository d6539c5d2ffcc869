//! Data, secrets, and how requests prove who they are.

use std::time::Duration;

use loadtest_core::{
    plan::{
        DataFormat, DataOrder, DataScope, DataShare, DataSource, Feeder, OnExhausted, RawMode,
        SecretFile, TargetAuth,
    },
    threshold::Metric,
};
use loadtest_crds::{Overrides, Problem, TestSpec, plan::build};
use serde_json::{Value, json};

use super::{get, identity, plan, refused, test};

fn secret(name: &str, path: &str) -> SecretFile {
    SecretFile {
        name: name.to_owned(),
        path: path.to_owned(),
    }
}

fn said(spec: &TestSpec, overrides: &Overrides) -> Vec<String> {
    let problems = build(spec, identity(), overrides).unwrap_err();
    problems.iter().map(Problem::sentence).collect()
}

fn with_data_and_secrets() -> TestSpec {
    test(
        json!([{ "request": { "url": "/$(shops.id)", "headers": { "x": "$(secret.key)" } } }]),
        json!({
            "data": [
                { "name": "shops", "from": { "configMapRef": { "name": "shops", "key": "s.csv" } } },
                { "name": "big", "from": { "path": "big.csv" } },
            ],
            "secrets": [{ "name": "key", "secretRef": { "name": "shop", "key": "hmac" } }],
            "auth": { "oauth2ClientCredentials": {
                "tokenUrl": "https://login/token",
                "clientIdRef": { "name": "client", "key": "id" },
                "clientSecretRef": { "name": "client", "key": "secret" }
            } }
        }),
    )
}

#[test]
fn what_is_in_the_cluster_is_a_mounted_file() {
    let inputs = plan(&with_data_and_secrets()).inputs;
    assert_eq!(
        inputs.data[0],
        Feeder {
            name: "shops".to_owned(),
            source: DataSource::File("/etc/loadtest/data/shops".to_owned()),
            format: DataFormat::Csv,
            order: DataOrder::Sequential,
            share: DataShare::Split,
            scope: DataScope::Iteration,
            on_exhausted: OnExhausted::Recycle,
            sha256: None,
        }
    );
    assert_eq!(
        inputs.data[1].source,
        DataSource::File("big.csv".to_owned())
    );
    assert_eq!(
        inputs.secrets,
        [
            secret("key", "/etc/loadtest/secrets/key"),
            secret("auth.client-id", "/etc/loadtest/target-auth/client-id"),
            secret(
                "auth.client-secret",
                "/etc/loadtest/target-auth/client-secret"
            ),
        ]
    );
    assert_eq!(
        inputs.auth,
        Some(TargetAuth::ClientCredentials {
            token_url: "https://login/token".to_owned(),
            client_id: 1,
            client_secret: 2,
            scope: None,
            refresh_before: Duration::from_secs(30),
        })
    );
}

#[test]
fn on_this_machine_everything_must_be_given() {
    let local = Overrides {
        local: true,
        ..Overrides::default()
    };
    let spec = with_data_and_secrets();
    assert_eq!(
        said(&spec, &local),
        [
            "spec.data[0].from.configMapRef: is in the cluster, not on this machine: put the ConfigMap shops with its key s.csv into the same FILE",
            "spec.secrets[0].secretRef: is in the cluster, not on this machine: give it with --secret key=env:VAR or --secret key=file:PATH, or put the Secret into the same FILE",
            "spec.auth.oauth2ClientCredentials.clientIdRef: is in the cluster, not on this machine: give it with --secret auth.client-id=env:VAR or --secret auth.client-id=file:PATH, or put the Secret into the same FILE",
            "spec.auth.oauth2ClientCredentials.clientSecretRef: is in the cluster, not on this machine: give it with --secret auth.client-secret=env:VAR or --secret auth.client-secret=file:PATH, or put the Secret into the same FILE",
        ]
    );
    let files = |names: &[&str]| {
        let pairs = names
            .iter()
            .map(|name| ((*name).to_owned(), format!("/tmp/{name}")));
        pairs.collect()
    };
    let given = Overrides {
        data_files: files(&["shops"]),
        secret_files: files(&["key", "auth.client-id", "auth.client-secret"]),
        directory: Some("/home/me".to_owned()),
        ..local
    };
    let inputs = build(&spec, identity(), &given).unwrap().inputs;
    let sources: Vec<_> = inputs.data.into_iter().map(|data| data.source).collect();
    assert_eq!(
        sources,
        ["/tmp/shops", "/home/me/big.csv"].map(|path| DataSource::File(path.to_owned()))
    );
    assert_eq!(
        inputs.secrets[2],
        secret("auth.client-secret", "/tmp/auth.client-secret")
    );
}

#[test]
fn requests_to_the_target_prove_who_they_are() {
    let spec = test(
        json!([
            get("/a"),
            { "request": { "url": "/b", "headers": { "Authorization": "none" } } },
            get("http://cdn/c"),
        ]),
        json!({
            "target": { "url": "http://shop", "allowedHosts": ["cdn"] },
            "auth": { "basic": { "secretRef": { "name": "a", "usernameKey": "user" } } }
        }),
    );
    let plan = plan(&spec);
    let headers: Vec<Vec<_>> = plan
        .requests()
        .map(|(_, _, request)| {
            let headers = request.headers.iter();
            headers
                .map(|(name, value)| (name.as_str(), value.to_display()))
                .collect()
        })
        .collect();
    assert_eq!(
        headers[0],
        [("authorization", "$(authorization)".to_owned())]
    );
    assert_eq!(headers[1], [("Authorization", "none".to_owned())]);
    assert!(headers[2].is_empty());
    assert_eq!(
        plan.inputs.auth,
        Some(TargetAuth::Basic {
            username: 0,
            password: 1
        })
    );
}

#[test]
fn columns_are_known_where_rows_are_written_here() {
    let spec = |url: &str, text: &str, format: &str| {
        test(
            json!([{ "request": { "url": url } }]),
            json!({ "data": [{ "name": "d", "from": { "inline": text }, "format": format }] }),
        )
    };
    plan(&spec("/$(d.id)", "\u{feff}id,name\n1,a\n", "Csv"));
    plan(&spec("/$(d.id)", "{\"id\":1}\n", "JsonLines"));
    for (text, format, expected) in [
        (
            "name\n1\n",
            "Csv",
            "request.url: $(d.id) is not known: the data, with the columns name, has no \"id\"",
        ),
        ("id\n", "Csv", "from.inline: has column names but no rows"),
        (
            "id,id\n1,2\n",
            "Csv",
            "from.inline: line 1 has \"id\" twice",
        ),
        ("{\"id\":1}\n[]\n", "JsonLines", "from.inline: line 2"),
    ] {
        let said = refused(&spec("/$(d.id)", text, format)).join("\n");
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}

#[test]
fn documents_are_chosen_as_the_manifest_says() {
    let results = |raw: Value| {
        let search = json!({ "urls": ["http://search"], "raw": raw, "spoolLimit": "3Gi" });
        let spec = test(
            json!([get("/")]),
            json!({ "results": { "elasticsearch": search } }),
        );
        plan(&spec).results
    };
    let slow = Duration::from_millis(500);
    assert_eq!(
        results(json!({ "mode": "ErrorsAndSlow" })).raw(),
        RawMode::ErrorsAndSlow { slower_than: slow }
    );
    assert_eq!(
        results(json!({ "mode": "Sample" })).raw(),
        RawMode::Sample {
            per_million: 100_000,
            slower_than: None
        }
    );
    let fine = json!({ "mode": "Sample", "sampleRate": "0.05%", "slowerThan": "2s" });
    assert_eq!(
        results(fine).raw(),
        RawMode::Sample {
            per_million: 500,
            slower_than: Some(Duration::from_secs(2))
        }
    );
    assert_eq!(results(json!({})).spool_limit, 3 << 30);
}

#[test]
fn streams_are_named_and_kept_as_the_manifest_says() {
    let results = |search: Value| {
        let mut written = json!({ "urls": ["http://search"] });
        written
            .as_object_mut()
            .unwrap()
            .append(&mut search.as_object().unwrap().clone());
        let spec = test(
            json!([get("/")]),
            json!({ "results": { "elasticsearch": written } }),
        );
        let server = plan(&spec).results.elasticsearch.unwrap();
        (server.data_stream_prefix, server.manage_templates)
    };
    assert_eq!(results(json!({})), ("loadtest".to_owned(), true));
    let own = json!({ "dataStreamPrefix": "perf.shop", "manageTemplates": false });
    assert_eq!(results(own), ("perf.shop".to_owned(), false));
}

#[test]
fn thresholds_look_at_groups() {
    let spec = test(
        json!([{ "group": { "name": "a", "flow": "page" } }, { "group": { "name": "b", "flow": "page" } }]),
        json!({
            "target": { "url": "http://shop", "traceSampling": "1%" },
            "flows": [{ "name": "page", "steps": [get("/")] }],
            "thresholds": [
                { "expr": "group.p95 < 1s" },
                { "expr": "group.p95 < 2s", "selector": { "group": "b" } },
                { "expr": "group.max < 2s", "selector": { "scenario": "main" } },
                { "expr": "latency.p95 < 2s", "selector": { "scenario": "main" } },
            ]
        }),
    );
    let plan = plan(&spec);
    assert_eq!(plan.target.traces_per_million, 10_000);
    let looks: Vec<_> = plan
        .thresholds
        .iter()
        .map(|threshold| (threshold.series.clone(), threshold.groups.clone()))
        .collect();
    assert_eq!(
        looks,
        [
            (None, None),
            (None, Some(vec![1])),
            (None, Some(vec![0, 1])),
            (Some(vec![0]), None),
        ]
    );
    assert!(matches!(plan.thresholds[0].metric, Metric::Group(_)));
}
