//! What a request was, as JSON: httpbin's answer to `/get`, `/post` and the like.

use std::{collections::BTreeMap, net::IpAddr};

use hyper::{
    HeaderMap, Method, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// Names and values in order of the names; a name that comes more than once has a list.
type Pairs = BTreeMap<String, Value>;

/// Fields in httpbin's order, which is the alphabet's.
#[derive(Debug, Serialize)]
pub(super) struct Echo<'a> {
    args: Pairs,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Pairs>,
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    origin: IpAddr,
    url: String,
}

impl<'a> Echo<'a> {
    pub(super) fn new(uri: &Uri, headers: &'a HeaderMap, origin: IpAddr) -> Self {
        let host = headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Self {
            args: uri.query().map(pairs).unwrap_or_default(),
            data: None,
            form: None,
            headers: Headers(headers),
            json: None,
            method: None,
            origin,
            url: ["http://", host, path].concat(),
        }
    }

    pub(super) fn with_method(mut self, method: &'a Method) -> Self {
        self.method = Some(method.as_str());
        self
    }

    /// With the body: a form is taken apart, anything else is `data`, and `json` if it is that.
    pub(super) fn with_body(mut self, body: &Bytes) -> Self {
        let text = String::from_utf8_lossy(body);
        let is_form = self.headers.0.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        if is_form {
            self.form = Some(pairs(&text));
            self.data = Some(String::new());
            self.json = Some(Value::Null);
        } else {
            self.form = Some(Pairs::new());
            self.json = Some(serde_json::from_slice(body).unwrap_or(Value::Null));
            self.data = Some(text.into_owned());
        }
        self
    }
}

fn pairs(encoded: &str) -> Pairs {
    let mut pairs = Pairs::new();
    for (name, value) in form_urlencoded::parse(encoded.as_bytes()) {
        let value = Value::String(value.into_owned());
        match pairs.get_mut(name.as_ref()) {
            None => {
                pairs.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    pairs
}

/// Headers with names as people write them; values of the same name are joined.
#[derive(Debug)]
pub(super) struct Headers<'a>(pub(super) &'a HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        let mut name = String::new();
        for key in self.0.keys() {
            name.clear();
            let mut first = true;
            for letter in key.as_str().chars() {
                name.push(if first {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                });
                first = letter == '-';
            }
            let mut values = self.0.get_all(key).iter().map(HeaderValue::as_bytes);
            let value = values.next().unwrap_or_default();
            let mut value = String::from_utf8_lossy(value);
            for more in values {
                let value = value.to_mut();
                value.push_str(", ");
                value.push_str(&String::from_utf8_lossy(more));
            }
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}
