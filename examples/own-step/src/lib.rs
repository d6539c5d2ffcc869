//! A step kind, as you would write one: sends a text over a WebSocket and waits until it comes back.

use futures::{SinkExt as _, StreamExt as _};
use loadtest_runner::step_kind::{Failed, Given, Outcome, Reply, Step, StepKind};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// `with.url` is where to, `with.message` what is sent. Each user keeps its connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebSocketEcho;

/// The connection of a user.
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl StepKind for WebSocketEcho {
    type Session = Option<Socket>;

    fn check(&self, given: &Given) -> Result<(), String> {
        given.only(&["url", "message"], &[])?;
        match given.text("url") {
            Some(url) if !url.starts_with("ws://") => Err(format!(
                "with.url is {url:?}: it must begin with ws://, since this example has no TLS"
            )),
            _ => Ok(()),
        }
    }

    fn url(&self, given: &Given) -> Option<String> {
        given.shown("url").map(str::to_owned)
    }

    async fn run(&self, socket: &mut Self::Session, step: &mut Step) -> Result<Reply, Failed> {
        let socket = match socket {
            Some(socket) => socket,
            None => socket.insert(connect(step).await?),
        };
        let message = step.with("message")?.to_owned();
        let length = message.len();
        let sending = socket.send(Message::text(message.clone())).await;
        sending.map_err(failed)?;
        step.sent(length);
        loop {
            let answer = socket.next().await.unwrap_or(Err(Error::ConnectionClosed));
            match answer.map_err(failed)? {
                Message::Text(text) => {
                    step.received(text.len());
                    // The connection is good all the same: the next step may use it.
                    return if text.as_str() == message {
                        Ok(Reply::of(message))
                    } else {
                        Err(Failed::new("another text came back").keeping_session())
                    };
                }
                Message::Binary(_) => return Err(Failed::new("bytes came back, not a text")),
                Message::Close(_) => {
                    return Err(Failed::of(
                        Outcome::Reset,
                        "the server closed the WebSocket",
                    ));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

async fn connect(step: &mut Step) -> Result<Socket, Failed> {
    let mut request = step.with("url")?.into_client_request().map_err(failed)?;
    // The documents of this run lead to the server's trace, and back.
    if let Ok(trace) = HeaderValue::from_str(step.traceparent()) {
        request.headers_mut().insert("traceparent", trace);
    }
    let (socket, _) = connect_async(request).await.map_err(failed)?;
    step.connected();
    Ok(socket)
}

/// Messages have nothing in them that differs from step to step: failures are counted by them.
fn failed(error: Error) -> Failed {
    match error {
        Error::Io(error) => error.into(),
        Error::ConnectionClosed | Error::AlreadyClosed => {
            Failed::of(Outcome::Reset, "the connection was closed")
        }
        Error::Http(answer) => {
            let status = answer.status();
            let message = format!("no WebSocket: the server answered with status {status}");
            Failed::of(Outcome::Protocol, message)
        }
        Error::Url(error) => Failed::new(format!("with.url: {error}")),
        other => Failed::of(Outcome::Protocol, other.to_string()),
    }
}
