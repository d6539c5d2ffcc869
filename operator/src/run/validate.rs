//! From what was asked for to a plan, or to the reasons why there is none. Pure.

use std::sync::Arc;

use loadtest_core::{
    identity,
    plan::Plan,
    report::{UnixMicros, micros},
    scalar::format_duration,
};
use loadtest_crds::{Overrides, Problem, Stage, TestSpec, plan};

use super::{
    data::{self, Looked},
    observe::{Found, Observed},
};
use crate::{error::Error, rails::GuardRails};

/// A plan that can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// Their hash.
    pub hash: String,
}

impl Prepared {
    /// A plan with its bytes.
    pub fn new(plan: Plan, bytes: Vec<u8>) -> Self {
        Self {
            plan: Arc::new(plan),
            hash: identity::plan_hash(&bytes),
            bytes,
        }
    }
}

/// Whether a run can be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Validated {
    /// It can.
    Accepted(Box<Prepared>),
    /// It cannot, until somebody makes another.
    Refused(Vec<Problem>),
    /// It cannot as long as something is not there.
    Waits(Vec<Problem>),
}

/// Makes the plan, or takes the one that runners were given.
///
/// # Errors
/// When a plan cannot be written down, which is a defect of ours.
pub fn validate(
    observed: &Observed,
    found: &Found,
    rails: &GuardRails,
    now: UnixMicros,
) -> Result<Validated, Error> {
    let Observed {
        run,
        spec,
        malformed,
        ..
    } = observed;
    let refused = |path: &str, message: String| {
        Ok(Validated::Refused(vec![Problem::new(
            Stage::Acceptance,
            path,
            message,
        )]))
    };
    if let Some(message) = malformed {
        return refused(
            "spec",
            format!("cannot be read by this version of the operator: {message}"),
        );
    }
    if let Some(prepared) = &found.prepared {
        return Ok(Validated::Accepted(Box::new(prepared.clone())));
    }
    let Some(test) = &found.test else {
        let message = format!(
            "there is no LoadTest named {:?} in this namespace",
            run.test
        );
        return refused("spec.loadTestRef.name", message);
    };
    // What is said to the user has the path where it was written.
    let root = if spec.test.is_some() {
        "spec.test"
    } else {
        "spec"
    };
    let looked = match &found.data {
        Some(maps) => data::look(test, maps, &run.namespace, root),
        None => Looked::default(),
    };
    let overrides = Overrides {
        data_columns: looked.columns(),
        ..Overrides::default()
    };
    match plan::build(test, run.identity(), &overrides) {
        Ok(plan) => {
            let mut exceeded: Vec<_> = rails.profile(test, root).into_iter().collect();
            exceeded.extend(rails.check_plan(&run.namespace, &plan, root));
            if exceeded.is_empty() {
                settle(plan, looked, now - run.created)
            } else {
                Ok(Validated::Refused(exceeded))
            }
        }
        Err(problems) => Ok(Validated::Refused(again(test, root, problems))),
    }
}

/// The problems with the paths of `root`.
fn again(test: &TestSpec, root: &str, problems: Vec<Problem>) -> Vec<Problem> {
    plan::accept(test, root).err().unwrap_or(problems)
}

/// What the data says of a plan that is right.
fn settle(mut plan: Plan, looked: Looked, age: UnixMicros) -> Result<Validated, Error> {
    if !looked.unusable.is_empty() {
        return Ok(Validated::Refused(looked.unusable));
    }
    if looked.missing.is_empty() {
        looked.sign(&mut plan);
        let bytes = plan
            .to_bytes()
            .map_err(|error| Error::broken("the plan", error))?;
        return Ok(Validated::Accepted(Box::new(Prepared::new(plan, bytes))));
    }
    if age < micros(plan.start_timeout) {
        return Ok(Validated::Waits(looked.missing));
    }
    let waited = format_duration(plan.start_timeout);
    let late = looked.missing.into_iter().map(|problem| Problem {
        message: format!("{} (startTimeout {waited} is over)", problem.message),
        ..problem
    });
    Ok(Validated::Refused(late.collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::DynamicObject;
    use loadtest_crds::LoadTestRunSpec;
    use serde_json::json;

    use super::*;
    use crate::run::{data::ConfigMaps, fixtures, observe::Run};

    fn validated(url: &str, users: Option<&str>, cancel: bool, age: Duration) -> Validated {
        validated_within("", url, users, cancel, age)
    }

    fn validated_within(
        rails: &str,
        url: &str,
        users: Option<&str>,
        cancel: bool,
        age: Duration,
    ) -> Validated {
        let mut test = fixtures::spec();
        let data = json!([{"name": "users",
            "from": {"configMapRef": {"name": "shop", "key": "users.csv"}}}]);
        test.data = serde_json::from_value(data).unwrap();
        let tasks = json!([{"name": "main", "steps": [{"request": {"url": url}}]}]);
        test.scenarios[0].tasks = serde_json::from_value(tasks).unwrap();
        let spec: LoadTestRunSpec = serde_json::from_value(json!({"cancel": cancel})).unwrap();
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "loadtest.dev/v1alpha1", "kind": "LoadTestRun",
            "metadata": {"name": "shop-1", "namespace": "perf", "uid": "u"},
        }))
        .unwrap();
        let run = Run::new(&object, &spec);
        let map = users.map(|text| {
            let map = json!({"data": {"users.csv": text}});
            serde_json::from_value(map).unwrap()
        });
        let maps: ConfigMaps = [("shop".to_owned(), map)].into();
        let found = Found {
            test: Some(test),
            prepared: None,
            start: None,
            early_end: None,
            judged: None,
            data: (!cancel).then_some(maps),
        };
        let now = run.created + micros(age);
        let observed = Observed {
            run,
            spec,
            malformed: None,
            status: None,
            deleting: false,
            finished: false,
            pods: Vec::new(),
            trouble: None,
            job: None,
            found: None,
        };
        let rails = GuardRails::parse(rails).unwrap();
        validate(&observed, &found, &rails, now).unwrap()
    }

    fn first(problems: &[Problem]) -> String {
        problems.first().map(Problem::sentence).unwrap_or_default()
    }

    #[test]
    fn data_is_awaited_as_long_as_runners_are_and_then_refused() {
        let missing = "spec.data[0].from.configMapRef: there is no ConfigMap \"shop\" with the key \"users.csv\" in namespace \"perf\": create it, and the run goes on";
        let young = validated("/$(users.id)", None, false, Duration::from_secs(119));
        let Validated::Waits(problems) = young else {
            panic!("{young:?}")
        };
        assert_eq!(first(&problems), missing);
        let old = validated("/$(users.id)", None, false, Duration::from_mins(2));
        let Validated::Refused(problems) = old else {
            panic!("{old:?}")
        };
        assert_eq!(
            first(&problems),
            format!("{missing} (startTimeout 2m is over)")
        );
        // A run that is cancelled needs no data.
        let cancelled = validated("/$(users.id)", None, true, Duration::ZERO);
        assert!(matches!(cancelled, Validated::Accepted(_)), "{cancelled:?}");
    }

    #[test]
    fn what_exceeds_the_guard_rails_is_refused_before_data_is_awaited() {
        let rails = "namespaces: { perf: { targetHosts: [\"*.perf.svc\"] } }";
        let refused = validated_within(rails, "/$(users.id)", None, false, Duration::ZERO);
        let Validated::Refused(problems) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            first(&problems),
            "spec.target.url: shop:8443 is no host that load may be sent to: namespaces.perf.targetHosts of the operator's configuration allows *.perf.svc"
        );
    }

    #[test]
    fn data_is_in_the_plan_by_its_hash_and_its_columns_are_checked() {
        let content = "id,name\n1,ada\n";
        let right = validated("/$(users.id)", Some(content), false, Duration::ZERO);
        let Validated::Accepted(prepared) = right else {
            panic!("{right:?}")
        };
        let hash = identity::content_hash(content.as_bytes());
        assert_eq!(prepared.plan.inputs.data[0].sha256, Some(hash));
        let wrong = validated("/$(users.mail)", Some(content), false, Duration::ZERO);
        let Validated::Refused(problems) = wrong else {
            panic!("{wrong:?}")
        };
        let said = first(&problems);
        assert!(said.contains("users.mail") && said.contains("id"), "{said}");
        let ragged = validated("/$(users.id)", Some("id,name\n1\n"), false, Duration::ZERO);
        assert!(matches!(ragged, Validated::Refused(_)), "{ragged:?}");
    }
}
