//! Where load goes: the target's url, and the urls of steps.

use loadtest_core::{
    plan::{Origin, Scheme, Target},
    template::{Position, Segment, Template},
};
use url::{Host, Url};

use super::Builder;
use crate::spec::TestSpec;

/// The target of the manifest and the one that load goes to; they differ when the command line
/// names another.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    written: Target,
    pub(super) effective: Target,
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            written: nowhere(),
            effective: nowhere(),
        }
    }
}

impl Builder<'_> {
    pub(super) fn targets(&mut self, spec: &TestSpec) -> Targets {
        let path = format!("{}.target.url", self.root);
        let written = self.target(&path, &spec.target.url);
        let effective = match &self.overrides.target {
            Some(url) => self.target("--target", url),
            None => written.clone(),
        };
        Targets { written, effective }
    }

    fn target(&mut self, path: &str, text: &str) -> Target {
        parse_target(text).unwrap_or_else(|message| {
            self.problem(path, message);
            nowhere()
        })
    }

    /// Path and query of a step's url, the target's base path included.
    pub(super) fn step_path(&mut self, path: &str, text: &str) -> Template {
        let mut whole = Template::default();
        let relative = if text.starts_with("http://") {
            match self.below_target(text) {
                Ok(rest) => rest,
                Err(message) => {
                    self.problem(path, message);
                    return whole;
                }
            }
        } else {
            whole.push_text(&self.target.effective.base_path.clone());
            text.to_owned()
        };
        let template = self.template(path, &relative, Position::Url);
        if let Some(message) = template.segments.iter().find_map(not_in_a_url) {
            self.problem(path, message);
        }
        whole.push_template(template);
        whole
    }

    /// What follows scheme and host of an absolute url of the target.
    fn below_target(&self, text: &str) -> Result<String, String> {
        let after = text.strip_prefix("http://").unwrap_or_default();
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let named = parse_target(&format!("http://{authority}"))?;
        let target = &self.target.written;
        if named.origin != target.origin {
            return Err(format!(
                "goes to {}, but load goes to the target {} only: use a url that begins with /",
                named.origin.authority(),
                target.origin.authority()
            ));
        }
        Ok(if rest.starts_with('/') {
            rest.to_owned()
        } else {
            format!("/{rest}")
        })
    }
}

/// Stands in for a target that was refused; no plan with it is ever handed out.
fn nowhere() -> Target {
    Target::default()
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
        return Err("templates cannot be used in the host: load goes to one target".to_owned());
    }
    if text.starts_with("https:") {
        return Err(crate::rule::NOT_HTTPS.message().to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not a url: {error}"))?;
    if url.scheme() != "http" {
        return Err(crate::rule::TARGET_HTTP.message().to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password: send a header instead".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "must not hold a query or fragment: put them into the urls of steps".to_owned(),
        );
    }
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => return Err(format!("{text:?} names no host")),
    };
    let port = url.port_or_known_default().unwrap_or(80);
    if port == 0 {
        return Err("port 0 is no port".to_owned());
    }
    let base_path = url.path().trim_end_matches('/').to_owned();
    Ok(Target {
        url: text.to_owned(),
        origin: Origin {
            scheme: Scheme::Http,
            host,
            port,
        },
        base_path,
        ..Target::default()
    })
}
