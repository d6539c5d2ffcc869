//! What never leaves a runner: values of query parameters, of form fields and of JSON members whose
//! names look like those of credentials.

/// Words in a parameter's name that make its value a secret.
const SECRET_WORDS: [&str; 8] = [
    "token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "cookie",
    "apikey",
    "api_key",
];

/// A query with the values of secret parameters replaced.
pub(super) fn redact_query(query: &str) -> String {
    let pairs: Vec<_> = query.split('&').map(redact_pair).collect();
    pairs.join("&")
}

fn redact_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=REDACTED"),
        _ => pair.to_owned(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// A body, perhaps cut, with the values of secret members, fields and parameters replaced. It need
/// not be whole, nor well-formed: what looks like a member of an object is one.
pub(super) fn redact_body(body: &str) -> String {
    redact_pairs(&redact_members(body))
}

/// Replaces values in `name=value`, wherever that stands: in a form, in a url that is repeated.
fn redact_pairs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(sign) = rest.find('=') {
        let (before, after) = rest.split_at(sign + 1);
        out.push_str(before);
        rest = after;
        let named = before.strip_suffix('=').unwrap_or(before);
        let is_of_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let name = named.rsplit(|c| !is_of_name(c)).next();
        if name.is_some_and(is_secret) {
            let is_end = |c: char| c.is_whitespace() || "&\"'<>,;\\".contains(c);
            let end = after.find(is_end).unwrap_or(after.len());
            if end > 0 {
                out.push_str("REDACTED");
            }
            rest = after.get(end..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

fn redact_members(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon + 1);
        out.push_str(before);
        rest = after;
        if member_name(before).is_some_and(is_secret) {
            let value = after.trim_start();
            out.push_str(after.strip_suffix(value).unwrap_or_default());
            let (replacement, length) = replaced(value);
            out.push_str(&replacement);
            rest = value.get(length..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// The name of the member whose colon a text ends with. Its quotes may be escaped, as in JSON that
/// is a text in JSON.
fn member_name(text: &str) -> Option<&str> {
    let before = text.strip_suffix(':')?.trim_end();
    let name = before.strip_suffix('"')?.trim_end_matches('\\');
    name.rsplit('"').next()
}

/// What stands for a value, and how long the value is; one that is cut goes to the end.
fn replaced(value: &str) -> (String, usize) {
    let unescaped = value.trim_start_matches('\\');
    let escapes = value.len() - unescaped.len();
    if unescaped.starts_with('"') {
        let (quote, inside) = value.split_at(escapes + 1);
        let length = text_length(inside, escapes);
        let end = inside
            .get(length..)
            .map_or(0, |end| quote.len().min(end.len()));
        let closing = inside.get(length..length + end).unwrap_or_default();
        return (
            format!("{quote}REDACTED{closing}"),
            quote.len() + length + end,
        );
    }
    let length = match value.chars().next() {
        Some('[' | '{') => nested_length(value),
        _ => value
            .find([',', '}', ']', '\n', '\r'])
            .unwrap_or(value.len()),
    };
    (
        if length > 0 { "\"REDACTED\"" } else { "" }.to_owned(),
        length,
    )
}

/// Length of a text up to the quote that ends it: the first that is escaped as the one that began it,
/// escaped backslashes left aside.
fn text_length(inside: &str, escapes: usize) -> usize {
    let mut backslashes = 0;
    for (place, byte) in inside.bytes().enumerate() {
        match byte {
            b'"' if backslashes % (2 * (escapes + 1)) == escapes => return place - escapes,
            b'\\' => backslashes += 1,
            _ => backslashes = 0,
        }
    }
    inside.len()
}

/// Length of a list or an object, by its brackets.
fn nested_length(value: &str) -> usize {
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    for (place, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return place + 1;
                }
            }
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_are_replaced() {
        assert_eq!(
            redact_query("q=1&Access_Token=abc=&password=&flag&page=$(user.index)"),
            "q=1&Access_Token=REDACTED&password=REDACTED&flag&page=$(user.index)"
        );
    }

    #[test]
    fn secret_members_of_a_body_are_replaced_however_it_is_cut() {
        for (body, shown) in [
            (
                r#"{"a":1,"access_token": "x\"y","b":"token: z"}"#,
                r#"{"a":1,"access_token": "REDACTED","b":"token: z"}"#,
            ),
            (
                r#"{"Cookie":["a=1","b]"],"x":2}"#,
                r#"{"Cookie":"REDACTED","x":2}"#,
            ),
            (
                r#"{"secret":12,"x":{"password":null}}"#,
                r#"{"secret":"REDACTED","x":{"password":"REDACTED"}}"#,
            ),
            (
                r#"{"said":"{\"token\":\"x y\",\"b\":1}"}"#,
                r#"{"said":"{\"token\":\"REDACTED\",\"b\":1}"}"#,
            ),
            (r#"{"token":"half of i"#, r#"{"token":"REDACTED"#),
            (r#"{"token":["half"#, r#"{"token":"REDACTED""#),
            (r#"{"token":"#, r#"{"token":"#),
            ("http://x: y \":", "http://x: y \":"),
            ("a=1&my_token=x&b=", "a=1&my_token=REDACTED&b="),
            (
                r#"{"url":"/?token=x","b":1}"#,
                r#"{"url":"/?token=REDACTED","b":1}"#,
            ),
            ("1 + 1 = 2, token=", "1 + 1 = 2, token="),
            ("", ""),
        ] {
            assert_eq!(redact_body(body), shown, "{body}");
        }
    }
}
