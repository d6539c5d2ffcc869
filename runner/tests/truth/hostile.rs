//! Targets that break off, never end or never begin: every request ends in time with a name for
//! it, in bounded memory.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use loadtest_core::{
    plan::{Plan, Request},
    series::Outcome,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

use crate::{
    harness::{body_contains, errors, get, plan, rate, run, scenario, step, task, users},
    measure::measure,
    scripted::Scripted,
};

const MIB: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_millis(400);

/// Framed by its length, by chunks with a trailer, and by nothing but the end.
const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nin stock",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nin \r\n5\r\nstock\r\n0\r\nX: 1\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nin stock",
];

/// An answer, how much of it is sent, and whether the end is a reset.
type Case = (usize, usize, bool);

fn cases() -> Vec<Case> {
    let cuts = ANSWERS.iter().enumerate().flat_map(|(answer, text)| {
        (0..=text.len()).flat_map(move |cut| [(answer, cut, false), (answer, cut, true)])
    });
    cuts.collect()
}

/// What must come of a case: outcome and message.
fn expected((answer, cut, reset): Case) -> (Outcome, &'static str) {
    let text = ANSWERS[answer];
    let ends_itself = answer != 2;
    // The last answer has an interim one before it.
    let head = if ends_itself {
        text.find("\r\n\r\n")
    } else {
        text.rfind("\r\n\r\n")
    };
    let whole = cut == text.len() && (ends_itself || !reset);
    if whole {
        (Outcome::Ok, "")
    } else if reset {
        (Outcome::Reset, "connection reset by peer")
    } else if cut == 0 {
        (Outcome::Reset, "the connection was closed before an answer")
    } else if cut < head.unwrap() + 4 {
        (
            Outcome::Reset,
            "the connection was closed inside the head of the answer",
        )
    } else if ends_itself {
        (
            Outcome::Reset,
            "the connection was closed inside the body of the answer",
        )
    } else {
        // The end of what ends with the connection; the check sees that it is not all.
        (Outcome::Check, "")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_off_at_any_byte_has_a_name() {
    let cases = cases();
    let of_target = cases.clone();
    let target = Scripted::start(move |number, _, mut stream| {
        let (answer, cut, reset) = of_target[number % of_target.len()];
        async move {
            stream.write_all(&ANSWERS[answer].as_bytes()[..cut]).await?;
            if reset {
                stream.set_zero_linger()?;
            }
            Ok(())
        }
    })
    .await;
    let mut request = get("/cut");
    request.checks = vec![body_contains("in stock")];
    // As many as there are cases: each occurs once.
    let per_second = (cases.len() * 2) as u32;
    let load = rate(&format!("{per_second}/s"), Duration::from_millis(500), 50);
    let tasks = vec![task("only", 1, vec![step(request)])];
    let measured = measure(plan(target.address, vec![scenario(load, tasks)])).await;
    let count = |all: &mut dyn Iterator<Item = (Outcome, String)>| {
        let mut counts = BTreeMap::new();
        all.for_each(|kind| *counts.entry(kind).or_insert(0) += 1);
        counts
    };
    let expected = count(&mut cases.iter().map(|case| {
        let (outcome, message) = expected(*case);
        (outcome, message.to_owned())
    }));
    let recorded = count(
        &mut measured
            .requests
            .iter()
            .map(|r| (r.outcome, r.error.clone())),
    );
    assert_eq!(recorded, expected);
    assert_eq!(target.count(), cases.len() as u64);
}

/// A head, interim answers, chunks, a length, an extension and trailers without an end.
async fn without_end(path: String, mut stream: TcpStream) -> std::io::Result<()> {
    let (begin, more): (&str, Vec<u8>) = match path.as_str() {
        "/head" => ("HTTP/1.1 200 OK\r\n", b"X: y\r\n".repeat(999)),
        "/header" => ("HTTP/1.1 200 OK\r\nX: ", vec![b'x'; 9_999]),
        "/interim" => ("", b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(9)),
        "/length" => (
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
            vec![b'x'; 99_999],
        ),
        "/close" => ("HTTP/1.0 200 OK\r\n\r\n", vec![b'x'; 99_999]),
        "/chunks" => (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nabc\r\n".repeat(9_999),
        ),
        "/extension" => (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;",
            vec![b'x'; 9_999],
        ),
        "/trailers" => (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X: y\r\n".repeat(99),
        ),
        _ => panic!("{path}"),
    };
    stream.write_all(begin.as_bytes()).await?;
    loop {
        stream.write_all(&more).await?;
        // Fast enough to fill any memory, slow enough to leave the other tests a CPU.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const ENDLESS: [(&str, Outcome, &str); 8] = [
    (
        "/head",
        Outcome::Protocol,
        "the head has more than 64 headers",
    ),
    (
        "/header",
        Outcome::Protocol,
        "the head is longer than 32 KiB",
    ),
    (
        "/interim",
        Outcome::Protocol,
        "there are more than 32 interim responses (status 1xx)",
    ),
    ("/length", Outcome::Timeout, "no whole answer within 400ms"),
    ("/close", Outcome::Timeout, "no whole answer within 400ms"),
    ("/chunks", Outcome::Timeout, "no whole answer within 400ms"),
    (
        "/extension",
        Outcome::Protocol,
        "a chunk's extensions are longer than 16 KiB",
    ),
    (
        "/trailers",
        Outcome::Protocol,
        "there are more than 64 trailers or 32 KiB of them",
    ),
];

fn impatient(path: &str, outcome: Outcome) -> Request {
    let mut request = get(path);
    // What is refused for what it is, is refused before any time is over, however busy the machine is.
    if outcome == Outcome::Timeout {
        request.timeout = TIMEOUT;
    }
    // The body is looked at, therefore kept.
    request.checks = vec![body_contains("never sent")];
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_end_in_time_and_in_bounded_memory() {
    let target = Scripted::start(|_, path, stream| without_end(path, stream)).await;
    let steps = ENDLESS
        .iter()
        .map(|(path, outcome, _)| step(impatient(path, *outcome)))
        .collect();
    let load = rate("10/s", Duration::from_millis(500), 5);
    let tasks = vec![task("only", 1, steps)];
    let measured = measure(plan(target.address, vec![scenario(load, tasks)])).await;
    for (number, (path, outcome, message)) in (0..).zip(ENDLESS) {
        let of_step: Vec<_> = measured.of_step(number).collect();
        assert_eq!(of_step.len(), 5, "{path}");
        for request in of_step {
            assert_eq!(
                (request.outcome, request.error.as_str()),
                (outcome, message),
                "{path}"
            );
            let took = Duration::from_micros(request.service_us);
            let in_time = outcome != Outcome::Timeout || took < TIMEOUT + Duration::from_secs(3);
            assert!(in_time, "{path} {took:?}");
        }
    }
    assert_eq!(target.count(), 40);
    // 16 MiB are the pool of records; a body that is kept may have 10 MiB for each of five users.
    let peak = measured.process.peak_rss / MIB;
    println!("{peak} MiB at most");
    assert!(peak < 160, "{peak} MiB");
}

fn closed(address: SocketAddr, count: u32) -> Plan {
    let mut request = get("/ok");
    request.timeout = TIMEOUT;
    let tasks = vec![task("only", 1, vec![step(request)])];
    plan(address, vec![scenario(users(count, 6 * TIMEOUT), tasks)])
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_nobody_accepts_time_out_as_what_they_are() {
    // Room for two connections that are never accepted; the kernel ignores all others.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let measured = run(closed(listener.local_addr().unwrap(), 6)).await;
    let errors = errors(&measured);
    let count = |outcome: &str, message: &str| {
        errors
            .get(&(outcome.to_owned(), message.to_owned()))
            .copied()
            .unwrap_or(0)
    };
    let no_answer = count("timeout", "no whole answer within 400ms");
    let no_connection = count("connect_timeout", "no connection within 400ms");
    assert!(no_answer >= 2 && no_connection >= 8, "{errors:?}");
    assert_eq!(no_answer + no_connection, measured.total.requests);
    assert_eq!(measured.total.failures, measured.total.requests);
}
