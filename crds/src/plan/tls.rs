//! TLS towards https urls, and where the operator mounts what engines need for it.

use std::net::IpAddr;

use loadtest_core::plan::{Protocol, TargetTls};

use super::{Builder, mounts, target::is_host_name};
use crate::{
    rule,
    spec::{self, TestSpec},
};

impl Builder<'_> {
    /// TLS of a test. `written` and `effective` say whether anything may go to an https url: of
    /// the manifest, and with the options of the command line.
    pub(super) fn tls(&mut self, spec: &TestSpec, written: bool, effective: bool) -> TargetTls {
        let path = format!("{}.target.tls", self.root);
        let mut tls = TargetTls::default();
        if let Some(spec) = &spec.target.tls {
            if !written {
                self.problem(
                    &path,
                    "nothing of this test goes to an https url: leave it out, or write https:// in target.url",
                );
            }
            tls = self.written_tls(&path, spec);
        }
        if self.overrides.local {
            self.local_tls(&path, &mut tls, effective);
        }
        tls
    }

    fn written_tls(&mut self, path: &str, spec: &spec::TargetTls) -> TargetTls {
        let spec::TargetTls {
            ca_ref,
            client_certificate_ref,
            server_name,
            insecure_skip_verify,
        } = spec;
        let insecure = insecure_skip_verify.unwrap_or_default();
        if let Some(ca) = ca_ref {
            let path = format!("{path}.caRef");
            if ca.config_map.is_some() == ca.secret.is_some() {
                self.problem(&path, rule::CA.message());
            }
            if insecure {
                self.problem(
                    &path,
                    "nothing is verified with insecureSkipVerify: leave out one of them",
                );
            }
        }
        let is_name = |name: &str| is_host_name(name) || name.parse::<IpAddr>().is_ok();
        if let Some(name) = server_name.as_deref().filter(|name| !is_name(name)) {
            self.problem(
                &format!("{path}.serverName"),
                format!("{name:?} is no host name: write it like shop.example.com"),
            );
        }
        if server_name.is_some()
            && (self.target.written.protocol, &self.target.written.proxy)
                != (Protocol::Http1, &None)
        {
            self.problem(
                &format!("{path}.serverName"),
                "cannot be used together with protocol Http2 or a proxy: use a url with that name",
            );
        }
        TargetTls {
            ca_file: ca_ref
                .as_ref()
                .map(|_| format!("{}/{}", mounts::TARGET_CA_DIR, mounts::CA)),
            client_certificate: client_certificate_ref
                .as_ref()
                .map(|_| mounts::certificate(mounts::TARGET_CERTIFICATE_DIR)),
            server_name: server_name.clone(),
            insecure_skip_verify: insecure,
        }
    }

    /// On this machine nothing is mounted: what the manifest takes from the cluster is given by
    /// options, or the run is refused. To verify with other authorities than the manifest asks for,
    /// or not to show a certificate, would be another test.
    fn local_tls(&mut self, path: &str, tls: &mut TargetTls, effective: bool) {
        let ca = self.overrides.target_ca_file.clone();
        let certificate = self.overrides.target_certificate.clone();
        if !effective {
            let option = if ca.is_some() {
                "--target-ca"
            } else {
                "--target-cert"
            };
            if ca.is_some() || certificate.is_some() {
                self.problem(option, "nothing of this test goes to an https url");
            }
            *tls = TargetTls::default();
            return;
        }
        if tls.ca_file.is_some() && ca.is_none() {
            self.problem(
                &format!("{path}.caRef"),
                "is in the cluster, not on this machine: give the certificates as a file with --target-ca FILE",
            );
        }
        if tls.client_certificate.is_some() && certificate.is_none() {
            self.problem(
                &format!("{path}.clientCertificateRef"),
                "is in the cluster, not on this machine: give certificate and key as files with --target-cert FILE --target-key FILE",
            );
        }
        if ca.is_some() {
            tls.insecure_skip_verify = false;
        }
        tls.ca_file = ca;
        tls.client_certificate = certificate;
    }
}
