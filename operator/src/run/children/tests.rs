use std::path::Path;

use loadtest_core::plan::DataSource;

use super::*;
use crate::run::fixtures;

fn resources(change: impl FnOnce(&mut TestSpec)) -> Resources {
    let (run, settings, mut spec) = (
        fixtures::run(),
        fixtures::settings(&["--runner-pull-secrets=registry"]),
        fixtures::spec(),
    );
    let prepared = fixtures::prepared();
    change(&mut spec);
    Blueprint {
        run: &run,
        prepared: &prepared,
        spec: &spec,
        settings: &settings,
        ca: "-----BEGIN CERTIFICATE-----\n",
    }
    .resources()
    .unwrap()
}

/// `UPDATE_SNAPSHOTS=1 cargo test -p loadtest-operator` writes them anew.
fn assert_snapshot(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/run/snapshots")
        .join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, written, "{} is stale", path.display());
}

#[test]
fn the_job_of_a_run() {
    let mut job = resources(|_| ()).job;
    let hash = fixtures::prepared().hash;
    let env = job.pointer("/spec/template/spec/containers/0/env/1/value");
    assert_eq!(env, Some(&json!(hash)));
    // The hash moves with every new field of a plan; the rest must not move unseen.
    let text = job.to_string().replace(&hash, "<plan hash>");
    job = serde_json::from_str(&text).unwrap();
    assert_snapshot("job.json", &job);
}

#[test]
fn the_jobs_types_are_those_of_kubernetes() {
    let job = resources(|spec| spec.runners = None).job;
    let typed: k8s_openapi::api::batch::v1::Job = serde_json::from_value(job.clone()).unwrap();
    // Reading and writing loses no field: each is one that Kubernetes knows.
    assert_eq!(serde_json::to_value(&typed).unwrap(), job);
}

#[test]
fn the_plan_is_packed_with_its_hash() {
    let plan = resources(|_| ()).plan;
    let prepared = fixtures::prepared();
    assert_eq!(plan.metadata.name.as_deref(), Some("shop-3-plan"));
    assert_eq!(
        plan.metadata.annotations.unwrap().get(names::PLAN_HASH),
        Some(&prepared.hash)
    );
    assert_eq!(plan.immutable, Some(true));
    assert_eq!(
        plan.data.unwrap().get("ca.crt").unwrap(),
        "-----BEGIN CERTIFICATE-----\n"
    );
    let packed = &plan.binary_data.unwrap()["plan.json.gz"].0;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut bytes).unwrap();
    assert_eq!(bytes, prepared.bytes);
}

#[test]
fn credentials_are_mounted_into_the_exporter_only() {
    let job = resources(|_| ()).job;
    let mounts = |container: &str| job.pointer(&format!("{container}/volumeMounts")).unwrap();
    let engine = mounts("/spec/template/spec/containers/0").to_string();
    let exporter = mounts("/spec/template/spec/initContainers/0").to_string();
    assert!(!engine.contains("exporter-files"), "{engine}");
    assert!(exporter.contains("exporter-files"), "{exporter}");
    let volumes = job
        .pointer("/spec/template/spec/volumes")
        .unwrap()
        .as_array()
        .unwrap();
    let secret: Vec<_> = volumes
        .iter()
        .filter(|volume| volume.to_string().contains("es-user"))
        .collect();
    assert_eq!(secret.len(), 1);
    assert_eq!(secret[0]["name"], "exporter-files");
}

#[test]
fn what_the_target_is_shown_is_mounted_into_the_engine_only() {
    let job = resources(|_| ()).job;
    let volumes = job.pointer("/spec/template/spec/volumes").unwrap();
    let named = |name: &str| {
        let mut all = volumes.as_array().unwrap().iter();
        all.find(|volume| volume["name"] == name).unwrap()
    };
    let exporter = named("exporter-files").to_string();
    assert!(!exporter.contains("shop-c"), "{exporter}");
    // Where the plan says that they are.
    let tls = &fixtures::prepared().plan.target.tls;
    let certificate = tls.client_certificate.as_ref().unwrap();
    let expected: Vec<_> = [
        tls.ca_file.as_ref().unwrap(),
        &certificate.certificate_file,
        &certificate.key_file,
    ]
    .map(|file| json!(file.strip_prefix("/etc/loadtest/").unwrap()))
    .into();
    let sources = &named("files")["projected"]["sources"];
    let secrets: Vec<_> = sources
        .as_array()
        .unwrap()
        .iter()
        .filter(|source| {
            let name = source["secret"]["name"].as_str();
            name.is_some_and(|name| name.starts_with("shop-c"))
        })
        .flat_map(|source| source["secret"]["items"].as_array().unwrap())
        .map(|item| item["path"].clone())
        .collect();
    assert_eq!(secrets, expected);
    assert!(named("files").to_string().contains("shop-client"));
    let without = resources(|spec| spec.target.tls = None).job.to_string();
    assert!(!without.contains("shop-c"), "{without}");
}

#[test]
fn what_the_search_server_is_shown_is_mounted_into_the_exporter_only() {
    let with = |spec: &mut TestSpec| {
        let search = spec.results.as_mut().unwrap().elasticsearch.as_mut();
        let tls = search.unwrap().tls.as_mut().unwrap();
        tls.client_certificate_ref =
            Some(serde_json::from_value(json!({"name": "es-client"})).unwrap());
    };
    let job = resources(with).job;
    let volumes = job.pointer("/spec/template/spec/volumes").unwrap();
    let mut with_it = volumes
        .as_array()
        .unwrap()
        .iter()
        .filter(|volume| volume.to_string().contains("es-client"));
    let volume = with_it.next().unwrap();
    assert_eq!(
        (&volume["name"], with_it.next()),
        (&json!("exporter-files"), None)
    );
    let paths = volume.to_string();
    for file in ["es-certificate/tls.crt", "es-certificate/tls.key"] {
        assert!(paths.contains(file), "{paths}");
    }
}

#[test]
fn what_templates_draw_from_is_mounted_into_the_engine_where_the_plan_says() {
    let job = resources(|_| ()).job;
    let volumes = job.pointer("/spec/template/spec/volumes").unwrap();
    let named = |name: &str| {
        let mut all = volumes.as_array().unwrap().iter();
        all.find(|volume| volume["name"] == name).unwrap().clone()
    };
    let sources = named("files")["projected"]["sources"].clone();
    let mounted: Vec<String> = sources
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|source| {
            let kind = if source["secret"].is_object() {
                "secret"
            } else {
                "configMap"
            };
            let items = source[kind]["items"].as_array().cloned();
            items.unwrap_or_default()
        })
        .map(|item| format!("{FILES_DIR}/{}", item["path"].as_str().unwrap()))
        .collect();
    let inputs = fixtures::prepared().plan.inputs.clone();
    let data = inputs.data.iter().filter_map(|data| match &data.source {
        DataSource::File(path) => Some(path),
        DataSource::Inline(_) => None,
    });
    let needed: Vec<_> = inputs.secrets.iter().map(|s| &s.path).chain(data).collect();
    assert_eq!(needed.len(), 4);
    for path in needed {
        assert!(mounted.contains(path), "{path} is not in {mounted:?}");
    }
    let exporter = named("exporter-files").to_string();
    for name in ["shop-hmac", "shop-account", "shop-data"] {
        assert!(!exporter.contains(name), "{exporter}");
    }
}

#[test]
fn the_trial_pod_is_what_the_job_would_make() {
    let Resources { trial_pod, job, .. } = resources(|_| ());
    assert_eq!(Some(&trial_pod["spec"]), job.pointer("/spec/template/spec"));
    assert_eq!(trial_pod["metadata"]["namespace"], "perf");
    assert_eq!(trial_pod["metadata"]["labels"]["team"], "shop");
}

#[test]
fn a_template_cannot_take_away_what_pods_are_found_by() {
    let job = resources(|spec| {
        let template = json!({"metadata": {
            "labels": {"loadtest.dev/run": "other"},
            "annotations": {"loadtest.dev/run-id": "other", "karpenter.sh/do-not-disrupt": "false"},
        }});
        let runners = spec.runners.get_or_insert_default();
        runners.template = serde_json::from_value(template).ok();
    })
    .job;
    let metadata = job.pointer("/spec/template/metadata").unwrap();
    assert_eq!(metadata["labels"]["loadtest.dev/run"], "shop-3");
    assert_eq!(
        metadata["annotations"]["loadtest.dev/run-id"],
        fixtures::run().id
    );
    assert_eq!(
        metadata["annotations"]["karpenter.sh/do-not-disrupt"],
        "false"
    );
}
