//! Whether a target answers: the health check of a container that has no shell and no curl.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A target on the same machine answers in less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

const ANSWER: &[u8] = b"HTTP/1.1 200 ";

/// Asks for `/__stats`, which does not count itself.
pub(super) fn probe(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /__stats HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut begin = [0; ANSWER.len()];
    stream.read_exact(&mut begin)?;
    if begin == ANSWER {
        Ok(())
    } else {
        Err(io::Error::other("what answers there is not a target"))
    }
}
