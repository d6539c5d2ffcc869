//! Where a redirect leads, and the request that goes there (RFC 9110, 15.4).

use loadtest_core::plan::{Origin, Scheme};
use url::{Host, Url};

use super::{Connection, Exchange, rest::Rest};
use crate::engine::{
    compile::{CookieHeader, Kind, Redirects, Sending, is_idempotent},
    failure::Failure,
    message::{self, Message},
    values::TRACEPARENT,
};

/// Headers that speak of a body; a request that loses its body loses them.
const OF_THE_BODY: [&str; 7] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-type",
    "expect",
    "transfer-encoding",
];

/// Headers that are nobody else's business.
const OF_THE_ORIGIN: [&str; 4] = ["authorization", "cookie", "host", "proxy-authorization"];

/// A request that a redirect made.
#[derive(Debug)]
pub struct Hop {
    /// What is sent, and where.
    pub sending: Sending,
    /// How many redirects have been followed up to it.
    followed: u8,
}

/// How the method goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Same,
    /// The new request fetches what the old one led to.
    Get,
}

impl Connection {
    /// What follows from the whole answer that is here: `None` if it is the last, otherwise the
    /// next request. `before` is the hop that was answered, if it was one.
    ///
    /// # Errors
    /// When there is a redirect that cannot be followed.
    pub fn next_hop(
        &self,
        exchange: &Exchange<'_>,
        before: Option<&Hop>,
    ) -> Result<Option<Box<Hop>>, Failure> {
        let Some(redirects) = &exchange.request.redirects else {
            return Ok(None);
        };
        let status = self.status();
        if !(300..400).contains(&status) {
            return Ok(None);
        }
        let mut rendered = exchange.worker.network.scratch.borrow_mut();
        Rest::render(self.rest.as_deref(), exchange, &mut rendered);
        let sent = Sent::of(&rendered);
        let Some(method) = method_after(status, sent.method) else {
            return Ok(None);
        };
        let followed = before.map_or(0, |hop| hop.followed);
        if followed >= redirects.most {
            let most = redirects.most;
            return Err(Failure::redirect(format!(
                "status {status} after {most} redirects, more than followRedirects allows"
            )));
        }
        let Some(location) = self.location() else {
            return Err(Failure::redirect(format!(
                "status {status} has no location"
            )));
        };
        let next = Target::new(exchange, sent.target, &location)
            .ok_or_else(|| Failure::redirect(malformed(status, &location)))?;
        follow(exchange, redirects, &sent, method, &next, followed + 1)
            .map(|hop| Some(Box::new(hop)))
    }

    fn location(&self) -> Option<Vec<u8>> {
        let general = self.rest.as_deref().and_then(|rest| rest.general.as_ref());
        let first = match general {
            Some(general) => general.headers("location").next(),
            None => self.parser.headers().named("location").next(),
        };
        first.map(<[u8]>::to_vec)
    }
}

fn malformed(status: u16, location: &[u8]) -> String {
    let location = String::from_utf8_lossy(location);
    let shown: String = location.chars().take(100).collect();
    format!("status {status} has the location {shown:?}, which is no http url")
}

/// `None` for a status that leads nowhere.
fn method_after(status: u16, method: &str) -> Option<Method> {
    match (status, method) {
        (301 | 302, "POST") => Some(Method::Get),
        (303, "GET" | "HEAD") | (301 | 302 | 307 | 308, _) => Some(Method::Same),
        (303, _) => Some(Method::Get),
        _ => None,
    }
}

/// Where a location leads.
struct Target {
    origin: Origin,
    path: String,
}

impl Target {
    fn new(exchange: &Exchange<'_>, path: &str, location: &[u8]) -> Option<Self> {
        let from = exchange.worker.network.site(exchange.sending.origin)?;
        let (scheme, authority) = (from.origin.scheme.name(), from.origin.authority());
        let base = Url::parse(&format!("{scheme}://{authority}{path}")).ok()?;
        Self::of(&base.join(std::str::from_utf8(location).ok()?).ok()?)
    }

    fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = url.port().unwrap_or(scheme.port());
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some(Self {
            origin: Origin { scheme, host, port },
            path,
        })
    }
}

/// A request that was sent, taken apart.
struct Sent<'r> {
    method: &'r str,
    target: &'r str,
    /// Its headers with their line ends.
    lines: &'r str,
    body: &'r [u8],
}

impl<'r> Sent<'r> {
    fn of(rendered: &'r [u8]) -> Self {
        let (head, body) = rendered
            .split_at_checked(message::head_length(rendered))
            .unwrap_or((rendered, &[]));
        let head = std::str::from_utf8(head).unwrap_or_default();
        let (first, lines) = head.split_once("\r\n").unwrap_or_default();
        Self {
            method: first.split(' ').next().unwrap_or_default(),
            target: message::request_target(rendered),
            lines: lines.strip_suffix("\r\n").unwrap_or(lines),
            body,
        }
    }
}

fn follow(
    exchange: &Exchange<'_>,
    redirects: &Redirects,
    sent: &Sent<'_>,
    method: Method,
    to: &Target,
    followed: u8,
) -> Result<Hop, Failure> {
    let worker = exchange.worker;
    let authority = to.origin.authority();
    let place = || format!("{}://{authority}", to.origin.scheme.name());
    if !worker.compiled.target.allows(&to.origin) {
        return Err(Failure::redirect(format!(
            "leads to {}, which is neither the target nor in target.allowedHosts",
            place()
        )));
    }
    let origin = worker.network.number_of(&to.origin).ok_or_else(|| {
        Failure::redirect(format!(
            "leads to {}, one origin too many to remember",
            place()
        ))
    })?;
    let leaves = origin != exchange.sending.origin;
    let traced = exchange.sending.message.is_traced();
    let mut left_out: Vec<&str> = Vec::new();
    if method == Method::Get {
        left_out.extend(OF_THE_BODY);
    }
    if leaves {
        left_out.extend(OF_THE_ORIGIN);
        left_out.extend(redirects.private.iter().map(String::as_str));
    }
    if traced {
        // Each request is a span of its own.
        left_out.push(TRACEPARENT);
    }
    let (name, body) = match method {
        Method::Same => (sent.method, sent.body),
        Method::Get => ("GET", &[][..]),
    };
    let mut head = format!("{name} {} HTTP/1.1\r\n", to.path);
    if leaves {
        head.push_str("Host: ");
        head.push_str(&authority);
        head.push_str("\r\n");
    }
    let is_left_out = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        left_out
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    };
    let lines = sent.lines.split_inclusive("\r\n");
    let rest: String = lines.filter(|line| !is_left_out(line)).collect();
    let rest = [rest.as_bytes(), b"\r\n", body].concat();
    let kind = exchange.sending.kind;
    let cookies = if leaves {
        CookieHeader::Jar
    } else {
        kind.cookies
    };
    Ok(Hop {
        sending: Sending {
            origin,
            message: Message::rendered(head.as_bytes(), traced, &rest),
            kind: Kind {
                idempotent: is_idempotent(name),
                head: name == "HEAD",
                cookies,
                ..kind
            },
        },
        followed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_change_as_they_should() {
        use Method::{Get, Same};
        for (status, method, after) in [
            (301, "GET", Some(Same)),
            (301, "POST", Some(Get)),
            (302, "POST", Some(Get)),
            (302, "PUT", Some(Same)),
            (303, "PUT", Some(Get)),
            (303, "HEAD", Some(Same)),
            (307, "POST", Some(Same)),
            (308, "DELETE", Some(Same)),
            (300, "GET", None),
            (304, "GET", None),
            (200, "GET", None),
        ] {
            assert_eq!(method_after(status, method), after, "{status} {method}");
        }
    }

    #[test]
    fn locations_become_origins() {
        let of = |text: &str| {
            let target = Target::of(&Url::parse(text).unwrap())?;
            let scheme = target.origin.scheme.name();
            Some((scheme, target.origin.host, target.origin.port, target.path))
        };
        let expected = |scheme, host: &str, port, path: &str| {
            Some((scheme, host.to_owned(), port, path.to_owned()))
        };
        assert_eq!(
            of("https://Shop.example/a b?q=1#top"),
            expected("https", "shop.example", 443, "/a%20b?q=1")
        );
        assert_eq!(of("http://[::1]:81"), expected("http", "::1", 81, "/"));
        assert_eq!(of("ftp://shop/"), None);
        assert_eq!(of("mailto:a@b"), None);
    }
}
