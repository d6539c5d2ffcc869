//! What is mounted into a runner's pod, and where.

use loadtest_crds::{
    plan::mounts,
    spec::{
        AuthRef, BasicAuth, CaRef, ClientCertificateRef, KeyRef, SearchTls, TargetAuth, TargetTls,
    },
};
use serde_json::{Value, json};

use super::children::Blueprint;
use crate::{coordination::AUDIENCE, names};

/// Directory of plan, authority and credentials in the containers.
pub const FILES_DIR: &str = "/etc/loadtest";
/// Directory of the pool that engine and exporter share.
pub const POOL_DIR: &str = "/run/loadtest/pool";
/// Directory of the exporter's spool.
pub const SPOOL_DIR: &str = "/run/loadtest/spool";
/// Directory of the projected token.
pub const TOKEN_DIR: &str = "/var/run/secrets/loadtest";

/// The kubelet renews a token after four fifths of its life; one is usable an hour at most.
const TOKEN_SECONDS: i64 = 3_600;

/// Beyond spoolLimit: for refused documents, and because the kubelet evicts a pod whose volume is
/// larger than its limit.
const SPOOL_MARGIN: u64 = 128 << 20;

/// All volumes of a runner's pod.
pub fn volumes(of: Blueprint<'_>) -> Value {
    let plan = json!({"configMap": {"name": names::plan(&of.run.name)}});
    let token = json!({"serviceAccountToken": {
        "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token",
    }});
    let mut files = vec![plan.clone()];
    files.extend(target_files(of));
    files.extend(template_files(of));
    files.extend(of.spec.auth.iter().flat_map(target_auth_files));
    let mut volumes = vec![
        json!({"name": "files", "projected": {"sources": files}}),
        json!({"name": "pool", "emptyDir": {
            "medium": "Memory", "sizeLimit": of.settings.runner.pool_size,
        }}),
        json!({"name": "token", "projected": {"sources": [token]}}),
    ];
    if of.prepared.plan.results.exports() {
        // A volume of its own: the engine never sees the credentials, the exporter never the
        // certificate that the target is shown.
        let mut sources = vec![plan];
        sources.extend(search_files(of));
        volumes.push(json!({"name": "exporter-files", "projected": {"sources": sources}}));
        let most = of.prepared.plan.results.spool_limit + SPOOL_MARGIN;
        volumes.push(json!({"name": "spool", "emptyDir": {
            "sizeLimit": format!("{}Mi", most.div_ceil(1 << 20)),
        }}));
    }
    Value::Array(volumes)
}

/// What engines need for TLS towards the target.
fn target_files(of: Blueprint<'_>) -> Vec<Value> {
    let Some(tls) = &of.spec.target.tls else {
        return Vec::new();
    };
    let TargetTls {
        ca_ref,
        client_certificate_ref,
        server_name: _,
        insecure_skip_verify: _,
    } = tls;
    let ca = ca_ref
        .as_ref()
        .and_then(|ca| ca_source(ca, mounts::TARGET_CA_DIR));
    let certificate = client_certificate_ref
        .as_ref()
        .map(|secret| certificate_source(secret, mounts::TARGET_CERTIFICATE_DIR));
    ca.into_iter().chain(certificate).collect()
}

/// What templates draw from: secrets, and data in `ConfigMap`s.
fn template_files(of: Blueprint<'_>) -> Vec<Value> {
    let secrets = of.spec.secrets.iter().map(|secret| {
        let path = below_files(mounts::SECRETS_DIR, &secret.name);
        key_source("secret", &secret.secret_ref, &path)
    });
    let data = of.spec.data.iter().filter_map(|data| {
        let from = data.from.config_map_ref.as_ref()?;
        let path = below_files(mounts::DATA_DIR, &data.name);
        Some(key_source("configMap", from, &path))
    });
    secrets.chain(data).collect()
}

/// What engines need to prove who they are.
fn target_auth_files(auth: &TargetAuth) -> Vec<Value> {
    let TargetAuth {
        basic,
        bearer,
        client_credentials,
    } = auth;
    let file = |name: &str| below_files(mounts::TARGET_AUTH_DIR, name);
    let basic = basic
        .iter()
        .map(|basic| basic_source(&basic.secret_ref, mounts::TARGET_AUTH_DIR));
    let bearer = bearer
        .iter()
        .map(|bearer| key_source("secret", &bearer.secret_ref, &file(mounts::TOKEN)));
    let client = client_credentials.iter().flat_map(|client| {
        [
            key_source("secret", &client.client_id_ref, &file(mounts::CLIENT_ID)),
            key_source(
                "secret",
                &client.client_secret_ref,
                &file(mounts::CLIENT_SECRET),
            ),
        ]
    });
    basic.chain(bearer).chain(client).collect()
}

/// A key of a Secret or `ConfigMap` as one file.
fn key_source(kind: &str, from: &KeyRef, path: &str) -> Value {
    let items = [json!({"key": from.key.to_string(), "path": path})];
    json!({kind: {"name": from.name.to_string(), "items": items}})
}

/// A Secret with a user name and a password as two files.
fn basic_source(basic: &BasicAuth, directory: &str) -> Value {
    let key = |key: Option<&str>, or: &str| key.unwrap_or(or).to_owned();
    let user = key(basic.username_key.as_deref(), mounts::DEFAULT_USERNAME_KEY);
    let password = key(basic.password_key.as_deref(), mounts::DEFAULT_PASSWORD_KEY);
    let items = [
        json!({"key": user, "path": below_files(directory, mounts::USERNAME)}),
        json!({"key": password, "path": below_files(directory, mounts::PASSWORD)}),
    ];
    json!({"secret": {"name": basic.name.to_string(), "items": items}})
}

/// What exporters need to reach the search server.
fn search_files(of: Blueprint<'_>) -> Vec<Value> {
    let search = of
        .spec
        .results
        .as_ref()
        .and_then(|r| r.elasticsearch.as_ref());
    let Some(search) = search else {
        return Vec::new();
    };
    let auth = search.auth_ref.as_ref().map(auth_source);
    let Some(tls) = &search.tls else {
        return auth.into_iter().flatten().collect();
    };
    let SearchTls {
        ca_ref,
        client_certificate_ref,
    } = tls;
    let ca = ca_ref.as_ref().map(|ca| ca_source(ca, mounts::ES_CA_DIR));
    let certificate = client_certificate_ref
        .as_ref()
        .map(|secret| certificate_source(secret, mounts::ES_CERTIFICATE_DIR));
    let referred = auth.into_iter().chain(ca).flatten();
    referred.chain(certificate).collect()
}

/// A Secret of type kubernetes.io/tls as two files.
fn certificate_source(secret: &ClientCertificateRef, directory: &str) -> Value {
    let items = [mounts::CERTIFICATE, mounts::CERTIFICATE_KEY]
        .map(|key| json!({"key": key, "path": below_files(directory, key)}));
    json!({"secret": {"name": secret.name.to_string(), "items": items}})
}

fn auth_source(auth: &AuthRef) -> Option<Value> {
    let AuthRef {
        basic,
        api_key,
        bearer,
    } = auth;
    let file = |name: &str| below_files(mounts::AUTH_DIR, name);
    match (basic, api_key, bearer) {
        (Some(basic), _, _) => Some(basic_source(basic, mounts::AUTH_DIR)),
        (_, Some(api_key), _) => Some(key_source("secret", api_key, &file(mounts::API_KEY))),
        (_, _, Some(bearer)) => Some(key_source("secret", bearer, &file(mounts::TOKEN))),
        (None, None, None) => None,
    }
}

fn ca_source(ca: &CaRef, directory: &str) -> Option<Value> {
    let CaRef { config_map, secret } = ca;
    let (kind, from) = match (config_map, secret) {
        (Some(from), _) => ("configMap", from),
        (None, Some(from)) => ("secret", from),
        (None, None) => return None,
    };
    Some(key_source(kind, from, &below_files(directory, mounts::CA)))
}

/// Path within the volume that is mounted at [`FILES_DIR`].
fn below_files(directory: &str, file: &str) -> String {
    let below = directory
        .strip_prefix(FILES_DIR)
        .unwrap_or(directory)
        .trim_start_matches('/');
    format!("{below}/{file}")
}
