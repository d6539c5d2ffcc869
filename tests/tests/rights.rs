//! The operator has the rights it needs and no other: what the audit log of the cluster tells of it,
//! beside the roles that the chart gave it.
//!
//! Run by `make e2e`, as the last: it judges what all other tests made the operator do.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::{self, Namespace, OPERATOR_NAMESPACE, state_folder},
    wait,
};
use serde_json::Value;

const OPERATOR: &str = "system:serviceaccount:loadtest-system:loadtest-operator";
const NAME: &str = "loadtest-operator";

/// API group, resource with its subresource, verb.
type Right = (String, String, String);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn operator(arguments: &[&str]) -> Result<String> {
    cluster::ok(&[&["-n", OPERATOR_NAMESPACE], arguments].concat(), "")
}

fn granted() -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    let own = format!("role/{NAME}-own");
    for role in [&format!("clusterrole/{NAME}"), &own] {
        let role: Value = serde_json::from_str(&operator(&["get", role, "-o", "json"])?)?;
        for rule in role["rules"].as_array().context("no rules")? {
            let of = |key: &str| {
                rule[key]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(text)
                    .collect::<Vec<_>>()
            };
            for group in of("apiGroups") {
                for resource in of("resources") {
                    let right = |verb| (group.clone(), resource.clone(), verb);
                    rights.extend(of("verbs").into_iter().map(right));
                }
            }
        }
    }
    Ok(rights)
}

/// What the operator did, and what it was forbidden.
fn seen() -> Result<(BTreeSet<Right>, BTreeSet<Right>)> {
    let log = fs::read_to_string(state_folder().join("log/audit.log"))?;
    let (mut used, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if entry["user"]["username"] != OPERATOR {
            continue;
        }
        let object = &entry["objectRef"];
        let mut resource = text(&object["resource"]);
        if let Some(part) = object["subresource"].as_str() {
            resource = format!("{resource}/{part}");
        }
        let right = |verb: &str| (text(&object["apiGroup"]), resource.clone(), verb.to_owned());
        let verb = text(&entry["verb"]);
        if entry["annotations"]["authorization.k8s.io/decision"] == "forbid" {
            forbidden.insert(right(&verb));
            continue;
        }
        // An apply that makes the object needs the right to create it, too.
        if verb == "patch" && entry["responseStatus"]["code"] == 201 {
            used.insert(right("create"));
        }
        used.insert(right(&verb));
    }
    Ok((used, forbidden))
}

/// A Lease that somebody deletes is made anew by its holder.
fn lose_the_lease() -> Result<()> {
    let uid = ["get", "lease", NAME, "-o", "jsonpath={.metadata.uid}"];
    let before = operator(&uid)?;
    operator(&["delete", "lease", NAME])?;
    wait::until("the Lease to be made anew", Duration::from_secs(20), || {
        Ok(operator(&uid).ok().filter(|uid| *uid != before))
    })?;
    Ok(())
}

fn manifest(name: &str, more: &str, url: &str) -> String {
    format!(
        "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: {name} }}
spec:
  {more}
  target: {{ url: \"http://nowhere\" }}
  scenarios:
    - name: main
      load: {{ constantUsers: {{ users: 1, duration: 1s }} }}
      tasks: [ {{ steps: [ {{ request: {{ url: \"{url}\" }} }} ] }} ]
"
    )
}

/// Of two runs, which end at once because there is no room for a pod, the older is not kept.
fn keep_one_run() -> Result<()> {
    let namespace = Namespace::new("keep")?;
    namespace.kubectl(&["create", "quota", "none", "--hard=pods=0"])?;
    wait::until("the quota to be counted", Duration::from_secs(20), || {
        let quota = namespace.get("quota/none")?;
        Ok(quota["status"]["used"]["pods"].is_string().then_some(()))
    })?;
    for token in 1..=2 {
        let more = format!("runToken: {token}\n  cleanup: {{ keepRuns: 1 }}");
        namespace.apply(&manifest("keep", &more, "/"))?;
        namespace.wait_finished("ltest/keep", Duration::from_mins(1))?;
    }
    wait::until("the first run to go", Duration::from_secs(30), || {
        let runs = namespace.kubectl(&["get", "ltrun", "-o", "name"])?;
        Ok((runs.trim() == "loadtestrun.loadtest.dev/keep-2").then_some(()))
    })
}

/// The same event twice is one event with a count.
fn be_refused_twice() -> Result<()> {
    let namespace = Namespace::new("rights")?;
    let manifest = |url: &str| manifest("typo", "suspend: true", url);
    for (url, accepted) in [
        ("/$(var.id)", "False"),
        ("/", "True"),
        ("/$(var.id)", "False"),
    ] {
        namespace.apply(&manifest(url))?;
        let condition = format!("--for=condition=Accepted={accepted}");
        namespace.kubectl(&["wait", &condition, "ltest/typo", "--timeout=30s"])?;
    }
    wait::until("the event to be counted", Duration::from_secs(20), || {
        let events = namespace.kubectl(&["get", "events.events.k8s.io", "-o", "json"])?;
        Ok(events.contains("\"series\"").then_some(()))
    })
}

#[test]
#[ignore = "needs a cluster with the operator, after all other tests: make e2e"]
fn every_granted_right_is_used_and_no_other_is_asked_for() -> Result<()> {
    lose_the_lease()?;
    be_refused_twice()?;
    keep_one_run()?;
    let (used, mut forbidden) = seen()?;
    // takeover.rs takes this right away to see what the operator does then.
    forbidden.retain(|(_, resource, _)| resource != "leases");
    ensure!(
        forbidden.is_empty(),
        "not granted but tried: {forbidden:#?}"
    );
    let granted = granted()?;
    let unused: Vec<_> = granted.difference(&used).collect();
    ensure!(
        unused.is_empty(),
        "granted but used by no test: {unused:#?}"
    );
    Ok(())
}
