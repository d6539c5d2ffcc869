//! How it begins and ends.

use std::{
    net::TcpListener,
    process::Output,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::client::{Target, command};

fn refused(listen: &str) -> Output {
    let output = command()
        .args(["--listen", listen])
        .output()
        .expect("it runs");
    assert!(
        output.stdout.is_empty(),
        "nothing listens, so nothing says so"
    );
    output
}

#[test]
fn a_port_in_use_is_said_and_ends_with_three() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let output = refused(&address);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!(
            "loadtest target: {address} is in use; stop what listens there, or choose another \
             address with --listen (port 0 takes a free one)\n"
        )
    );
}

#[test]
fn an_address_that_is_none_is_bad_usage() {
    for listen in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ""] {
        let output = refused(listen);
        assert_eq!(output.status.code(), Some(2), "{listen:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            error.contains(&format!("{listen:?} is not an address")),
            "{error}"
        );
    }
}

#[test]
fn a_signal_ends_it_after_the_answers_under_way() {
    for signal in ["TERM", "INT"] {
        let target = Target::start();
        let mut idle = target.connect();
        idle.ask("GET", "/get", "", b"");
        let mut busy = target.connect();
        let began = Instant::now();
        busy.send("GET", "/delay/1.5", "", b"");
        // The request is under way once it is counted.
        while idle.ask("GET", "/__stats", "", b"").json()["by_path"]["delay"] != json!(1) {
            assert!(
                began.elapsed() < Duration::from_millis(1_300),
                "too slow to test anything"
            );
        }
        target.signal(signal);
        assert_eq!(busy.receive(false).status, 200, "SIG{signal}");
        assert!(began.elapsed() >= Duration::from_millis(1_500));
        assert_eq!(target.wait().code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let target = Target::start();
    let mut busy = target.connect();
    let began = Instant::now();
    busy.send("GET", "/delay/10", "", b"");
    while target.ask("GET", "/__stats").json()["by_path"]["delay"] != json!(1) {}
    target.signal("TERM");
    // It has taken the first when it takes no connections any more.
    while std::net::TcpStream::connect(target.address).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "it still listens");
    }
    target.signal("TERM");
    assert_eq!(target.wait().code(), Some(130));
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "it waited for the answer"
    );
}

#[tokio::test]
async fn it_serves_inside_another_process_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(loadtest_cli::target::serve(listener, async {
        let _ = stopped.await;
    }));
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    stream.writable().await.expect("open");
    stream
        .try_write(b"GET /status/418 HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    stream.readable().await.expect("an answer");
    let mut answer = [0; 512];
    let n = stream.try_read(&mut answer).expect("an answer");
    assert!(answer[..n].starts_with(b"HTTP/1.1 418 "));
    stop.send(()).expect("it runs");
    server.await.expect("it ends");
}

#[test]
fn a_probe_says_whether_a_target_answers() {
    let probe = |address: &str| {
        let output = command().args(["--probe", "--listen", address]).output();
        let output = output.expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let target = Target::start();
    assert_eq!(probe(&target.address.to_string()), (Some(0), String::new()));
    let stats = target.ask("GET", "/__stats").json();
    assert_eq!(stats["requests"], json!(0), "a probe is no request");

    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("its address").to_string();
    drop(silent);
    let (code, error) = probe(&address);
    assert_eq!(code, Some(3));
    assert!(
        error.contains(&format!("no target answers at {address}: ")),
        "{error}"
    );
}
