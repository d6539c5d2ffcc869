//! As much HTTP/1.1 as a proxy for one request per connection needs.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// How long a read from the server waits before the client is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A busy API server may take long to shake hands.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(30);

/// A connection to the API server.
pub(crate) type Server = StreamOwned<ClientConnection, TcpStream>;

/// A request, whole.
pub(super) struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    /// Reads one; `None`: the client had none.
    pub(super) fn read(client: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = end_of_head(&bytes) {
                break end;
            }
            if read_more(client, &mut bytes)? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
        let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
        let line = lines.next().unwrap_or_default();
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next(), words.next());
        let headers: Vec<_> = lines.collect();
        let length = headers
            .iter()
            .find_map(|line| header(line, "content-length"));
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = bytes.split_off(end);
        while body.len() < length {
            if read_more(client, &mut body)? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(Self {
            method: method.unwrap_or_default(),
            path: path.unwrap_or_default(),
            headers,
            body,
        }))
    }

    /// Sends it on, as the only one of its connection.
    pub(super) fn write(&self, server: &mut Server) -> io::Result<()> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for line in &self.headers {
            if header(line, "connection").is_none() {
                head.push_str(line);
                head.push_str("\r\n");
            }
        }
        head.push_str("connection: close\r\n\r\n");
        server.write_all(head.as_bytes())?;
        server.write_all(&self.body)?;
        server.flush()
    }
}

fn header<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

fn read_more(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16 << 10];
    let count = from.read(&mut buffer)?;
    to.extend_from_slice(buffer.get(..count).unwrap_or_default());
    Ok(count)
}

pub(crate) fn connect(upstream: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<Server> {
    let mut socket = TcpStream::connect(upstream)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANDSHAKE))?;
    let name = ServerName::IpAddress(upstream.ip().into());
    let mut connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    socket.set_read_timeout(Some(LOOK))?;
    Ok(StreamOwned::new(connection, socket))
}

/// What the server sends next; empty: it has ended, or the client has.
fn next(server: &mut Server, client: &TcpStream, cut: &impl Fn() -> bool) -> io::Result<Vec<u8>> {
    loop {
        let mut bytes = Vec::new();
        match read_more(server, &mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(bytes),
            Err(error) if is_timeout(&error) => {
                if has_ended(client)? || cut() {
                    return Ok(bytes);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The answer's head, and what came with it.
pub(super) fn read_answer(server: &mut Server, client: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while end_of_head(&bytes).is_none() {
        let more = next(server, client, &|| false)?;
        if more.is_empty() {
            break;
        }
        bytes.extend(more);
    }
    Ok(bytes)
}

/// The status of an answer.
pub(super) fn status(answer: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(answer.get(..12)?).into_owned();
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Hands on what was read already and everything after it, until one side ends or `cut` says so.
pub(super) fn relay(
    first: Vec<u8>,
    server: &mut Server,
    client: &mut TcpStream,
    cut: impl Fn() -> bool,
) -> io::Result<()> {
    let mut bytes = first;
    while !bytes.is_empty() {
        client.write_all(&bytes)?;
        bytes = next(server, client, &cut)?;
    }
    client.shutdown(Shutdown::Both)
}

/// Refuses as an API server does.
pub(super) fn refuse(client: &mut TcpStream, code: u16) -> io::Result<()> {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"the proxy says so","reason":"Injected","code":{code}}}"#
    );
    write!(
        client,
        "HTTP/1.1 {code} Injected\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    client.shutdown(Shutdown::Both)
}

/// Says nothing until the client gives up.
pub(super) fn wait_for_end(client: &TcpStream) -> io::Result<()> {
    while !has_ended(client)? {
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn has_ended(client: &TcpStream) -> io::Result<bool> {
    client.set_nonblocking(true)?;
    let ended = match client.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => !is_timeout(&error),
    };
    client.set_nonblocking(false)?;
    Ok(ended)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
