use std::cell::RefCell;

use loadtest_core::{
    identity,
    template::{Names, Position},
};

use super::*;
use crate::engine::script::{
    Inputs, Memory, Value,
    testing::{self, RUN_ID, shared},
};

fn template(text: &str, position: Position) -> Template {
    Template::parse(text, position, &testing::names()).unwrap()
}

fn request(method: &str, path: &str, body: Option<Template>) -> Request {
    Request {
        method: method.to_owned(),
        path: template(path, Position::Url),
        headers: vec![("X-Key".to_owned(), template("$(first)", Position::Header))],
        body,
        ..Request::default()
    }
}

fn rendered(request: &Request, first: &str) -> String {
    let inputs = Arc::new(Inputs {
        files: vec![Arc::from(&b"file"[..])].into(),
        scopes: testing::inputs().scopes.clone(),
        ..Inputs::default()
    });
    let compiler = Compiler::new(&inputs);
    let origin = Origin {
        host: "shop".to_owned(),
        port: 80,
        ..Origin::default()
    };
    let envelope = Envelope {
        origin: &origin,
        run_id: RUN_ID,
        closes: false,
    };
    let message = Message::new(request, envelope, &compiler).unwrap();
    let memory = RefCell::new(Memory::new(&inputs));
    memory.borrow_mut().set(0, Value::text(first));
    let shared = shared(Arc::clone(&inputs));
    let mut out = Vec::new();
    message.render(&testing::values(&shared, Some(&memory)), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_body_with_expressions_says_its_length() {
    let body = |text: &str| Some(template(text, Position::Text));
    let file = Some(Template {
        segments: vec![Segment::Text("<".to_owned()), Segment::File(0)],
    });
    for (method, body, length, end) in [
        (
            "POST",
            body("n=$(first)&u=$(user.index)"),
            Some("9"),
            "n=\u{e9}z&u=3",
        ),
        ("POST", body("$(user.index)$(run.id)"), Some("33"), RUN_ID),
        ("POST", body("fixed"), Some("5"), "fixed"),
        ("PUT", file, Some("5"), "<file"),
        ("POST", body("$(second)"), Some("0"), "\r\n\r\n"),
        ("POST", None, Some("0"), "\r\n\r\n"),
        ("GET", None, None, "\r\n\r\n"),
    ] {
        let text = rendered(&request(method, "/a", body), "\u{e9}z");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let said = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(said, length, "{text}");
        let said: usize = said.map_or(0, |said| said.parse().unwrap());
        assert_eq!(said, body.len());
        assert!(text.ends_with(end), "{text}");
    }
}

#[test]
fn nothing_that_was_extracted_breaks_a_request_apart() {
    let evil = "/x HTTP/1.1\r\nEvil: 1\r\n\r\n";
    for (path, target) in [
        (
            "/a?b=$(first)",
            "/a?b=%2Fx%20HTTP%2F1.1%0D%0AEvil%3A%201%0D%0A%0D%0A",
        ),
        ("$(first:raw)", "/x%20HTTP/1.1%0D%0AEvil:%201%0D%0A%0D%0A"),
        ("$(second:raw)", "/"),
        ("$(user.index:raw)", "/3"),
    ] {
        let mut request = request("GET", "/", None);
        request.path = Template::parse(path, Position::Url, &testing::names()).unwrap();
        let text = rendered(&request, evil);
        assert_eq!(request_target(text.as_bytes()), target, "{path}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.last(), Some(&""));
        let header = "X-Key: /x HTTP/1.1  Evil: 1    ";
        assert!(lines.contains(&header), "{lines:?}");
        assert_eq!(head_length(text.as_bytes()), text.len());
    }
}

#[test]
fn each_request_says_which_trace_it_belongs_to() {
    let text = rendered(&request("GET", "/", None), "");
    let trace = identity::trace_id(identity::run_number(RUN_ID), 0, 3, 7);
    let span = identity::span_id(trace, 0, 0);
    let line = format!("traceparent: 00-{trace:032x}-{span:016x}-00");
    assert!(text.lines().any(|other| other == line), "{text}");
    let mut own = request("GET", "/", None);
    let value = Template::parse("mine", Position::Header, &Names::default());
    own.headers.push(("TraceParent".to_owned(), value.unwrap()));
    let text = rendered(&own, "");
    let lines = text
        .lines()
        .filter(|line| line.to_lowercase().starts_with("traceparent"));
    assert_eq!(lines.collect::<Vec<_>>(), ["TraceParent: mine"]);
}

#[test]
fn headers_with_secrets_are_known() {
    let mut request = request("GET", "/", None);
    for (name, value) in [
        ("A", "$(secret.key)"),
        ("B", "t $(base64 secret.key)"),
        ("C", "$(base64 first)"),
    ] {
        let value = template(value, Position::Header);
        request.headers.push((name.to_owned(), value));
    }
    assert_eq!(*private_headers(&request, &Private::default()), ["A", "B"]);
}
