//! What a manifest can say beyond the simplest one.

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::cluster::Namespace;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::common::{RUN_LIMIT, TO_SEARCH, access_log_lines, manifest, number, text};

/// Puts a TLS target named `secure` into the namespace, and the certificate of the authority that
/// signed its own into the `ConfigMap` `authority`.
fn secure_target(namespace: &Namespace) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(vec!["secure".to_owned()])?.signed_by(&key, &authority)?;
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"},
            "data": {"ca.pem": authority.pem()}},
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "secure"},
            "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "secure"},
            "spec": {"selector": {"app": "httpbin"}, "ports": [{"port": 443, "targetPort": 8080}]}},
    ]});
    namespace.apply(&objects.to_string())?;
    let tls = json!({"spec": {"template": {"spec": {
        "volumes": [{"name": "tls", "secret": {"secretName": "secure"}}],
        "containers": [{
            "name": "httpbin",
            "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": true}],
            "env": [
                {"name": "HTTPS_CERT_FILE", "value": "/tls/tls.crt"},
                {"name": "HTTPS_KEY_FILE", "value": "/tls/tls.key"},
            ],
            "readinessProbe": {"httpGet": {"scheme": "HTTPS", "path": "/status/200?probe", "port": "http"}},
        }],
    }}}});
    namespace.kubectl(&["patch", "deployment", "httpbin", "-p", &tls.to_string()])?;
    namespace.kubectl(&["rollout", "status", "deployment/httpbin", "--timeout=90s"])?;
    Ok(())
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn an_https_target_is_trusted_by_its_own_authority_and_ramped_up() -> Result<()> {
    Namespace::delivered("https", |namespace| {
        secure_target(namespace)?;
        let more = "  warmUp: 2s\n".to_owned() + TO_SEARCH;
        let yaml = manifest("secure", "50/s", 6, &more)
            .replace(
                "{ url: \"http://httpbin\" }",
                "{ url: \"https://secure\", tls: { caRef: { configMap: { name: authority, key: ca.pem } } } }",
            )
            .replace(
                "{ constantRate: { rate: 50/s, duration: 6s } }",
                "{ rampingRate: { startRate: 0/s, stages: [ { duration: 2s, rate: 50/s }, { duration: 4s, rate: 50/s } ] } }",
            );
        namespace.apply(&yaml)?;
        let test = namespace.wait_finished("loadtest/secure", RUN_LIMIT)?;
        let status = &test["status"];
        ensure!(text(&test, "/status/verdict") == "Passed", "{status}");
        let requests = number(&test, "/status/summary/requests")?;
        let warm_up = number(&test, "/status/summary/warmUpRequests")?;
        ensure!((requests, warm_up) == (200, 50), "{}", status["summary"]);
        let export = &status["export"];
        ensure!(
            export["indexed"] == 250 && export["produced"] == 250,
            "{export}"
        );
        let seen = access_log_lines(namespace, text(&test, "/status/run/id"))?;
        ensure!(seen == 250, "the target saw {seen} requests");
        let untrusted =
            manifest("untrusted", "20/s", 2, "").replace("http://httpbin", "https://secure");
        namespace.apply(&untrusted)?;
        let test = namespace.wait_finished("loadtest/untrusted", RUN_LIMIT)?;
        ensure!(
            text(&test, "/status/verdict") == "Failed",
            "{}",
            test["status"]
        );
        let error = &test["status"]["summary"]["errors"][0];
        ensure!(error["type"] == "tls" && error["count"] == 40, "{error}");
        Ok(())
    })
}

#[test]
#[ignore = "needs a cluster with the operator: make e2e"]
fn a_breach_stops_the_whole_fleet() -> Result<()> {
    Namespace::with_target("abort")?.explain(|namespace| {
        let more = "  runners: { count: 2 }
  thresholds:
    - expr: errors.ratio < 1%
      abort: { after: 2s, minRequests: 50 }
";
        let yaml = manifest("abort", "50/s", 300, more).replace("/get", "/status/503");
        namespace.apply(&yaml)?;
        let test = namespace.wait_finished("loadtest/abort", RUN_LIMIT)?;
        let status = &test["status"];
        ensure!(text(&test, "/status/verdict") == "Failed", "{status}");
        let message = text(&test, "/status/message");
        ensure!(
            message.starts_with("the load was stopped: threshold errors.ratio < 1%"),
            "{message}"
        );
        let breach = &status["thresholds"][0]["firstBreach"];
        breach.as_str().context("no firstBreach")?;
        // Two seconds, and what it takes to see and to tell.
        let requests = number(&test, "/status/summary/requests")?;
        ensure!((100..600).contains(&requests), "{requests} requests");
        let seen = access_log_lines(namespace, text(&test, "/status/run/id"))?;
        ensure!(
            seen as u64 == requests,
            "the target saw {seen} requests of {requests}"
        );
        Ok(())
    })
}
