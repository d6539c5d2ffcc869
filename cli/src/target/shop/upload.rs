//! `POST upload`: what came in a multipart body (RFC 7578).

use hyper::{Response, StatusCode, header::CONTENT_TYPE};
use memchr::memmem;
use serde_json::{Map, Value, json};

use super::{
    super::{
        body::AnswerBody,
        routes::{as_json, problem},
    },
    Asked,
};

/// Names of the fields with their values, names of the files with their lengths.
pub(super) fn answer(asked: &Asked<'_>) -> Response<AnswerBody> {
    let kind = asked.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/form-data;")
        .and_then(|rest| rest.trim().strip_prefix("boundary="))
        .map(|boundary| boundary.trim_matches('"'));
    match boundary.and_then(|boundary| taken_apart(asked.body, boundary)) {
        Some(parts) => as_json(StatusCode::OK, &parts),
        None => problem(StatusCode::BAD_REQUEST, "this is no multipart/form-data"),
    }
}

fn taken_apart(body: &[u8], boundary: &str) -> Option<Value> {
    let (mut fields, mut files) = (Map::new(), Vec::new());
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(delimiter.get(2..)?.as_bytes())?;
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = memmem::find(part, delimiter.as_bytes())?;
        let head_end = memmem::find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(part.get(..head_end)?).ok()?;
        let content = part.get(head_end + 4..end)?;
        let name = parameter(head, " name=")?;
        match parameter(head, "filename=") {
            Some(file) => {
                files.push(json!({ "name": name, "filename": file, "bytes": content.len() }));
            }
            None => {
                fields.insert(name, String::from_utf8_lossy(content).into());
            }
        }
        rest = part.get(end + delimiter.len()..)?;
    }
    rest.starts_with(b"--")
        .then(|| json!({ "fields": fields, "files": files }))
}

/// A quoted parameter of `Content-Disposition`.
fn parameter(head: &str, name: &str) -> Option<String> {
    let (_, after) = head.split_once(name)?;
    let (value, _) = after.strip_prefix('"')?.split_once('"')?;
    Some(value.to_owned())
}
