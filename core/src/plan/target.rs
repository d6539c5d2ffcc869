//! The server under test, and which others load may be sent to.

use serde::{Deserialize, Serialize};

/// The server under test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// As written, for people.
    pub url: String,
    /// Where requests go.
    pub origin: Origin,
    /// Path before every relative url, without a trailing slash; often empty.
    pub base_path: String,
    /// Where requests with absolute urls go; every one is allowed by `allowed_hosts`.
    pub other_origins: Vec<Origin>,
    /// Hosts besides the target's own that redirects may lead to.
    pub allowed_hosts: Vec<HostRule>,
    /// TLS of all https origins.
    pub tls: TargetTls,
    /// Version of HTTP.
    pub protocol: Protocol,
    /// Url of a proxy that all requests go through.
    pub proxy: Option<String>,
    /// How many of a million iterations ask the target to keep their trace, chosen by seed.
    #[serde(default)]
    pub traces_per_million: u32,
}

impl Target {
    /// Whether load may be sent to an origin: the target's own host and port, or an allowed host.
    pub fn allows(&self, origin: &Origin) -> bool {
        (origin.host == self.origin.host && origin.port == self.origin.port)
            || self.allowed_hosts.iter().any(|rule| rule.allows(origin))
    }
}

/// Scheme, host and port: what a connection is made to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Host name or address in lower case, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Origin {
    /// The value of the `Host` header: the port is left out when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Plain or TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain TCP.
    #[default]
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port that a url without one means.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
    /// The word in a url.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A host that load may be sent to besides the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRule {
    /// Host name or address in lower case.
    pub host: String,
    /// This port only; any when `None`.
    pub port: Option<u16>,
}

impl HostRule {
    fn allows(&self, origin: &Origin) -> bool {
        self.host == origin.host && self.port.is_none_or(|port| port == origin.port)
    }
}

/// How servers are verified, and what they are shown. Paths of mounted files: a plan holds no keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetTls {
    /// PEM file with the CA certificates to trust instead of the public ones.
    pub ca_file: Option<String>,
    /// What is shown to servers that ask for a certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// Name that is asked for (SNI) and verified instead of the host's.
    pub server_name: Option<String>,
    /// Take any certificate.
    pub insecure_skip_verify: bool,
}

/// A client certificate by its mounted files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// PEM file with the certificate and its chain.
    pub certificate_file: String,
    /// PEM file with the private key.
    pub key_file: String,
}

/// Version of HTTP that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, by the engine's own client.
    #[default]
    Http1,
    /// HTTP/2, by a general-purpose client that costs several times as much CPU.
    Http2,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(scheme: Scheme, host: &str, port: u16) -> Origin {
        Origin {
            scheme,
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_schemes_own_port_is_left_out() {
        assert_eq!(origin(Scheme::Http, "shop", 80).authority(), "shop");
        assert_eq!(origin(Scheme::Https, "shop", 80).authority(), "shop:80");
        assert_eq!(origin(Scheme::Https, "::1", 443).authority(), "[::1]");
    }

    #[test]
    fn only_the_target_and_allowed_hosts_get_load() {
        let target = Target {
            origin: origin(Scheme::Https, "shop", 443),
            allowed_hosts: vec![
                HostRule {
                    host: "cdn".to_owned(),
                    port: None,
                },
                HostRule {
                    host: "img".to_owned(),
                    port: Some(8080),
                },
            ],
            ..Target::default()
        };
        let allows = |host, port| target.allows(&origin(Scheme::Http, host, port));
        assert!(allows("shop", 443) && allows("cdn", 9) && allows("img", 8080));
        assert!(!allows("shop", 80) && !allows("img", 80) && !allows("other", 443));
    }
}
