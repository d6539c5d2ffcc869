//! Patterns of hosts that load may be sent to.

use std::{fmt, str::FromStr};

use axum::http::Uri;
use loadtest_core::plan::{HostRule, Origin};

/// `host`, `*.domain` (every name below it, not the domain itself) or `*`, each with or without a
/// port. Hosts are compared as they are written: `shop` and `shop.perf.svc` are two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// With the dot before it.
    Below(String),
    Exactly(String),
}

impl HostPattern {
    /// Whether it allows all requests to an origin.
    pub fn allows_origin(&self, origin: &Origin) -> bool {
        self.allows(&origin.host, Some(origin.port))
    }

    /// Whether it allows everything that a rule of a test allows.
    pub fn allows_rule(&self, rule: &HostRule) -> bool {
        self.allows(&rule.host, rule.port)
    }

    /// Whether it allows the host of a url that names its port.
    pub fn allows_url(&self, url: &str) -> bool {
        let Ok(url) = url.parse::<Uri>() else {
            return false;
        };
        let host = url.host().unwrap_or_default();
        self.allows(host.trim_matches(['[', ']']), url.port_u16())
    }

    fn allows(&self, host: &str, port: Option<u16>) -> bool {
        // The dot at the end of a name that is whole is not a part of it.
        let host = host.strip_suffix('.').unwrap_or(host);
        let named = match &self.host {
            Host::Any => true,
            Host::Below(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            Host::Exactly(name) => host == name,
        };
        named && (self.port.is_none() || self.port == port)
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is no pattern of hosts: write it like shop.perf.svc, *.perf.svc, *.perf.svc:8080 or [::1]:8080"
            )
        };
        let port_at = text.rfind(':').filter(|at| text.rfind(']') < Some(*at));
        let (host, port) = match port_at.map(|at| text.split_at(at)) {
            Some((host, port)) => {
                let port = port.trim_start_matches(':').parse::<u16>().ok();
                let port = port.filter(|port| *port > 0).ok_or_else(refused)?;
                (host, Some(port))
            }
            None => (text, None),
        };
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => Host::Any,
            Some(domain) if is_name(domain) => Host::Below(format!(".{domain}")),
            None if is_name(host) => Host::Exactly(host.to_owned()),
            None => {
                let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
                let address = address.and_then(|h| h.parse::<std::net::Ipv6Addr>().ok());
                Host::Exactly(address.ok_or_else(refused)?.to_string())
            }
            Some(_) => return Err(refused()),
        };
        Ok(Self { host, port })
    }
}

/// Of the DNS, in lower case, or an IPv4 address.
fn is_name(name: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    name.len() <= 253
        && name
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(inner))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Below(domain) => write!(f, "*{domain}")?,
            Host::Exactly(host) if host.contains(':') => write!(f, "[{host}]")?,
            Host::Exactly(host) => f.write_str(host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_allows_what_it_says_and_nothing_else() {
        for (written, host, port, allowed) in [
            ("shop.perf.svc", "shop.perf.svc", Some(80), true),
            ("shop.perf.svc", "shop.perf.svc.", Some(80), true),
            ("shop.perf.svc", "ashop.perf.svc", Some(80), false),
            ("*.perf.svc", "shop.perf.svc", Some(80), true),
            ("*.perf.svc", "a.shop.perf.svc", Some(80), true),
            ("*.perf.svc", "perf.svc", Some(80), false),
            ("*.perf.svc", ".perf.svc", Some(80), false),
            ("*.perf.svc", "evilperf.svc", Some(80), false),
            ("*.perf.svc", "shop.perf.svc.evil", Some(80), false),
            ("*:8080", "anything", Some(8080), true),
            ("*:8080", "anything", Some(80), false),
            // A rule of a test that allows any port allows more.
            ("*:8080", "anything", None, false),
            ("10.0.0.1", "10.0.0.1", None, true),
            ("[::1]:8080", "::1", Some(8080), true),
            ("*", "::1", Some(1), true),
        ] {
            let pattern = pattern(written);
            assert_eq!(pattern.allows(host, port), allowed, "{written}: {host}");
            assert_eq!(pattern.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "http://a", "a/b", "*a.b", "a.*.b", "a:0", "a:70000", "A.b", "::1", "[::1", "*.",
            "a..b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
