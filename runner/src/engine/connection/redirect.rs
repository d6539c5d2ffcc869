//! Where a redirect leads, and the request that goes there (RFC 9110, 15.4).

use loadtest_core::{
    plan::{Origin, Request, Scheme},
    template::Template,
};
use url::{Host, Url};

use super::{Connection, Exchange};
use crate::engine::{
    compile::{Kind, Redirects, Sending},
    failure::Failure,
    message::{self, Envelope, Message},
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
    /// Its parts, of which the next hop is made.
    request: Request,
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
        let request = before.map_or(&redirects.request, |hop| &hop.request);
        let Some(method) = method_after(status, &request.method) else {
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
        let next = Target::new(exchange, &location)
            .ok_or_else(|| Failure::redirect(malformed(status, &location)))?;
        follow(exchange, redirects, request, method, next, followed + 1)
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
    fn new(exchange: &Exchange<'_>, location: &[u8]) -> Option<Self> {
        let from = exchange.worker.network.site(exchange.sending.origin)?;
        let mut rendered = exchange.worker.render.borrow_mut();
        rendered.clear();
        exchange
            .sending
            .message
            .render(&exchange.values, &mut rendered);
        let path = message::request_target(&rendered);
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

fn follow(
    exchange: &Exchange<'_>,
    redirects: &Redirects,
    from: &Request,
    method: Method,
    to: Target,
    followed: u8,
) -> Result<Hop, Failure> {
    let worker = exchange.worker;
    let place = || format!("{}://{}", to.origin.scheme.name(), to.origin.authority());
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
    let mut request = from.clone();
    let mut left_out: Vec<&str> = Vec::new();
    if method == Method::Get {
        "GET".clone_into(&mut request.method);
        request.body = None;
        left_out.extend(OF_THE_BODY);
    }
    if origin != exchange.sending.origin {
        left_out.extend(OF_THE_ORIGIN);
    }
    request.headers.retain(|(name, _)| {
        !left_out
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    });
    request.path = Template::literal(to.path);
    let envelope = Envelope {
        origin: &to.origin,
        run_id: exchange.values.run_id,
        closes: redirects.closes,
    };
    let sending = Sending {
        origin,
        message: Message::new(&request, envelope),
        kind: Kind {
            client: exchange.sending.kind.client,
            ..Kind::new(&request, redirects.closes, redirects.cookies)
        },
    };
    Ok(Hop {
        sending,
        request,
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
