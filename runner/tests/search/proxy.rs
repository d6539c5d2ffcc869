//! A proxy before a real server that fails bulk requests by script: the server does what it is
//! asked for, or is not asked, and the exporter does not learn which.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What happens to one bulk request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends before the server has it.
    ResetBefore,
    /// The server does it, then the connection ends.
    ResetAfter,
    /// The server does it, half of its answer comes.
    HalfAnswer,
    /// Its answer comes in small pieces.
    Drip,
}

type Script = Arc<Mutex<VecDeque<Fault>>>;

/// Passes on for as long as the test's process lives.
pub struct Proxy {
    pub url: String,
    script: Script,
}

impl Proxy {
    /// Before the server at `url`.
    pub fn before(url: &str, faults: &[Fault]) -> Self {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let script = Script::new(Mutex::new(faults.iter().copied().collect()));
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            script: script.clone(),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, script) = (server.clone(), script.clone());
                std::thread::spawn(move || pass_on(client, &server, &script));
            }
        });
        proxy
    }

    /// How many faults have not happened.
    pub fn left(&self) -> usize {
        self.script.lock().unwrap().len()
    }
}

/// One request; each has a connection of its own, so that an answer ends where the connection does.
fn pass_on(mut client: TcpStream, server: &str, script: &Mutex<VecDeque<Fault>>) -> Option<()> {
    let (head, body) = read_request(&mut client)?;
    let line = head.lines().next()?.to_owned();
    let fault = if line.contains("/_bulk") {
        script.lock().unwrap().pop_front()
    } else {
        None
    };
    let fault = fault.unwrap_or(Fault::None);
    if matches!(fault, Fault::ResetBefore) {
        return None;
    }
    let rest = head.strip_prefix(line.as_str())?;
    let mut upstream = TcpStream::connect(server).ok()?;
    let head = format!("{line}\r\nconnection: close{rest}");
    upstream.write_all(head.as_bytes()).ok()?;
    upstream.write_all(&body).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    let answer = last_of_its_connection(answer)?;
    match fault {
        Fault::ResetAfter => {}
        Fault::HalfAnswer => client.write_all(&answer[..answer.len() / 2]).ok()?,
        Fault::Drip => {
            for piece in answer.chunks(512) {
                client.write_all(piece).ok()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Fault::None | Fault::ResetBefore => client.write_all(&answer).ok()?,
    }
    Some(())
}

/// The answer that tells the client not to use the connection again.
fn last_of_its_connection(mut answer: Vec<u8>) -> Option<Vec<u8>> {
    let line = answer.windows(2).position(|window| window == b"\r\n")?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let told = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    if !told.contains("\r\nconnection: close") {
        answer.splice(line..line, *b"\r\nconnection: close");
    }
    Some(answer)
}

/// The head up to its empty line, and the body.
fn read_request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let read = client.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head.to_lowercase();
    let length = length
        .split_once("content-length: ")
        .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
    while bytes.len() < end + length {
        let read = client.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
    }
    Some((head, bytes.split_off(end)))
}
