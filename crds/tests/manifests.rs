//! Manifests that must be taken and manifests that must be refused, with the sentence. The same
//! files are applied to a real API server by the tests crate, so that both refuse the same.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use loadtest_crds::{Stage, crd, validate_yaml, yaml};
use serde_json::{Value, json};

fn manifests(kind: &str) -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/manifests")
        .join(kind);
    let mut files = Vec::new();
    collect(directory, &mut files);
    files.sort();
    files
}

/// Every manifest in a directory and those below it.
fn collect(directory: PathBuf, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(path).unwrap()));
        }
    }
}

/// The manifests in the texts, and the parts of manifests put into a whole one.
fn documented() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|page| page.unwrap().path());
    let mut pages: Vec<_> = pages.chain([root.join("README.md")]).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let values = fs::read_to_string(root.join("charts/loadtest-operator/values.yaml")).unwrap();
    let values = yaml::parse(&values).unwrap()[0].to_json();
    let of_the_chart = |part: &Value| {
        let members = part.as_object();
        members.is_some_and(|part| part.keys().all(|name| values.get(name).is_some()))
    };
    let mut found = Vec::new();
    for page in pages {
        let (name, text) = (
            page.display().to_string(),
            fs::read_to_string(&page).unwrap(),
        );
        for (index, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap();
            let value = yaml::parse(block).unwrap()[0].to_json();
            let whole = match value["apiVersion"].as_str() {
                Some(version) if version.starts_with("loadtest.dev/") => block.to_owned(),
                Some(_) => continue,
                None if value["metadata"].is_object() || of_the_chart(&value) => continue,
                None => put_into_a_test(&value),
            };
            found.push((format!("{name}, block {}", index + 1), whole));
        }
    }
    assert!(found.len() > 25, "{} examples", found.len());
    found
}

/// Each member of a part goes where the manifest has it.
fn put_into_a_test(members: &Value) -> String {
    let mut whole = json!({
        "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTest", "metadata": { "name": "part" },
        "spec": {
            "target": { "url": "http://shop" },
            "scenarios": [{
                "name": "main",
                "load": { "constantRate": { "rate": "200/s", "duration": "5m" } },
                "tasks": [{ "steps": [{ "request": { "name": "checkout", "url": "/" } }] }]
            }]
        }
    });
    let definition = crd::load_test();
    let spec = &crd::schema(&definition)["properties"]["spec"]["properties"];
    let scenario = &spec["scenarios"]["items"]["properties"];
    let task = &scenario["tasks"]["items"]["properties"];
    let step = &task["steps"]["items"]["properties"];
    let places = [
        (spec, "/spec"),
        (scenario, "/spec/scenarios/0"),
        (task, "/spec/scenarios/0/tasks/0"),
        (step, "/spec/scenarios/0/tasks/0/steps/0"),
    ];
    let steps = json!({ "steps": members });
    let members = if members.is_array() { &steps } else { members };
    for (name, member) in members.as_object().unwrap() {
        let place = places
            .iter()
            .find(|(members, _)| members[name].is_object())
            .unwrap_or_else(|| panic!("where does {name} go?"));
        whole.pointer_mut(place.1).unwrap()[name] = member.clone();
    }
    whole.to_string()
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("# {name}: ")))
        .unwrap()
}

#[test]
fn bad_manifests_are_refused_with_their_sentence() {
    let bad = manifests("bad");
    assert!(bad.len() >= 25, "{}", bad.len());
    let mut wrong = Vec::new();
    for (name, text) in bad {
        let problems = validate_yaml(&text);
        let sentences: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = header(&text, "refused");
        let by = match header(&text, "by") {
            "schema" => Stage::Schema,
            "acceptance" => Stage::Acceptance,
            other => panic!("{name}: {other}"),
        };
        let told = problems.iter().any(|problem| {
            let sentence = problem.sentence();
            problem.by == by
                && expected
                    .split(" … ")
                    .all(|fragment| sentence.contains(fragment))
        });
        let placed = problems
            .iter()
            .all(|problem| problem.at.is_some_and(|at| at.line > 2));
        if !told || !placed || problems.len() != 1 {
            wrong.push(format!(
                "{name}\n  expected {expected}\n  got      {sentences:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn good_manifests_are_taken() {
    let mut good = manifests("good");
    assert!(good.len() >= 7);
    let examples = manifests("../../../examples").into_iter();
    good.extend(examples.filter(|(_, text)| text.contains("apiVersion: loadtest.dev/")));
    good.extend(documented());
    for (name, text) in good {
        let problems: Vec<_> = validate_yaml(&text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
    }
}

/// Paths of a value's members, items of lists and members of maps under `[]`.
fn members(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (name, member) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][name];
        if known.is_object() {
            members(member, known, &format!("{path}.{name}"), found);
        } else if schema["additionalProperties"].is_object() {
            let inner = &schema["additionalProperties"];
            members(member, inner, &format!("{path}[]"), found);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        members(item, &schema["items"], &format!("{path}[]"), found);
    }
}

fn paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        paths(member, &format!("{path}.{name}"), found);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            paths(&schema[inner], &format!("{path}[]"), found);
        }
    }
}

#[test]
fn every_field_is_in_a_good_manifest() {
    // A flow's steps are a task's steps, and a run's test is a test's spec.
    let same = |path: &String| path.replace("spec.flows[].", "spec.scenarios[].tasks[].");
    let definition = crd::load_test();
    let spec = &crd::schema(&definition)["properties"]["spec"];
    let (mut all, mut used) = (BTreeSet::new(), BTreeSet::new());
    paths(spec, "spec", &mut all);
    for (_, text) in manifests("good").into_iter().chain(documented()) {
        for document in yaml::parse(&text).unwrap() {
            let value = document.to_json();
            let tested = match value["kind"].as_str() {
                Some("LoadTest") => &value["spec"],
                Some("LoadTestRun") => &value["spec"]["test"],
                _ => continue,
            };
            members(tested, spec, "spec", &mut used);
        }
    }
    let all: BTreeSet<_> = all.iter().map(same).collect();
    let used: BTreeSet<_> = used.iter().map(same).collect();
    let unused: Vec<_> = all.difference(&used).collect();
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn problems_name_their_line() {
    let text = "\
apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: { name: a }
spec:
  target: { url: http://a }
  scenarios:
    - name: main
      load: { constantUsers: { users: 1, duration: 1m } }
      tasks:
        - steps:
            - request:
                url: /$(var.x)
                timeot: 1s
";
    let told = |text: &str| {
        validate_yaml(text)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(text),
        [
            "13:17: unknown field \"spec.scenarios[0].tasks[0].steps[0].request.timeot\": did you mean timeout?"
        ]
    );
    assert_eq!(
        told(&text.replace("timeot", "timeout")),
        [
            "12:17: spec.scenarios[0].tasks[0].steps[0].request.url: $(var.x) is not known: spec.variables has no \"x\""
        ]
    );
    assert_eq!(
        told("a: [\n"),
        ["2:1: not YAML: while parsing a node, did not find expected node content"]
    );
    assert_eq!(told(""), ["there is no LoadTest or LoadTestRun in it"]);
    assert_eq!(
        told("apiVersion: v1\nkind: Service\nmetadata: { name: a }\n"),
        ["there is no LoadTest or LoadTestRun in it"]
    );
}
