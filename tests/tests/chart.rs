//! The Helm chart: what it makes of a matrix of values, what it refuses, and what is written about it.
//!
//! Tests that call Helm are run by `make test-api`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

mod chart {
    pub mod helm;
    pub mod objects;
    pub mod values;
}

use std::{collections::BTreeSet, fs};

use chart::{
    helm::{self, Release},
    objects::{Object, labels, strictly},
    values,
};
use loadtest_operator::rails::GuardRails;
use loadtest_tests::root;
use serde_json::{Value, json};

/// Every combination of what changes the shape of the release.
fn matrix() -> Vec<Release> {
    let mut all = Vec::new();
    for bits in 0..32 {
        let on = |bit: u32| bits & (1 << bit) != 0;
        let mut values = json!({
            "replicas": if on(0) { 2 } else { 1 },
            "networkPolicy": {"enabled": on(2)},
            "metrics": {
                "serviceMonitor": {"enabled": on(3)},
                "prometheusRule": {"enabled": on(3), "labels": {"release": "prometheus"}},
            },
            "dashboards": {"grafana": {"enabled": on(3)}, "kibana": {"enabled": on(4)}},
            "crds": {"install": on(4)},
        });
        if on(1) {
            values["watchNamespace"] = json!("perf");
        }
        all.push(Release::new("loadtest", values));
    }
    all.push(Release::new("loadtest", json!({})));
    all.push(Release::new("loadtest", everything()));
    // Words that YAML takes for something else.
    all.push(Release::new(
        "on",
        json!({"fullnameOverride": "no", "watchNamespace": "off"}),
    ));
    let long = "a-release-whose-name-is-as-long-as-helm-lets-it-be-12";
    all.push(Release::new(long, json!({"replicas": 3})));
    all.push(Release::new(
        "x",
        json!({"fullnameOverride": "load", "nameOverride": "n"}),
    ));
    all
}

/// A value for every key.
fn everything() -> Value {
    json!({
        "replicas": 3,
        "image": {"repository": "r.example/op", "tag": "7", "pullPolicy": "Always"},
        "imagePullSecrets": ["pull"],
        "runner": {
            "image": {"repository": "r.example/run", "tag": "8", "pullPolicy": "Never"},
            "imagePullSecrets": ["pull", "other"],
            "resources": {"requests": {"cpu": 2, "memory": "1Gi"}},
            "exporterResources": {"limits": {"memory": "512Mi"}},
            "poolSize": "256Mi",
        },
        "crds": {"install": true, "keep": false},
        "rbac": {"aggregateToView": false, "aggregateToEdit": true},
        "serviceAccount": {"name": "op", "annotations": {"a.example/b": "c"}},
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "podDisruptionBudget": {"enabled": true},
        "networkPolicy": {
            "enabled": true,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
        },
        "metrics": {
            "serviceMonitor": {"enabled": true, "labels": {"a": "b"}, "interval": "30s"},
            "prometheusRule": {"enabled": true, "labels": {"a": "b"}},
        },
        "guardRails": {
            "maxConcurrentRuns": 20,
            "limits": {
                "targetHosts": ["*.perf.svc", "shop:8080"], "maxUsers": 1_000_000,
                "maxRate": "500/s", "maxRunners": 10, "maxDuration": "2h", "maxConcurrentRuns": 2,
            },
            "namespaces": {"big": {"maxRunners": 1000, "targetHosts": ["*"]}},
        },
        "resultProfiles": {"default": {
            "urls": ["https://es:9200"], "flavor": "Elasticsearch",
            "authRef": {"basic": {"name": "es-user"}},
            "tls": {"caRef": {"configMap": {"name": "es-ca", "key": "ca.crt"}}},
            "raw": {"mode": "ErrorsAndSlow", "slowerThan": "1s"},
            "drainTimeout": "1m", "spoolLimit": "1Gi",
            "dataStreamPrefix": "perf", "manageTemplates": false,
        }},
        "dashboards": {
            "grafana": {
                "enabled": true,
                "labels": {"grafana_dashboard": "yes"},
                "annotations": {"grafana_folder": "Load tests"},
            },
            "kibana": {"enabled": true},
        },
        "log": {"level": "debug", "format": "json"},
        "podAnnotations": {"a.example/b": "true"},
        "podLabels": {"team": "perf"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}},
        ]}},
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"a": "b"}},
        }],
        "priorityClassName": "system-cluster-critical",
    })
}

/// A search server is described by the same fields in a test and in the chart.
#[test]
fn result_profiles_have_every_field_of_a_search_server() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let values: Value =
        serde_json::from_str(&read("charts/loadtest-operator/values.schema.json")).unwrap();
    let profile = &values["properties"]["resultProfiles"]["additionalProperties"]["properties"];
    let definition = loadtest_crds::crd::load_test();
    let spec = &loadtest_crds::crd::schema(&definition)["properties"]["spec"]["properties"];
    let server = &spec["results"]["properties"]["elasticsearch"]["properties"];
    let names = |of: &Value| -> BTreeSet<String> {
        let members = of.as_object().unwrap();
        members
            .keys()
            .filter(|name| *name != "profile")
            .cloned()
            .collect()
    };
    assert_eq!(names(profile), names(server));
}

#[test]
#[ignore = "needs helm: make test-api"]
fn every_combination_of_values_makes_a_release_that_fits_together() {
    for release in matrix() {
        let objects = release.objects();
        let about = &release.values;
        for object in &objects {
            if let Err(problem) = strictly(&object.0) {
                panic!("{} of {about}: {problem}", object.title());
            }
        }
        let titles: BTreeSet<String> = objects.iter().map(Object::title).collect();
        assert_eq!(
            titles.len(),
            objects.len(),
            "two objects of one name: {about}"
        );
        fits_together(&objects, about);
        least_privilege(&objects, about);
        restricted(&objects, about);
    }
}

fn one<'a>(objects: &'a [Object], kind: &str, suffix: &str) -> &'a Object {
    let mut found = objects
        .iter()
        .filter(|object| object.kind() == kind && object.name().ends_with(suffix));
    let object = found
        .next()
        .unwrap_or_else(|| panic!("no {kind} …{suffix}"));
    assert!(found.next().is_none(), "two {kind} …{suffix}");
    object
}

fn fits_together(objects: &[Object], about: &Value) {
    let deployment = &one(objects, "Deployment", "").0;
    let template = &deployment["spec"]["template"];
    let pod = labels(&template["metadata"]["labels"]);
    let selected = |selector: &Value| labels(selector).is_subset(&pod);
    assert!(
        selected(&deployment["spec"]["selector"]["matchLabels"]),
        "{about}"
    );
    let service = objects
        .iter()
        .find(|object| object.kind() == "Service" && object.0["spec"]["selector"].is_null())
        .unwrap();
    for object in objects {
        let spec = &object.0["spec"];
        match object.kind() {
            "PodDisruptionBudget" => assert!(selected(&spec["selector"]["matchLabels"])),
            "NetworkPolicy" => assert!(selected(&spec["podSelector"]["matchLabels"])),
            "Service" if !spec["selector"].is_null() => {
                assert!(selected(&spec["selector"]));
                let monitor = &one(objects, "ServiceMonitor", "").0["spec"];
                let wanted = labels(&monitor["selector"]["matchLabels"]);
                let labels = labels(&object.0["metadata"]["labels"]);
                assert!(wanted.is_subset(&labels));
                assert_eq!(monitor["endpoints"][0]["port"], spec["ports"][0]["name"]);
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let role = &object.0["roleRef"];
                let title = (
                    role["kind"].as_str().unwrap(),
                    role["name"].as_str().unwrap(),
                );
                let found = objects
                    .iter()
                    .any(|o| (o.kind(), o.name()) == title && o.namespace() == object.namespace());
                assert!(found, "{} binds {role}", object.title());
                let subject = &object.0["subjects"][0];
                assert_eq!(subject["name"], template["spec"]["serviceAccountName"]);
                assert_eq!(subject["namespace"], helm::NAMESPACE);
            }
            _ => {}
        }
    }
    let container = &template["spec"]["containers"][0];
    let env = |name: &str| {
        let all = container["env"].as_array().unwrap();
        let found = all
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap();
        found["value"].as_str().unwrap_or_default().to_owned()
    };
    let url = format!("https://{}.{}.svc:8443", service.name(), helm::NAMESPACE);
    assert_eq!(env("LOADTEST_CONTROL_URL"), url);
    assert_eq!(env("LOADTEST_SERVICE"), service.name());
    assert_eq!(env("LOADTEST_LEASE"), one(objects, "Lease", "").name());
    assert_eq!(env("LOADTEST_CA_SECRET"), one(objects, "Secret", "").name());
    // The operator may touch exactly these, by name.
    let own = &one(objects, "Role", "-own").0["rules"];
    let named = |resource: &str| {
        let rules = own.as_array().unwrap().iter();
        let mut names = rules
            .filter(|rule| rule["resources"][0] == resource)
            .filter_map(|rule| rule["resourceNames"][0].as_str());
        names.next().unwrap().to_owned()
    };
    assert_eq!(named("secrets"), env("LOADTEST_CA_SECRET"));
    assert_eq!(named("leases"), env("LOADTEST_LEASE"));
    assert_eq!(
        named("endpointslices"),
        format!("{}-leader", service.name())
    );
}

fn least_privilege(objects: &[Object], about: &Value) {
    let namespaced = about["watchNamespace"].is_string();
    for object in objects {
        let kind = object.kind();
        let cluster_wide = matches!(kind, "ClusterRole" | "ClusterRoleBinding");
        assert!(
            !(namespaced && cluster_wide),
            "{} of {about}",
            object.title()
        );
        for rule in object.0["rules"].as_array().into_iter().flatten() {
            let text = rule.to_string();
            assert!(!text.contains('*'), "{}: {text}", object.title());
            let secrets = text.contains("\"secrets\"");
            assert!(!secrets || rule["resourceNames"].is_array(), "{text}");
        }
        if kind == "Lease" {
            assert!(
                object.0["spec"].is_null(),
                "an upgrade would take the lease away"
            );
        }
    }
    let replicas = about["replicas"].as_i64().unwrap_or(1);
    let budgets = objects.iter().filter(|o| o.kind() == "PodDisruptionBudget");
    assert_eq!(budgets.count(), usize::from(replicas > 1), "{about}");
    let edit = objects
        .iter()
        .find(|o| o.name().ends_with("-edit"))
        .unwrap();
    let granted = edit.0["metadata"]["labels"]
        .to_string()
        .contains("aggregate-to");
    let asked = about["rbac"]["aggregateToEdit"] == true && !namespaced;
    assert_eq!(granted, asked, "{about}");
}

/// The *restricted* Pod Security Standard.
fn restricted(objects: &[Object], about: &Value) {
    let pod = &one(objects, "Deployment", "").0["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{about}");
    let seccomp = &pod["securityContext"]["seccompProfile"];
    assert_eq!(*seccomp, json!({"type": "RuntimeDefault"}));
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    for container in pod["containers"].as_array().unwrap() {
        assert_eq!(container["securityContext"], expected);
        assert!(container["livenessProbe"].is_object() && container["readinessProbe"].is_object());
    }
}

#[test]
#[ignore = "needs helm: make test-api"]
fn the_crds_are_the_generated_ones_and_outlive_the_release() {
    for (keep, values) in [(true, json!({})), (false, json!({"crds": {"keep": false}}))] {
        let objects = Release::new("loadtest", values).objects();
        let mut crds: Vec<_> = objects
            .into_iter()
            .filter(|object| object.kind() == "CustomResourceDefinition")
            .collect();
        assert_eq!(crds.len(), 2);
        for crd in &mut crds {
            let policy = &crd.0["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(*policy == "keep", keep, "{policy}");
            let metadata = crd.0["metadata"].as_object_mut().unwrap();
            metadata.remove("annotations");
            metadata.remove("labels");
            let file = format!("charts/loadtest-operator/files/crds/{}.yaml", crd.name());
            let committed = helm::parse(&fs::read_to_string(root().join(file)).unwrap());
            assert_eq!(committed, std::slice::from_ref(&crd.0));
        }
    }
}

/// What the schema of the values takes, the operator takes.
#[test]
#[ignore = "needs helm: make test-api"]
fn guard_rails_reach_the_operator() {
    let objects = Release::new("loadtest", everything()).objects();
    let map = one(&objects, "ConfigMap", "-config");
    let config = map.0["data"]["config.yaml"].as_str().unwrap();
    let rails = GuardRails::parse(config).unwrap_or_else(|problems| panic!("{problems}\n{config}"));
    assert!(rails.has_queue());
    assert!(config.contains("maxUsers: 1000000"), "{config}");
    let pod = &one(&objects, "Deployment", "").0["spec"]["template"];
    let volume = &pod["spec"]["volumes"][0];
    assert_eq!(volume["configMap"]["name"], map.name());
    let container = &pod["spec"]["containers"][0];
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let env = container["env"].as_array().unwrap();
    let file = env.iter().find(|one| one["name"] == "LOADTEST_CONFIG");
    assert_eq!(file.unwrap()["value"], format!("{mounted}/config.yaml"));
    // Another file makes other pods: it is read at their start.
    let hash = |objects: &[Object]| {
        let pod = &one(objects, "Deployment", "").0["spec"]["template"]["metadata"];
        pod["annotations"]["loadtest.dev/config"].clone()
    };
    let mut other = everything();
    other["guardRails"]["limits"]["maxUsers"] = json!(5);
    let other = Release::new("loadtest", other).objects();
    assert!(hash(&objects).is_string() && hash(&objects) != hash(&other));
    let default = Release::new("loadtest", json!({})).objects();
    assert!(hash(&default).is_null());
}

#[test]
#[ignore = "needs helm: make test-api"]
fn dashboards_reach_the_cluster_as_they_are() {
    let maps = |values| {
        let mut objects = Release::new("loadtest", values).objects();
        objects
            .retain(|object| object.kind() == "ConfigMap" && !object.name().ends_with("-config"));
        objects
    };
    assert_eq!(maps(json!({})).len(), 0);
    let mut found = BTreeSet::new();
    for map in maps(everything()) {
        let tool = match map.name() {
            "loadtest-operator-kibana" => "kibana",
            _ => "grafana",
        };
        let metadata = &map.0["metadata"];
        let loaded = &metadata["labels"]["grafana_dashboard"];
        assert_eq!(*loaded == "yes", tool == "grafana", "{}", map.name());
        for (name, text) in map.0["data"].as_object().unwrap() {
            let file = format!("charts/loadtest-operator/files/dashboards/{tool}/{name}");
            let committed = fs::read_to_string(root().join(&file)).unwrap();
            assert_eq!(*text, committed, "{file}");
            found.insert(format!("{tool}/{name}"));
        }
        // A ConfigMap holds 1 MiB.
        assert!(map.0["data"].to_string().len() < 512 * 1024);
    }
    assert_eq!(found.len(), 7, "{found:?}");
}

#[test]
#[ignore = "needs helm: make test-api"]
fn unknown_and_wrong_values_are_refused_by_name() {
    for (values, word) in [
        (json!({"replica": 2}), "replica"),
        (json!({"replicas": 0}), "replicas"),
        (json!({"replicas": "two"}), "replicas"),
        (json!({"image": {"tga": "1"}}), "tga"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "pullPolicy"),
        (
            json!({"runner": {"image": {"repository": ""}}}),
            "repository",
        ),
        (json!({"runner": {"poolSize": "much"}}), "poolSize"),
        (json!({"resources": {"request": {}}}), "request"),
        (
            json!({"resources": {"limits": {"memory": "256 MB"}}}),
            "memory",
        ),
        (json!({"watchNamespace": "Perf"}), "watchNamespace"),
        (json!({"crds": {"instal": true}}), "instal"),
        (
            json!({"rbac": {"aggregateToEdit": "yes"}}),
            "aggregateToEdit",
        ),
        (
            json!({"metrics": {"serviceMonitor": {"interval": "often"}}}),
            "interval",
        ),
        (json!({"guardRails": {"limits": {"maxUser": 5}}}), "maxUser"),
        (json!({"guardRails": {"limits": {"maxRate": 5}}}), "maxRate"),
        (
            json!({"guardRails": {"namespaces": {"perf": {"maxDuration": "2d"}}}}),
            "maxDuration",
        ),
        (json!({"resultProfiles": {"big": {"url": "x"}}}), "urls"),
        (json!({"metrics": {"rules": {}}}), "rules"),
        (json!({"dashboards": {"kibana": {"labels": {}}}}), "labels"),
        (
            json!({"networkPolicy": {"metricsFrom": [{}]}}),
            "metricsFrom",
        ),
        (json!({"log": {"format": "xml"}}), "format"),
        (json!({"affinity": {"nodeAfinity": {}}}), "nodeAfinity"),
        (json!({"podLabels": {"a": 1}}), "podLabels"),
        (json!({"fullnameOverride": "1st"}), "fullnameOverride"),
    ] {
        match Release::new("loadtest", values.clone()).render() {
            Ok(_) => panic!("{values} was taken"),
            Err(said) => assert!(said.contains(word), "{values}: {said}"),
        }
    }
}

#[test]
#[ignore = "needs helm: make test-api"]
fn alerts_ask_only_for_metrics_labels_and_values_that_exist() {
    let values = json!({"metrics": {"prometheusRule": {"enabled": true}}});
    let objects = Release::new("loadtest", values).objects();
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = |text: &str| -> BTreeSet<String> {
        let codes = page.lines().filter(|line| line.starts_with("| `"));
        codes
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    };
    let mut checked = 0;
    let groups = &one(&objects, "PrometheusRule", "").0["spec"]["groups"];
    for rule in groups[0]["rules"].as_array().unwrap() {
        let expr = rule["expr"].as_str().unwrap();
        for (metric, selector) in values::selectors(expr) {
            let family = metric.trim_end_matches("_bucket");
            assert!(
                !rows(&format!("| `{family}` |")).is_empty(),
                "no {metric}: {expr}"
            );
            for (label, alternatives) in selector {
                if label == "namespace" {
                    continue;
                }
                for value in alternatives.split('|') {
                    let row = format!("| `{label}` | `{value}` |");
                    assert!(!rows(&row).is_empty(), "no {label}={value:?}: {expr}");
                }
            }
            checked += 1;
        }
    }
    assert!(checked >= 6, "only {checked} metrics are asked for");
}

/// `LOADTEST_BLESS=1` writes the table anew.
#[test]
fn the_readme_tells_of_every_value() {
    let folder = root().join("charts/loadtest-operator");
    let table = values::table(&fs::read_to_string(folder.join("values.yaml")).unwrap());
    let file = folder.join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let (before, rest) = readme.split_once(values::BEGIN).unwrap();
    let (_, after) = rest.split_once(values::END).unwrap();
    let current = format!("{before}{}\n{table}{}{after}", values::BEGIN, values::END);
    if std::env::var_os("LOADTEST_BLESS").is_some() {
        fs::write(&file, &current).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap();
    assert!(
        committed == current,
        "the chart's README.md is stale: LOADTEST_BLESS=1 cargo test -p loadtest-tests --test chart"
    );
}

#[test]
fn the_schema_knows_exactly_the_values() {
    let folder = root().join("charts/loadtest-operator");
    let schema = fs::read_to_string(folder.join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let values = helm::parse(&fs::read_to_string(folder.join("values.yaml")).unwrap());
    values::same_keys(&schema, &values[0], "");
    // And a value of each is in the matrix, but for names, which have a release of their own there.
    let tried = everything();
    for key in values[0].as_object().unwrap().keys() {
        let elsewhere = ["watchNamespace", "nameOverride", "fullnameOverride"];
        assert!(
            tried.get(key).is_some() || elsewhere.contains(&key.as_str()),
            "{key}"
        );
    }
}

#[test]
fn the_chart_sets_every_flag_of_the_operator_and_no_other() {
    let settings = fs::read_to_string(root().join("operator/src/settings.rs")).unwrap();
    let template = root().join("charts/loadtest-operator/templates/deployment.yaml");
    let template = fs::read_to_string(template).unwrap();
    let named = |text: &str, prefix: &str| -> BTreeSet<String> {
        let names = text.split(prefix).skip(1);
        names
            .filter_map(|rest| rest.split(['"', '\n']).next())
            .filter(|name| name.starts_with("LOADTEST_") && !name.ends_with("_LISTEN"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(named(&settings, "env = \""), named(&template, "- name: "));
}

#[test]
fn the_chart_has_the_version_of_the_workspace() {
    let chart = fs::read_to_string(root().join("charts/loadtest-operator/Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for line in ["version", "appVersion"] {
        let line = format!("\n{line}: {version}\n");
        assert!(chart.contains(&line), "no {line:?}");
    }
}
