//! What never leaves a runner: values of query parameters that look like credentials.

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
}
