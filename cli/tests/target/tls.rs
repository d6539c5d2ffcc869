//! https beside http.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Stdio},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};

use crate::client::{DEADLINE, command};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn https_is_served_with_the_given_certificate_and_counted_with_the_rest() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let place = std::env::temp_dir().join(format!("loadtest-target-tls-{}", std::process::id()));
    fs::create_dir_all(&place).expect("a directory");
    let (cert, key) = (place.join("cert.pem"), place.join("key.pem"));
    fs::write(&cert, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");

    let child = command()
        .args(["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"])
        .arg("--tls-cert")
        .arg(&cert)
        .arg("--tls-key")
        .arg(&key)
        .stdout(Stdio::piped())
        .spawn();
    let mut target = Killed(child.expect("the target starts"));
    let lines = BufReader::new(target.0.stdout.take().expect("its output")).lines();
    let said: Vec<String> = lines.take(2).map(|line| line.expect("text")).collect();
    let plain = said[0]
        .strip_prefix("listening on http://")
        .expect(&said[0]);
    let secure = said[1]
        .strip_prefix("listening on https://")
        .expect(&said[1]);

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let answer = ask(StreamOwned::new(client, connect(secure)), "/status/418");
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    let stats = ask(connect(plain), "/__stats");
    assert!(stats.contains(r#""by_path":{"status":1}"#), "{stats}");
    fs::remove_dir_all(place).expect("removed");
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn ask(mut stream: impl Read + Write, path: &str) -> String {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = Vec::new();
    // The end may come without TLS's farewell.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8(answer).expect("text")
}
