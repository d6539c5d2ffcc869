//! Where Secrets and `ConfigMap`s are mounted: those of `results.elasticsearch` in the exporter's
//! container only, those of `target.tls`, `secrets`, `auth` and `data` in the engine's only. The plan
//! names these files and never their content.

use loadtest_core::plan::ClientCertificate;

/// Directory of the credentials.
pub const AUTH_DIR: &str = "/etc/loadtest/auth";
/// Directory of the search server's CA.
pub const ES_CA_DIR: &str = "/etc/loadtest/es-ca";
/// Directory of the certificate that is shown to the search server.
pub const ES_CERTIFICATE_DIR: &str = "/etc/loadtest/es-certificate";
/// File name of the user name, within [`AUTH_DIR`].
pub const USERNAME: &str = "username";
/// File name of the password, within [`AUTH_DIR`].
pub const PASSWORD: &str = "password";
/// File name of the API key, within [`AUTH_DIR`].
pub const API_KEY: &str = "key";
/// File name of the bearer token, within [`AUTH_DIR`].
pub const TOKEN: &str = "token";
/// Directory of the target's CA.
pub const TARGET_CA_DIR: &str = "/etc/loadtest/target-ca";
/// Directory of the certificate that is shown to the target.
pub const TARGET_CERTIFICATE_DIR: &str = "/etc/loadtest/target-certificate";
/// File name of the certificate, within [`TARGET_CERTIFICATE_DIR`] and [`ES_CERTIFICATE_DIR`], and its
/// key in the Secret.
pub const CERTIFICATE: &str = "tls.crt";
/// File name of the private key, within the same, and its key in the Secret.
pub const CERTIFICATE_KEY: &str = "tls.key";
/// File name of the CA certificates, within [`ES_CA_DIR`] and [`TARGET_CA_DIR`].
pub const CA: &str = "ca.crt";
/// Key of the user name in a Secret that does not say.
pub const DEFAULT_USERNAME_KEY: &str = "username";
/// Key of the password in a Secret that does not say.
pub const DEFAULT_PASSWORD_KEY: &str = "password";
/// Directory of `secrets`, each in a file of its name.
pub const SECRETS_DIR: &str = "/etc/loadtest/secrets";
/// Directory of `auth`.
pub const TARGET_AUTH_DIR: &str = "/etc/loadtest/target-auth";
/// File name of a client's identifier, within [`TARGET_AUTH_DIR`].
pub const CLIENT_ID: &str = "client-id";
/// File name of a client's secret, within [`TARGET_AUTH_DIR`].
pub const CLIENT_SECRET: &str = "client-secret";
/// Directory of `data` in `ConfigMap`s, each in a file of its name.
pub const DATA_DIR: &str = "/etc/loadtest/data";

/// A certificate with its private key, mounted in a directory.
pub(super) fn certificate(directory: &str) -> ClientCertificate {
    ClientCertificate {
        certificate_file: format!("{directory}/{CERTIFICATE}"),
        key_file: format!("{directory}/{CERTIFICATE_KEY}"),
    }
}
