//! Where load goes: the target's url, the urls of steps, and the hosts that are allowed.

use loadtest_core::{
    plan::{HostRule, Origin, Protocol, Scheme, Target},
    template::{Escape, Position, Segment, Template},
};
use url::{Host, Url};

use super::Builder;
use crate::{
    rule,
    spec::{self, TestSpec},
};

/// The target of the manifest and the one that load goes to; they differ when the command line
/// names another.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    pub(super) written: Target,
    pub(super) effective: Target,
}

impl Builder<'_> {
    /// What can be known before any step was looked at.
    pub(super) fn targets(&mut self, spec: &TestSpec) -> Targets {
        let path = format!("{}.target", self.root);
        let mut written = self.target(&format!("{path}.url"), &spec.target.url);
        written.allowed_hosts = self.allowed_hosts(&path, &spec.target);
        written.protocol = match spec.target.protocol.unwrap_or_default() {
            spec::Protocol::Http1 => Protocol::Http1,
            spec::Protocol::Http2 => Protocol::Http2,
        };
        if let Some(proxy) = &spec.target.proxy {
            let path = format!("{path}.proxy.url");
            match parse_proxy(&proxy.url) {
                Ok(url) => written.proxy = Some(url),
                Err(message) => self.problem(&path, message),
            }
        }
        if let Some(share) = &spec.target.trace_sampling {
            written.traces_per_million = self.per_million(&format!("{path}.traceSampling"), share);
        }
        let mut effective = written.clone();
        if let Some(url) = &self.overrides.target {
            let Target {
                url,
                origin,
                base_path,
                ..
            } = self.target("--target", url);
            effective = Target {
                url,
                origin,
                base_path,
                ..effective
            };
        }
        Targets { written, effective }
    }

    /// The target with what is known only when all steps were looked at.
    pub(super) fn finished_target(&mut self, spec: &TestSpec) -> Target {
        let redirects = self.made.redirects;
        let mut target = self.target.effective.clone();
        target.other_origins = std::mem::take(&mut self.made.origins);
        let secure = |own: &Target| {
            own.origin.scheme == Scheme::Https
                || target
                    .other_origins
                    .iter()
                    .any(|origin| origin.scheme == Scheme::Https)
                || redirects && !own.allowed_hosts.is_empty()
        };
        let (written, effective) = (secure(&self.target.written), secure(&target));
        let plain = std::iter::once(&target.origin)
            .chain(&target.other_origins)
            .any(|origin| origin.scheme == Scheme::Http);
        if plain && target.protocol == Protocol::Http2 && target.proxy.is_some() {
            self.problem(
                &format!("{}.target.proxy", self.root),
                "HTTP/2 without TLS does not go through a proxy: use https urls only, or protocol Http1, or no proxy",
            );
        }
        target.tls = self.tls(spec, written, effective);
        target
    }

    fn target(&mut self, path: &str, text: &str) -> Target {
        parse_target(text).unwrap_or_else(|message| {
            self.problem(path, message);
            // Stands in for a target that was refused; no plan with it is ever handed out.
            Target::default()
        })
    }

    fn allowed_hosts(&mut self, path: &str, target: &spec::Target) -> Vec<HostRule> {
        let mut rules = Vec::with_capacity(target.allowed_hosts.len());
        for (index, host) in target.allowed_hosts.iter().enumerate() {
            match parse_rule(host) {
                Ok(rule) => rules.push(rule),
                Err(message) => self.problem(&format!("{path}.allowedHosts[{index}]"), message),
            }
        }
        rules
    }

    /// Where a step's url leads, `None` for the target, and its path and query, the target's base
    /// path included.
    pub(super) fn step_url(&mut self, path: &str, text: &str) -> (Option<u32>, Template) {
        let mut whole = Template::default();
        let (origin, relative) = if text.starts_with("http://") || text.starts_with("https://") {
            match self.absolute(text) {
                Ok(found) => found,
                Err(message) => {
                    self.problem(path, message);
                    return (None, whole);
                }
            }
        } else {
            whole.push_text(&self.target.effective.base_path);
            (None, text.to_owned())
        };
        let template = self.template(path, &relative, Position::Url);
        if let Some(message) = not_a_path(&template) {
            self.problem(path, message);
        }
        if let Some(message) = template.segments.iter().find_map(not_in_a_url) {
            self.problem(path, message);
        }
        whole.push_template(template);
        (origin, whole)
    }

    /// Where an absolute url leads, and what follows its host.
    fn absolute(&mut self, text: &str) -> Result<(Option<u32>, String), String> {
        let after_scheme = text.find("://").map_or(0, |at| at + 3);
        let (scheme, after) = text.split_at(after_scheme);
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let rest = if rest.starts_with('/') {
            rest.to_owned()
        } else {
            format!("/{rest}")
        };
        let origin = parse_target(&format!("{scheme}{authority}"))?.origin;
        let target = &self.target.written;
        if origin == target.origin {
            return Ok((None, rest));
        }
        let same_server = (&origin.host, origin.port) == (&target.origin.host, target.origin.port);
        if same_server {
            return Err(format!(
                "has {}://, but the target is {}: one port speaks one of them",
                origin.scheme.name(),
                written_out(&target.origin)
            ));
        }
        if !target.allows(&origin) {
            return Err(format!(
                "goes to {}, but load goes to the target {} and to target.allowedHosts only: use a url that begins with /, or allow {:?} there",
                written_out(&origin),
                written_out(&target.origin),
                bracketed(&origin.host)
            ));
        }
        let known = self.made.origins.iter().position(|known| *known == origin);
        let index = known.unwrap_or_else(|| {
            self.made.origins.push(origin);
            self.made.origins.len() - 1
        });
        Ok((Some(index as u32), rest))
    }
}

fn written_out(origin: &Origin) -> String {
    format!("{}://{}", origin.scheme.name(), origin.authority())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// A template that stands at the beginning must be a path, with its slashes.
fn not_a_path(template: &Template) -> Option<String> {
    let source = match template.segments.first()? {
        Segment::Text(text) if text.starts_with('/') => return None,
        Segment::Expression(expression) if expression.escape == Escape::None => return None,
        Segment::Expression(expression) => expression.source.to_string(),
        Segment::Slot(slot) => slot.name().to_owned(),
        Segment::Text(_) | Segment::File(_) => {
            return Some(
                "begins with a value that does not begin with /, or whose slashes are escaped: write $(NAME:raw) if it is a path, or /$(NAME) if it is a part of one"
                    .to_owned(),
            );
        }
    };
    Some(format!(
        "begins with a value whose slashes would be escaped: write $({source}:raw) if it is a path, or /$({source}) if it is a part of one"
    ))
}

fn not_in_a_url(segment: &Segment) -> Option<String> {
    let Segment::Text(text) = segment else {
        return None;
    };
    if text.contains('#') {
        return Some("has a #: a fragment is never sent; write %23 for a literal #".to_owned());
    }
    let odd = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(*c))?;
    Some(format!(
        "has {odd:?}, which a url must not hold: write it percent-encoded"
    ))
}

/// Reads the base url of a target.
fn parse_target(text: &str) -> Result<Target, String> {
    if text.contains("$(") {
        return Err(
            "templates cannot be used in the host: what load is sent to is fixed".to_owned(),
        );
    }
    // Browsers, and so the parser, leave blanks out and take a backslash for a slash.
    if let Some(odd) = text
        .chars()
        .find(|c| c.is_control() || c.is_whitespace() || *c == '\\')
    {
        return Err(format!("{text:?} has {odd:?}, which a url must not hold"));
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => rule::TARGET_HTTP.message().to_owned(),
        error => format!("{text:?} is not a url: {error}"),
    })?;
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(rule::TARGET_HTTP.message().to_owned()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password: send a header instead".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "must not hold a query or fragment: put them into the urls of steps".to_owned(),
        );
    }
    let port = url.port().unwrap_or(scheme.port());
    if port == 0 {
        return Err("port 0 is no port".to_owned());
    }
    Ok(Target {
        url: text.to_owned(),
        origin: Origin {
            scheme,
            host: host_name(url.host()).ok_or_else(|| format!("{text:?} names no host"))?,
            port,
        },
        base_path: url.path().trim_end_matches('/').to_owned(),
        ..Target::default()
    })
}

/// Reads the url of a proxy.
fn parse_proxy(text: &str) -> Result<String, String> {
    let Target {
        origin, base_path, ..
    } = parse_target(text)?;
    if origin.scheme != Scheme::Http {
        return Err(rule::PROXY_HTTP.message().to_owned());
    }
    if !base_path.is_empty() {
        return Err("must not hold a path: a proxy is a host and a port".to_owned());
    }
    let host = bracketed(&origin.host);
    Ok(format!("http://{host}:{}", origin.port))
}

/// Reads `host`, `host:port`, `[::1]` or `[::1]:port`.
fn parse_rule(text: &str) -> Result<HostRule, String> {
    let refused = || {
        format!(
            "{text:?} is no host: write it like cdn.perf.svc, cdn.perf.svc:8443 or [::1]:8080, without http:// and path"
        )
    };
    if text.contains('*') {
        return Err(format!(
            "{text:?} has a *, but hosts are named one by one: load never goes where nobody meant it to"
        ));
    }
    if text.matches(':').count() > 1 && !text.starts_with('[') {
        return Err(format!(
            "{text:?}: write an IPv6 address in brackets, like [::1]:8080"
        ));
    }
    let port_at = text.rfind(':').filter(|at| text.rfind(']') < Some(*at));
    let (host, port) = match port_at {
        Some(at) => {
            let (host, port) = text.split_at(at);
            let port = port.trim_start_matches(':');
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| *port > 0 && digits);
            (host, Some(port.ok_or_else(refused)?))
        }
        None => (text, None),
    };
    let host = Host::parse(host).ok();
    let host = host.as_ref().map(|host| match host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    });
    Ok(HostRule {
        host: host_name(host).ok_or_else(refused)?,
        port,
    })
}

/// A host as connections and certificates name it: in lower case, an IPv6 address without brackets.
fn host_name(host: Option<Host<&str>>) -> Option<String> {
    match host? {
        Host::Domain(name) => is_host_name(name).then(|| name.to_ascii_lowercase()),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

/// Whether a name can be one of the DNS, underscores included, which names of containers have.
pub(super) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let relative = name.strip_suffix('.').unwrap_or(name);
    relative.len() <= 253 && relative.split('.').all(is_label)
}
