//! A user's cookies: the client's part of RFC 6265, made only when a server sets one.
//!
//! Own code, because a jar is looked into for every request of a user who is logged in, and the
//! known libraries want a parsed url for that, which costs more than the rest of the request.
//! Public suffixes are not known: whom load may be sent to is said by the test, not by servers.

use jiff::civil::{Date, Time};

use crate::clock::{Nanos, SECOND};

/// Most cookies of a user, as many as a browser keeps for one host and a half; the oldest goes.
const MAX_COOKIES: usize = 64;

/// Longest name and value together; browsers refuse more.
const MAX_PAIR_BYTES: usize = 4_096;

/// Longest domain and longest path.
const MAX_ATTRIBUTE_BYTES: usize = 1_024;

/// Where a request goes, as far as cookies depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Host name or address in lower case.
    pub host: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Whether over TLS.
    pub secure: bool,
}

/// This moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub mono: Nanos,
    /// Seconds since 1970.
    pub unix: i64,
}

/// The cookies of one user.
#[derive(Debug, Default)]
pub struct Jar {
    /// Those with longer paths first, then those that came first: the order of sending.
    cookies: Vec<Cookie>,
    made: u64,
}

#[derive(Debug)]
struct Cookie {
    /// `name=value`.
    pair: Box<[u8]>,
    name_len: usize,
    domain: Box<str>,
    /// Only the host itself, not what is below it.
    host_only: bool,
    path: Box<str>,
    secure: bool,
    expires: Nanos,
    made: u64,
}

impl Cookie {
    fn name(&self) -> &[u8] {
        self.pair.get(..self.name_len).unwrap_or_default()
    }

    fn goes_to(&self, place: &Place<'_>) -> bool {
        (place.secure || !self.secure)
            && if self.host_only {
                *self.domain == *place.host
            } else {
                is_within(place.host, &self.domain)
            }
            && path_matches(place.path, &self.path)
    }
}

impl Jar {
    /// Takes in what a `Set-Cookie` says; what it may not say is left out without a word, as RFC
    /// 6265 demands.
    pub fn store(&mut self, from: &Place<'_>, header: &[u8], now: Now) {
        let Some(mut cookie) = parse(from, header, now) else {
            return;
        };
        let same = |other: &Cookie| {
            other.name() == cookie.name()
                && other.domain == cookie.domain
                && other.path == cookie.path
        };
        let known = self.cookies.iter().position(same);
        let expired = cookie.expires <= now.mono;
        match known {
            Some(place) if expired => drop(self.cookies.remove(place)),
            Some(place) => {
                if let Some(known) = self.cookies.get_mut(place) {
                    cookie.made = known.made;
                    *known = cookie;
                }
            }
            None if expired => {}
            None => {
                self.make_room(now.mono);
                cookie.made = self.made;
                self.made += 1;
                let longer = |other: &Cookie| other.path.len() >= cookie.path.len();
                let place = self.cookies.partition_point(longer);
                self.cookies.insert(place, cookie);
            }
        }
    }

    fn make_room(&mut self, now: Nanos) {
        if self.cookies.len() >= MAX_COOKIES {
            self.cookies.retain(|cookie| cookie.expires > now);
        }
        if self.cookies.len() >= MAX_COOKIES {
            let oldest = self.cookies.iter().map(|cookie| cookie.made).min();
            self.cookies.retain(|cookie| Some(cookie.made) != oldest);
        }
    }

    /// Writes the `Cookie` header of a request with its line end to the end of `out`; nothing if
    /// no cookie goes there.
    pub fn write(&self, to: &Place<'_>, now: Nanos, out: &mut Vec<u8>) {
        let mut before: &[u8] = b"Cookie: ";
        for cookie in &self.cookies {
            if cookie.expires > now && cookie.goes_to(to) {
                out.extend_from_slice(before);
                out.extend_from_slice(&cookie.pair);
                before = b"; ";
            }
        }
        if before == b"; " {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Whether there is nothing to send anywhere.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.cookies.clear();
    }
}

/// RFC 6265, 5.2 and 5.3.
fn parse(from: &Place<'_>, header: &[u8], now: Now) -> Option<Cookie> {
    let mut parts = header.split(|byte| *byte == b';');
    let (name, value) = split(parts.next()?)?;
    if name.is_empty() || name.len() + value.len() > MAX_PAIR_BYTES {
        return None;
    }
    let mut domain = None;
    let mut path = None;
    let (mut secure, mut max_age, mut expires) = (false, None, None);
    for part in parts {
        let (key, value) = split(part).unwrap_or((part.trim_ascii(), b""));
        let text = std::str::from_utf8(value).unwrap_or_default();
        if key.eq_ignore_ascii_case(b"domain") {
            let name = text.strip_prefix('.').unwrap_or(text);
            domain = (!name.is_empty()).then(|| name.to_ascii_lowercase());
        } else if key.eq_ignore_ascii_case(b"path") {
            path = Some(text).filter(|text| text.starts_with('/'));
        } else if key.eq_ignore_ascii_case(b"secure") {
            secure = true;
        } else if key.eq_ignore_ascii_case(b"max-age") {
            max_age = seconds(text).or(max_age);
        } else if key.eq_ignore_ascii_case(b"expires") {
            expires = date(text).or(expires);
        }
    }
    let path = path.unwrap_or_else(|| default_path(from.path));
    let host_only = domain.is_none();
    let domain = domain.unwrap_or_else(|| from.host.to_owned());
    let too_long = domain.len().max(path.len()) > MAX_ATTRIBUTE_BYTES;
    if too_long || !is_within(from.host, &domain) || (secure && !from.secure) {
        return None;
    }
    let left = max_age.or(expires.map(|at| at.saturating_sub(now.unix)));
    Some(Cookie {
        pair: [name, b"=", value].concat().into(),
        name_len: name.len(),
        domain: domain.into(),
        host_only,
        path: path.into(),
        secure,
        expires: left.map_or(Nanos::MAX, |left| {
            let left = u64::try_from(left).unwrap_or(0);
            now.mono.saturating_add(left.saturating_mul(SECOND))
        }),
        made: 0,
    })
}

/// At the first `=`, without white space around the parts.
fn split(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|byte| *byte == b'=')?;
    let (key, value) = part.split_at(at);
    Some((key.trim_ascii(), value.get(1..)?.trim_ascii()))
}

/// RFC 6265, 5.2.2.
fn seconds(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than a number has are for ever.
    Some(if negative {
        0
    } else {
        digits.parse().unwrap_or(i64::MAX)
    })
}

/// Whether a host is a domain or below it (RFC 6265, 5.1.3). Nothing is below an address.
fn is_within(host: &str, domain: &str) -> bool {
    host == domain
        || host
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.') && host.parse::<std::net::IpAddr>().is_err())
}

/// RFC 6265, 5.1.4.
fn path_matches(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(last) => path.get(..last).unwrap_or("/"),
    }
}

/// Seconds since 1970 of a date in any form that servers have used (RFC 6265, 5.1.1).
fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let is_delimiter = |c: char| !(c.is_ascii_alphanumeric() || c == ':' || !c.is_ascii());
    for token in text.split(is_delimiter).filter(|token| !token.is_empty()) {
        let digits = token.bytes().take_while(u8::is_ascii_digit).count();
        let number = token.get(..digits)?.parse::<i16>().ok();
        let word = token.get(..3).unwrap_or_default().to_ascii_lowercase();
        if time.is_none() && token.contains(':') {
            time = time_of_day(token);
        } else if day.is_none() && (1..=2).contains(&digits) {
            day = number;
        } else if let (None, Some(place)) = (month, MONTHS.iter().position(|m| *m == word)) {
            month = i8::try_from(place + 1).ok();
        } else if year.is_none() && (2..=4).contains(&digits) {
            year = number;
        }
    }
    let year = match year? {
        year @ 70..=99 => year + 1_900,
        year @ 0..=69 => year + 2_000,
        ..1_601 => return None,
        year => year,
    };
    let date = Date::new(year, month?, i8::try_from(day?).ok()?).ok()?;
    let moment = date.to_datetime(time?).to_zoned(jiff::tz::TimeZone::UTC);
    Some(moment.ok()?.timestamp().as_second())
}

fn time_of_day(token: &str) -> Option<Time> {
    let mut fields = token.split(':').map(|field| {
        let digits = field.bytes().take_while(u8::is_ascii_digit).count();
        field.get(..digits)?.parse::<i8>().ok()
    });
    let mut next = || fields.next().flatten();
    Time::new(next()?, next()?, next()?, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        mono: 50 * SECOND,
        unix: 1_700_000_000,
    };

    fn place<'a>(host: &'a str, path: &'a str) -> Place<'a> {
        Place {
            host,
            path,
            secure: false,
        }
    }

    /// What a jar with these cookies, set by `a.shop` at `/x/y`, sends to a place.
    fn sent(cookies: &[&str], to: &Place<'_>) -> String {
        let mut jar = Jar::default();
        for cookie in cookies {
            jar.store(&place("a.shop", "/x/y"), cookie.as_bytes(), NOW);
        }
        let mut out = Vec::new();
        jar.write(to, NOW.mono, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cookies_go_where_they_may_and_nowhere_else() {
        let to =
            |cookie: &str, host: &str, path: &str| !sent(&[cookie], &place(host, path)).is_empty();
        // Host-only and the default path.
        assert!(to("a=1", "a.shop", "/x") && to("a=1", "a.shop", "/x/z"));
        assert!(!to("a=1", "b.a.shop", "/x") && !to("a=1", "shop", "/x"));
        assert!(!to("a=1", "a.shop", "/") && !to("a=1", "a.shop", "/xy"));
        // A domain and what is below it, never above or beside the host that set it.
        assert!(to("a=1; Domain=.SHOP; Path=/", "b.shop", "/"));
        assert!(!to("a=1; domain=shop; path=/", "bshop", "/"));
        assert!(!to("a=1; domain=b.shop; path=/", "b.shop", "/"));
        assert!(!to("a=1; domain=x.a.shop; path=/", "x.a.shop", "/"));
        // Paths that are none fall back to the default.
        assert!(to("a=1; path=x", "a.shop", "/x") && !to("a=1; path=x", "a.shop", "/"));
        // Secure ones are not even taken over plain http.
        assert!(!to("a=1; secure; path=/", "a.shop", "/"));
        let mut jar = Jar::default();
        let secure = Place {
            secure: true,
            ..place("a.shop", "/")
        };
        jar.store(&secure, b"a=1; Secure; HttpOnly", NOW);
        let mut out = Vec::new();
        jar.write(&place("a.shop", "/"), NOW.mono, &mut out);
        assert!(out.is_empty());
        jar.write(&secure, NOW.mono, &mut out);
        assert_eq!(out, b"Cookie: a=1\r\n");
        assert!(!is_within("10.0.0.1", "0.0.1") && is_within("10.0.0.1", "10.0.0.1"));
    }

    #[test]
    fn they_are_replaced_ordered_and_expire() {
        let at = place("a.shop", "/x/y");
        let header = |cookies: &[&str]| sent(cookies, &at);
        assert_eq!(
            header(&[
                "a=1; path=/",
                "b = 2 ;path=/x",
                "a=3;path=/",
                "=no",
                "no",
                "c==; path=/"
            ]),
            "Cookie: b=2; a=3; c==\r\n"
        );
        assert_eq!(header(&["a=1", "b=2", "a=; max-age=0"]), "Cookie: b=2\r\n");
        assert_eq!(header(&["a=1; max-age=-5"]), "");
        assert_eq!(
            header(&["a=1; Expires=Wed, 15 Nov 2023 00:00:00 GMT; max-age=9"]),
            "Cookie: a=1\r\n"
        );
        assert_eq!(header(&["a=1; Expires=Thu, 01-Jan-1970 00:00:01 GMT"]), "");
        assert_eq!(header(&["a=1; expires=nonsense"]), "Cookie: a=1\r\n");
        let mut jar = Jar::default();
        jar.store(&at, b"a=1; max-age=10", NOW);
        let mut out = Vec::new();
        jar.write(&at, NOW.mono + 10 * SECOND, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn dates_in_all_their_forms() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(date(text), Some(784_111_777), "{text}");
        }
        for text in [
            "",
            "06 Nov 1994",
            "32 Nov 1994 08:49:37",
            "6 Nov 1500 1:1:1",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn a_jar_is_bounded() {
        let mut jar = Jar::default();
        let at = place("a.shop", "/");
        for n in 0..1_000 {
            jar.store(&at, format!("c{n}=1").as_bytes(), NOW);
        }
        jar.store(&at, &[b'a'; 5_000], NOW);
        jar.store(&at, format!("a={}", "b".repeat(5_000)).as_bytes(), NOW);
        assert_eq!(jar.cookies.len(), MAX_COOKIES);
        assert_eq!(jar.cookies[0].name(), b"c936");
    }
}
