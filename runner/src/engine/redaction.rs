//! Texts without secrets, in any coding in which templates write them: what is shown to people.

use std::{borrow::Cow, cmp::Reverse};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use loadtest_core::{
    identity,
    template::{Escape, percent_encode},
};

use super::script::Inputs;

/// Headers of a request that prove who sends it.
const CREDENTIALS: [&str; 5] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-auth-token",
];

/// Longest of such headers that is looked for in what a server says; few servers take longer ones.
const CREDENTIALS_BYTES: usize = 8 << 10;

/// A shorter cookie is no proof of anything, and in many texts by chance.
const SHORTEST_COOKIE: usize = 8;

/// What is hidden, and what stands in its place.
#[derive(Debug)]
pub struct Redaction {
    forms: Vec<Form>,
}

#[derive(Debug)]
struct Form {
    hidden: String,
    label: String,
}

impl Redaction {
    /// Of the plan's secrets and the authorization as it is now.
    pub fn of(inputs: &Inputs) -> Self {
        let mut redaction = Self { forms: Vec::new() };
        if let Some((_, authorization)) = inputs.authorization.newer_than(0) {
            // Who repeats it may leave out the scheme.
            let credentials = authorization.split_once(' ').map(|(_, after)| after.trim());
            for hidden in [Some(&*authorization), credentials].into_iter().flatten() {
                redaction.hide(hidden, "[authorization]");
            }
        }
        for (secret, name) in inputs.secrets.iter().zip(&inputs.secret_names) {
            redaction.hide(secret.reveal(), &format!("[secret.{name}]"));
        }
        redaction
    }

    /// And of the credentials in the head of a request.
    pub fn and_of(mut self, head: &str) -> Self {
        for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
            let credentials = CREDENTIALS.iter().find(|c| c.eq_ignore_ascii_case(name));
            let Some(known) = credentials.filter(|_| value.len() <= CREDENTIALS_BYTES) else {
                continue;
            };
            self.hide(value, &format!("[{known}]"));
            if *known == "cookie" {
                let cookies = value.split("; ").filter_map(|pair| pair.split_once('='));
                for (_, cookie) in cookies.filter(|(_, value)| value.len() >= SHORTEST_COOKIE) {
                    self.hide(cookie, "[cookie]");
                }
            }
        }
        self
    }

    /// And of texts that have a secret in them, each with what stands in its place: coded as a
    /// whole they show nothing that is known.
    pub fn and_of_made<'m>(mut self, made: impl IntoIterator<Item = &'m (String, String)>) -> Self {
        for (text, label) in made {
            self.hide(text, label);
        }
        self
    }

    fn hide(&mut self, text: &str, label: &str) {
        if text.is_empty() {
            return;
        }
        let mut forms = vec![
            text.to_owned(),
            // What echoes a JSON text within a JSON text escapes it twice.
            Escape::Json.apply(&Escape::Json.apply(text)),
            BASE64_URL_SAFE_NO_PAD.encode(text),
            identity::hex(text.as_bytes()),
        ];
        forms.extend(in_html(text));
        // Some of what base64 is written in is escaped again.
        for text in [text, &BASE64_STANDARD.encode(text)] {
            forms.extend(in_json(text));
            forms.extend(in_url(text));
        }
        forms.sort_unstable();
        forms.dedup();
        self.forms.extend(forms.into_iter().map(|hidden| Form {
            hidden,
            label: label.to_owned(),
        }));
    }

    /// Length of the longest text that may be hidden: so much beyond an end must be known to hide
    /// all that begins before it.
    pub fn longest(&self) -> usize {
        let lengths = self.forms.iter().map(|form| form.hidden.len());
        lengths.max().unwrap_or(0).max(CREDENTIALS_BYTES)
    }

    /// All of a text.
    pub fn apply(&self, text: &str) -> String {
        self.replace(text, text.len()).into_owned()
    }

    /// What of a text begins within its first `end` bytes, never more bytes than that.
    pub fn apply_up_to<'t>(&self, text: &'t str, end: usize) -> Cow<'t, str> {
        match self.replace(text, end) {
            Cow::Borrowed(text) => Cow::Borrowed(cut(text, end)),
            Cow::Owned(mut text) => {
                text.truncate(text.floor_char_boundary(end));
                Cow::Owned(text)
            }
        }
    }

    /// The part of a text before `end`, a secret that begins in it as a whole.
    fn replace<'t>(&self, text: &'t str, end: usize) -> Cow<'t, str> {
        let mut next: Vec<_> = self.forms.iter().map(|f| text.find(&f.hidden)).collect();
        let (mut out, mut at) = (String::new(), 0);
        while let Some((place, form)) = self.first(text, at, &mut next).filter(|(p, _)| *p < end) {
            out.push_str(text.get(at..place).unwrap_or_default());
            out.push_str(&form.label);
            at = place + form.hidden.len();
        }
        let rest = cut(text.get(at..).unwrap_or_default(), end.saturating_sub(at));
        if at == 0 {
            return Cow::Borrowed(rest);
        }
        out.push_str(rest);
        Cow::Owned(out)
    }

    /// The first form in the text from `at` on, of those that begin at the same place the longest.
    /// `next` has where each was last found.
    fn first(&self, text: &str, at: usize, next: &mut [Option<usize>]) -> Option<(usize, &Form)> {
        let rest = text.get(at..)?;
        for (form, place) in self.forms.iter().zip(&mut *next) {
            if place.is_some_and(|place| place < at) {
                *place = rest.find(&form.hidden).map(|within| at + within);
            }
        }
        let found = self.forms.iter().zip(next.iter());
        let found = found.filter_map(|(form, place)| place.map(|place| (place, form)));
        found.min_by_key(|(place, form)| (*place, Reverse(form.hidden.len())))
    }
}

/// What writers of JSON write as `\u` and four digits besides what all of them do.
const ESCAPED_IN_JSON: [fn(char) -> bool; 6] = [
    |_| false,
    // Python, PHP.
    |character| !character.is_ascii(),
    // Go, Rails.
    |character| "&<>".contains(character),
    // Gson.
    |character| "&<>='".contains(character),
    // .NET.
    |character| !character.is_ascii() || "\"&'+<>`".contains(character),
    |character| !character.is_ascii_alphanumeric(),
];

/// As the inside of a JSON text, by any server.
fn in_json(text: &str) -> impl Iterator<Item = String> {
    let written = move |is_escaped: fn(char) -> bool, upper: bool, slash: &str| {
        let mut out = String::new();
        for character in text.chars() {
            let mut units = [0; 2];
            match character {
                _ if is_escaped(character) => {
                    for unit in character.encode_utf16(&mut units) {
                        let digits = identity::hex(&unit.to_be_bytes());
                        out.push_str("\\u");
                        out.push_str(&if upper {
                            digits.to_ascii_uppercase()
                        } else {
                            digits
                        });
                    }
                }
                '/' => out.push_str(slash),
                _ => out.push_str(&Escape::Json.apply(character.encode_utf8(&mut [0; 4]))),
            }
        }
        out
    };
    ESCAPED_IN_JSON.into_iter().flat_map(move |is_escaped| {
        let ways = [(false, "/"), (false, "\\/"), (true, "/"), (true, "\\/")];
        ways.map(|(upper, slash)| written(is_escaped, upper, slash))
    })
}

/// As text of an HTML page: who writes which quote how differs.
fn in_html(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace('&', "&amp;");
    let text = text.replace('<', "&lt;").replace('>', "&gt;");
    let quotes = [
        ("\"", "'"),
        ("&quot;", "'"),
        ("&quot;", "&#39;"),
        ("&quot;", "&#x27;"),
        ("&#34;", "&#39;"),
    ];
    let written = move |(double, single)| text.replace('"', double).replace('\'', single);
    quotes.into_iter().map(written)
}

/// As part of a url, in digits of both cases, and as a form has it.
fn in_url(text: &str) -> impl Iterator<Item = String> {
    let upper = percent_encode(text);
    let mut lower = String::new();
    for (number, part) in upper.split('%').enumerate() {
        // A percent sign itself is encoded: two digits follow each.
        let digits = if number == 0 { 0 } else { 2 };
        let (digits, after) = part.split_at_checked(digits).unwrap_or(("", part));
        lower.push_str(if number == 0 { "" } else { "%" });
        lower.push_str(&digits.to_ascii_lowercase());
        lower.push_str(after);
    }
    let forms = [upper.replace("%20", "+"), lower.replace("%20", "+")];
    [upper, lower].into_iter().chain(forms)
}

/// The first `most` bytes at most, whole characters.
pub fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hiding(secrets: &[(&str, &str)]) -> Redaction {
        let mut redaction = Redaction { forms: Vec::new() };
        for (name, secret) in secrets {
            redaction.hide(secret, &format!("[{name}]"));
        }
        redaction
    }

    #[test]
    fn secrets_are_hidden_in_every_coding() {
        let redaction = hiding(&[
            ("key", "a\"b c"),
            ("empty", ""),
            ("odd", "<é/'&+ \u{1f600}>"),
        ]);
        let twice = serde_json::json!({"said": serde_json::json!({"key": "a\"b c"}).to_string()});
        for (text, shown) in [
            ("k=a\"b c!", "k=[key]!"),
            ("{\"k\":\"a\\\"b c\"}", "{\"k\":\"[key]\"}"),
            ("?k=a%22b%20c&", "?k=[key]&"),
            ("Basic YSJiIGM=", "Basic [key]"),
            ("in a url YSJiIGM.", "in a url [key]."),
            ("61226220630a", "[key]0a"),
            (
                "in a url YSJiIGM%3D or YSJiIGM%3d.",
                "in a url [key] or [key].",
            ),
            ("form a%22b+c", "form [key]"),
            ("html a&quot;b c a&#34;b c", "html [key] [key]"),
            (r"PHP <\u00e9\/'&+ \ud83d\ude00>", "PHP [odd]"),
            (r"Python <\u00e9/'&+ \ud83d\ude00>", "Python [odd]"),
            (r"upper <\u00E9/'&+ \uD83D\uDE00>", "upper [odd]"),
            ("slash <é\\/'&+ \u{1f600}>", "slash [odd]"),
            ("Go \\u003cé/'\\u0026+ \u{1f600}\\u003e", "Go [odd]"),
            (
                r".NET \u003C\u00E9/\u0027\u0026\u002B \uD83D\uDE00\u003E",
                ".NET [odd]",
            ),
            (
                r"all \u003c\u00e9\u002f\u0027\u0026\u002b\u0020\ud83d\ude00\u003e",
                "all [odd]",
            ),
            ("&lt;é/'&amp;+ \u{1f600}&gt;", "[odd]"),
            ("&lt;é/&#39;&amp;+ \u{1f600}&gt;", "[odd]"),
            ("&lt;é/&#x27;&amp;+ \u{1f600}&gt;", "[odd]"),
            ("%3c%c3%a9%2f%27%26%2b%20%f0%9f%98%80%3e", "[odd]"),
            ("%3c%c3%a9%2f%27%26%2b+%f0%9f%98%80%3e", "[odd]"),
            ("%3C%C3%A9%2F%27%26%2B+%F0%9F%98%80%3E", "[odd]"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(redaction.apply(text), shown);
        }
        let shown = redaction.apply(&twice.to_string());
        assert!(shown.contains("[key]") && !shown.contains("b c"), "{shown}");
    }

    #[test]
    fn the_longer_secret_wins_where_both_begin() {
        let redaction = hiding(&[("short", "abc"), ("long", "abcdef")]);
        assert_eq!(
            redaction.apply("abcdef abcd xabc"),
            "[long] [short]d x[short]"
        );
    }

    #[test]
    fn what_proves_who_sends_is_hidden() {
        let head = "GET / HTTP/1.1\r\nAuthorization: Bearer x\r\nCookie: a=1; s=0123456789\r\n\
                    accept: text\r\n\r\n";
        let redaction = hiding(&[]).and_of(head);
        for (said, shown) in [
            ("you are Bearer x", "you are [authorization]"),
            ("a=1; s=0123456789", "[cookie]"),
            ("session 0123456789 of 1", "session [cookie] of 1"),
            ("text", "text"),
        ] {
            assert_eq!(redaction.apply(said), shown);
        }
    }

    /// Wherever a text is cut, no part of a secret is left at its end.
    #[test]
    fn a_cut_never_leaves_half_a_secret() {
        let redaction = hiding(&[("s", "0123456789")]);
        let text = "ä0123456789-0123456789é0123456789";
        for end in 0..=text.len() {
            let shown = redaction.apply_up_to(text, end);
            assert!(shown.len() <= end, "{end}: {shown}");
            assert!(!shown.contains(|c: char| c.is_ascii_digit()), "{shown}");
        }
        assert_eq!(redaction.apply_up_to(text, text.len()), "ä[s]-[s]é[s]");
        assert_eq!(redaction.apply_up_to(text, 8), "ä[s]");
    }
}
