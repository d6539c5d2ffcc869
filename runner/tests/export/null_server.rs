//! A search server that takes everything at once and remembers the ids, or only their number.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use flate2::read::GzDecoder;

#[derive(Default)]
struct Streams {
    ids: HashMap<String, HashSet<String>>,
    counts: HashMap<String, usize>,
    counts_only: bool,
}

/// Answers for as long as the test's process lives.
pub struct NullServer {
    streams: Arc<Mutex<Streams>>,
}

impl NullServer {
    pub fn on(listener: TcpListener) -> Self {
        Self::start(listener, Streams::default())
    }

    /// Looks at no document.
    pub fn counting(listener: TcpListener) -> Self {
        let counts_only = true;
        Self::start(
            listener,
            Streams {
                counts_only,
                ..Streams::default()
            },
        )
    }

    fn start(listener: TcpListener, streams: Streams) -> Self {
        let streams = Arc::new(Mutex::new(streams));
        let shared = streams.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { streams }
    }

    /// How many documents a stream has, `requests` or another.
    pub fn documents(&self, stream: &str) -> usize {
        let streams = self.streams.lock().unwrap();
        let of = |name: &String| name.starts_with(&format!("loadtest-{stream}-"));
        let ids = streams.ids.iter().filter(|(name, _)| of(name));
        let counts = streams.counts.iter().filter(|(name, _)| of(name));
        ids.map(|(_, ids)| ids.len()).sum::<usize>() + counts.map(|(_, count)| count).sum::<usize>()
    }
}

/// `None` when the client is gone, as one that is killed.
fn serve(mut stream: TcpStream, streams: &Mutex<Streams>) -> Option<()> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 256 << 10];
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&part[..read]);
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head
            .to_lowercase()
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        while bytes.len() < end + length {
            let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&part[..read]);
        }
        let body: Vec<u8> = bytes.drain(..end + length).skip(end).collect();
        let target = head.split(' ').nth(1).unwrap();
        let answer = answer(target, &body, streams);
        let text = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(text.as_bytes()).ok()?;
    }
}

fn answer(target: &str, body: &[u8], streams: &Mutex<Streams>) -> String {
    let path = target.split('?').next().unwrap();
    let (name, what) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path, ""));
    match what {
        "_bulk" => bulk(name, body, streams),
        "_count" => {
            let streams = streams.lock().unwrap();
            let count = streams.ids.get(name).map(HashSet::len);
            let count = count
                .or(streams.counts.get(name).copied())
                .unwrap_or_default();
            format!("{{\"count\":{count}}}")
        }
        "_mapping" => r#"{"i":{"mappings":{"_meta":{"version":9999}}}}"#.to_owned(),
        // Templates are there already; nothing has rolled over.
        _ if name == "_index_template" => {
            r#"{"index_templates":[{"index_template":{"version":9999}}]}"#.to_owned()
        }
        _ => "{}".to_owned(),
    }
}

fn bulk(name: &str, body: &[u8], streams: &Mutex<Streams>) -> String {
    let mut text = Vec::new();
    GzDecoder::new(body).read_to_end(&mut text).unwrap();
    let lines = || text.split(|byte| *byte == b'\n').step_by(2);
    let mut streams = streams.lock().unwrap();
    let mut items = String::new();
    if streams.counts_only {
        let count = text.split(|byte| *byte == b'\n').count() / 2;
        *streams.counts.entry(name.to_owned()).or_default() += count;
        items = "{\"create\":{\"status\":201}},".repeat(count);
    } else {
        let ids = streams.ids.entry(name.to_owned()).or_default();
        for line in lines().filter(|line| !line.is_empty()) {
            let id = std::str::from_utf8(line)
                .unwrap()
                .split('"')
                .nth(5)
                .unwrap();
            let status = if ids.insert(id.to_owned()) { 201 } else { 409 };
            write!(items, "{{\"create\":{{\"status\":{status}}}}},").unwrap();
        }
    }
    format!("{{\"items\":[{}]}}", items.trim_end_matches(','))
}
