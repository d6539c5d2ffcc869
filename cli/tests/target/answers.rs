//! What it answers and what it counts.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::client::Target;

#[test]
fn a_request_comes_back_as_json() {
    let target = Target::start();
    let host = target.address.to_string();
    let mut connection = target.connect();

    let get = connection.ask("GET", "/get?a=1&b=x%20y&a=2", "X-Test-Id: 7\r\n", b"");
    assert_eq!(get.status, 200);
    assert!(get.keep_alive);
    assert!(
        get.head.contains("content-type: application/json"),
        "{}",
        get.head
    );
    assert_eq!(
        get.json(),
        json!({
            "args": { "a": ["1", "2"], "b": "x y" },
            "headers": { "Host": host, "X-Test-Id": "7" },
            "origin": "127.0.0.1",
            "url": format!("http://{host}/get?a=1&b=x%20y&a=2"),
        })
    );

    let post = connection
        .ask("POST", "/post", "", br#"{"n": [1, 2]}"#)
        .json();
    assert_eq!(post["json"], json!({ "n": [1, 2] }));
    assert_eq!(post["data"], r#"{"n": [1, 2]}"#);
    assert_eq!(post["form"], json!({}));

    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let put = connection.ask("PUT", "/put", kind, b"a=1&b=%C3%A9").json();
    assert_eq!(put["form"], json!({ "a": "1", "b": "é" }));
    assert_eq!((&put["data"], &put["json"]), (&json!(""), &Value::Null));

    let text = connection.ask("PATCH", "/patch", "", b"plain").json();
    assert_eq!(
        (&text["data"], &text["json"]),
        (&json!("plain"), &Value::Null)
    );

    let any = connection.ask("DELETE", "/anything/a/b", "", b"").json();
    assert_eq!(
        (&any["method"], &any["data"]),
        (&json!("DELETE"), &json!(""))
    );

    let parts = connection
        .ask("GET", "/headers", "user-agent: me\r\n", b"")
        .json();
    assert_eq!(
        parts,
        json!({ "headers": { "Host": host, "User-Agent": "me" } })
    );
    assert_eq!(
        connection.ask("GET", "/ip", "", b"").json(),
        json!({ "origin": "127.0.0.1" })
    );
    let agent = connection
        .ask("GET", "/user-agent", "user-agent: me\r\n", b"")
        .json();
    assert_eq!(agent, json!({ "user-agent": "me" }));
    assert_eq!(
        connection.ask("GET", "/json", "", b"").json()["catalogue"]["items"][0]["sku"],
        "GT-1001"
    );
}

#[test]
fn statuses_and_refusals_are_exact() {
    let target = Target::start();
    for (method, path, status) in [
        ("GET", "/", 200),
        ("GET", "/status/200", 200),
        ("POST", "/status/201", 201),
        ("GET", "/status/204", 204),
        ("GET", "/status/304", 304),
        ("DELETE", "/status/404", 404),
        ("GET", "/status/503", 503),
        ("GET", "/status/999", 999),
        ("GET", "/status/100", 400),
        ("GET", "/status/1000", 400),
        ("GET", "/status/", 400),
        ("GET", "/status/x", 400),
        ("POST", "/get", 405),
        ("GET", "/post", 405),
        ("POST", "/__stats", 405),
        ("GET", "/nothing", 404),
        ("GET", "/getx", 404),
        ("GET", "/delay/-1", 400),
        ("GET", "/delay/10.1", 400),
        ("GET", "/delay/NaN", 400),
        ("GET", "/delay/x", 400),
        ("GET", "/bytes/-1", 400),
        ("GET", "/bytes/10485761", 400),
        ("GET", "/stream/1001", 400),
        ("HEAD", "/get", 200),
        ("HEAD", "/bytes/1000", 200),
    ] {
        let answer = target.ask(method, path);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.keep_alive, "{method} {path}");
        match status {
            400 | 405 => assert!(answer.json()["error"].is_string(), "{method} {path}"),
            _ if method == "HEAD" || path.starts_with("/status") => assert!(answer.body.is_empty()),
            _ => {}
        }
    }
    assert!(target.ask("GET", "/post").head.contains("allow: post"));
    assert!(
        target
            .ask("HEAD", "/bytes/1000")
            .head
            .contains("content-length: 1000")
    );
}

#[test]
fn a_delay_is_kept() {
    let target = Target::start();
    let began = Instant::now();
    let answer = target.connect().ask("POST", "/delay/0.25?x=1", "", b"late");
    assert!(began.elapsed() >= Duration::from_millis(250));
    assert_eq!(
        (&answer.json()["data"], &answer.json()["args"]),
        (&json!("late"), &json!({ "x": "1" }))
    );
}

#[test]
fn bodies_have_the_length_that_was_asked_for() {
    let target = Target::start();
    let mut connection = target.connect();
    let whole = connection.ask("GET", "/bytes/10485760", "", b"").body;
    for n in [0usize, 1, 100, 65_536, 65_537, 1_000_000, 10_485_760] {
        let body = connection.ask("GET", &format!("/bytes/{n}"), "", b"").body;
        assert!(body == whole[..n], "{n} bytes");
    }
    let stream = connection.ask("GET", "/stream/3?a=b", "", b"");
    assert!(
        stream.head.contains("transfer-encoding: chunked"),
        "{}",
        stream.head
    );
    let lines: Vec<Value> = stream
        .body
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["args"] == json!({ "a": "b" })));
    assert_eq!(connection.ask("GET", "/stream/0", "", b"").body, b"");
}

#[test]
fn a_body_may_have_ten_mebibytes_and_no_more() {
    let target = Target::start();
    let largest = vec![b'x'; 10 << 20];
    let answer = target.connect().ask("POST", "/post", "", &largest);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json()["data"].as_str().map(str::len),
        Some(largest.len())
    );
    let mut connection = target.connect();
    connection.send(
        "POST",
        "/post",
        "Expect: 100-continue\r\nContent-Length: 10485761\r\n",
        b"",
    );
    let refused = connection.receive(false);
    assert_eq!(refused.status, 413);
    assert_eq!(refused.json()["error"], "the body is larger than 10 MiB");
}

#[test]
fn uuids_are_unique_and_of_version_four() {
    let target = Target::start();
    let mut connection = target.connect();
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        let uuid = connection.ask("GET", "/uuid", "", b"").json()["uuid"]
            .as_str()
            .expect("a string")
            .to_owned();
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        assert!(seen.insert(uuid));
    }
}

#[test]
fn the_counters_are_exact_and_do_not_count_themselves() {
    let target = Target::start();
    let empty = target.ask("GET", "/__stats").json();
    assert_eq!(
        (&empty["requests"], &empty["by_path"]),
        (&json!(0), &json!({}))
    );

    let mut connection = target.connect();
    for n in 0..10 {
        let agent = format!("User-Agent: agent/{}\r\n", n % 3);
        connection.ask("GET", "/get?x", &agent, b"");
    }
    connection.ask("POST", "/post", "", b"x");
    connection.ask("GET", "/status/404", "", b"");
    connection.ask("GET", "/no/such/thing", "", b"");
    connection.ask("GET", "/", "", b"");
    let stats = connection
        .ask("GET", "/__stats", "User-Agent: agent/0\r\n", b"")
        .json();
    assert_eq!(
        stats,
        json!({
            "requests": 14,
            "connections": 2,
            "by_path": { "get": 10, "post": 1, "status": 1, "(other)": 1, "(root)": 1 },
            "by_user_agent": { "agent/0": 4, "agent/1": 3, "agent/2": 3, "(none)": 4 },
        })
    );
}
