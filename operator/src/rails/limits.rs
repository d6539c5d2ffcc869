//! What of a test exceeds the limits of its namespace. Pure.

use std::time::Duration;

use loadtest_core::{
    plan::{Load, Plan, RunIdentity},
    scalar::{Rate, format_duration},
};
use loadtest_crds::{Overrides, Problem, Stage, TestSpec, plan};

use super::{GuardRails, duration, hosts::HostPattern};

impl GuardRails {
    /// What a test that is otherwise right exceeds; `root` is the field that it is written in.
    pub fn check(&self, namespace: &str, test: &TestSpec, root: &str) -> Vec<Problem> {
        let mut problems: Vec<_> = self.profile(test, root).into_iter().collect();
        // Not for nothing: a plan costs more than everything else in a reconcile.
        if self.limits_tests(namespace)
            && let Ok(plan) = plan::build(test, RunIdentity::nobody(), &Overrides::default())
        {
            problems.extend(self.check_plan(namespace, &plan, root));
        }
        problems
    }

    /// The same of a test whose plan is known.
    pub fn check_plan(&self, namespace: &str, plan: &Plan, root: &str) -> Vec<Problem> {
        let load = [
            ("scenarios", self.users(namespace, plan)),
            ("scenarios", self.rate(namespace, plan)),
            ("runners.count", self.runners(namespace, plan)),
            ("scenarios", self.length(namespace, plan)),
        ];
        let load = load.into_iter();
        load.filter_map(|(field, message)| Some((field, message?)))
            .chain(self.hosts(namespace, plan))
            .map(|(field, message)| {
                Problem::new(Stage::Acceptance, format!("{root}.{field}"), message)
            })
            .collect()
    }

    fn users(&self, namespace: &str, plan: &Plan) -> Option<String> {
        let limit = self.limit(namespace, "maxUsers", |of| of.max_users.as_ref())?;
        let users = plan.scenarios.iter().map(|s| u64::from(s.load.max_users()));
        let users: u64 = users.sum();
        let most = u64::try_from(*limit.value).unwrap_or(0);
        (users > most).then(|| {
            format!(
                "have {users} users together, at most {most} are allowed by {}: lower users or maxUsers",
                limit.set_in
            )
        })
    }

    fn rate(&self, namespace: &str, plan: &Plan) -> Option<String> {
        let limit = self.limit(namespace, "maxRate", |of| of.max_rate.as_ref())?;
        let most: Rate = limit.value.parse().ok()?;
        let rate: u64 = plan
            .scenarios
            .iter()
            .map(|s| peak_per_minute(&s.load))
            .sum();
        (rate > most.per_minute()).then(|| {
            format!(
                "begin up to {} iterations together, at most {} are allowed by {}: lower their rates",
                rate_text(rate),
                limit.value,
                limit.set_in
            )
        })
    }

    fn runners(&self, namespace: &str, plan: &Plan) -> Option<String> {
        let limit = self.limit(namespace, "maxRunners", |of| of.max_runners.as_ref())?;
        let most = u32::try_from(*limit.value).unwrap_or(0);
        (plan.runners > most).then(|| {
            format!(
                "{} runners are too many, at most {most} are allowed by {}",
                plan.runners, limit.set_in
            )
        })
    }

    fn length(&self, namespace: &str, plan: &Plan) -> Option<String> {
        let limit = self.limit(namespace, "maxDuration", |of| of.max_duration.as_ref())?;
        let length: Duration = plan.load_duration().min(plan.max_duration);
        (length > duration(limit.value)).then(|| {
            format!(
                "last {}, at most {} is allowed by {}",
                format_duration(length),
                limit.value,
                limit.set_in
            )
        })
    }

    /// Hosts that load may not be sent to, each with its field.
    fn hosts(&self, namespace: &str, plan: &Plan) -> Vec<(&'static str, String)> {
        let limit = self.limit(namespace, "targetHosts", |of| of.target_hosts.as_deref());
        let Some(limit) = limit else {
            return Vec::new();
        };
        let allowed: Vec<_> = limit.value.iter().map(|host| host.0.as_str()).collect();
        let message = format!(
            "is no host that load may be sent to: {} allows {}",
            limit.set_in,
            allowed.join(", ")
        );
        let target = &plan.target;
        let mut found = Vec::new();
        // What cannot be read was refused with the file.
        let patterns = limit.value.iter();
        let patterns: Vec<HostPattern> = patterns.filter_map(|host| host.parse().ok()).collect();
        if !patterns.iter().any(|p| p.allows_origin(&target.origin)) {
            found.push(("target.url", target.origin.authority()));
        }
        for rule in &target.allowed_hosts {
            if !patterns.iter().any(|p| p.allows_rule(rule)) {
                let port = rule
                    .port
                    .map_or_else(String::new, |port| format!(":{port}"));
                found.push(("target.allowedHosts", format!("{}{port}", rule.host)));
            }
        }
        // All of the load goes to the proxy first; one that cannot be read is nobody's host.
        if let Some(proxy) = &target.proxy
            && !patterns.iter().any(|p| p.allows_url(proxy))
        {
            found.push(("target.proxy.url", proxy.clone()));
        }
        // Those of absolute urls are the target's or one of allowedHosts.
        let found = found.into_iter();
        found
            .map(|(field, host)| (field, format!("{host} {message}")))
            .collect()
    }

    /// The search server that the test names, when nobody knows it.
    pub fn profile(&self, test: &TestSpec, root: &str) -> Option<Problem> {
        let results = test.results.as_ref()?;
        let name = results.elasticsearch.as_ref()?.profile.as_deref()?;
        let known = &self.file.result_profiles;
        if known.contains_key(name) {
            return None;
        }
        let known: Vec<_> = known.keys().map(String::as_str).collect();
        let has = match known.as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        let message =
            format!("the operator's configuration has no result profile {name:?}: it has {has}");
        let path = format!("{root}.results.elasticsearch.profile");
        Some(Problem::new(Stage::Acceptance, path, message))
    }
}

/// Highest rate of a load, iterations per minute; 0 for closed models, which their users bound.
fn peak_per_minute(load: &Load) -> u64 {
    match load {
        Load::ConstantRate { rate, .. } => rate.per_minute(),
        Load::RampingRate {
            start_rate, stages, ..
        } => stages
            .iter()
            .map(|stage| stage.rate.per_minute())
            .chain([start_rate.per_minute()])
            .max()
            .unwrap_or(0),
        _ => 0,
    }
}

fn rate_text(per_minute: u64) -> String {
    if per_minute.is_multiple_of(60) {
        format!("{}/s", per_minute / 60)
    } else {
        format!("{per_minute}/m")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FILE: &str = "
limits: { targetHosts: [\"*.perf.svc\", \"httpbin\"], maxUsers: 100, maxRate: 50/s, maxRunners: 2, maxDuration: 5m }
namespaces:
  big: { maxUsers: 1000, maxRate: 3001/m, maxRunners: 10, maxDuration: 1h, targetHosts: [\"*:443\"] }
";

    fn said(namespace: &str, change: &Value) -> Vec<String> {
        let mut spec = json!({
            "target": {"url": "http://shop.perf.svc:8080"},
            "scenarios": [
                {"name": "a", "load": {"constantRate": {"rate": "30/s", "duration": "5m", "maxUsers": 60}},
                 "tasks": [{"steps": [{"request": {"url": "/"}}]}]},
                {"name": "b", "load": {"constantUsers": {"users": 40, "duration": "1m"}},
                 "tasks": [{"steps": [{"request": {"url": "/"}}]}]},
            ],
            "runners": {"count": 2},
        });
        for (pointer, value) in change.as_object().into_iter().flatten() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        let spec: TestSpec = serde_json::from_value(spec).unwrap();
        let rails = GuardRails::parse(FILE).unwrap();
        let problems = rails.check(namespace, &spec, "spec");
        problems.iter().map(Problem::sentence).collect()
    }

    #[test]
    fn what_exceeds_a_limit_is_told_with_limit_value_and_place() {
        assert_eq!(said("perf", &json!({})), Vec::<String>::new());
        let allowed = json!({"/target/proxy": {"url": "http://squid.perf.svc:3128"}});
        assert_eq!(said("perf", &allowed), Vec::<String>::new());
        let load = "/scenarios/0/load/constantRate";
        for (change, sentence) in [
            (
                json!({"/scenarios/1/load/constantUsers/users": 41}),
                "spec.scenarios: have 101 users together, at most 100 are allowed by limits.maxUsers of the operator's configuration: lower users or maxUsers",
            ),
            (
                json!({format!("{load}/rate"): "3001/m"}),
                "spec.scenarios: begin up to 3001/m iterations together, at most 50/s are allowed by limits.maxRate of the operator's configuration: lower their rates",
            ),
            (
                json!({"/runners/count": 3}),
                "spec.runners.count: 3 runners are too many, at most 2 are allowed by limits.maxRunners of the operator's configuration",
            ),
            (
                json!({format!("{load}/duration"): "301s"}),
                "spec.scenarios: last 5m1s, at most 5m is allowed by limits.maxDuration of the operator's configuration",
            ),
            (
                json!({"/target/url": "http://shop.prod.svc"}),
                "spec.target.url: shop.prod.svc is no host that load may be sent to: limits.targetHosts of the operator's configuration allows *.perf.svc, httpbin",
            ),
            (
                json!({"/target/allowedHosts": ["cdn.perf.svc", "cdn.prod.svc:8443"]}),
                "spec.target.allowedHosts: cdn.prod.svc:8443 is no host that load may be sent to: limits.targetHosts of the operator's configuration allows *.perf.svc, httpbin",
            ),
            (
                json!({"/target/proxy": {"url": "http://squid.prod.svc:3128"}}),
                "spec.target.proxy.url: http://squid.prod.svc:3128 is no host that load may be sent to: limits.targetHosts of the operator's configuration allows *.perf.svc, httpbin",
            ),
        ] {
            assert_eq!(said("perf", &change), [sentence]);
        }
    }

    #[test]
    fn a_namespace_may_have_limits_of_its_own() {
        let shop = json!({
            "/scenarios/1/load/constantUsers/users": 940,
            "/scenarios/0/load/constantRate/rate": "3001/m",
            "/runners/count": 10,
            "/target/url": "https://shop.example.com",
        });
        assert_eq!(said("big", &shop), Vec::<String>::new());
        let more = said(
            "big",
            &json!({"/scenarios/1/load/constantUsers/users": 941}),
        );
        assert_eq!(more.len(), 2, "{more:?}");
        assert!(more[0].contains("at most 1000 are allowed by namespaces.big.maxUsers of"));
        assert!(
            more[1].contains("shop.perf.svc:8080 is no host"),
            "{more:?}"
        );
    }
}
