//! Connections: accepting them, serving them, ending them.

use std::{
    convert::Infallible, future::Future, io, net::IpAddr, pin::pin, sync::Arc, time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::USER_AGENT,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use super::{
    body::AnswerBody,
    counters::{ConnectionCounter, Counters},
    routes::{self, MAX_BYTES, Segment},
};

/// How long running answers may take once the end has come: the longest `/delay` and some.
const GRACE: Duration = Duration::from_secs(15);

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted. Its cause (too many open files) lasts; without
/// a pause the loop would spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    counters: Arc<Counters>,
    shutdown: impl Future<Output = ()>,
) {
    let (end, ended) = watch::channel(false);
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let counter = Arc::clone(&counters).connection();
                    tokio::spawn(open(stream, tls.clone(), peer.ip(), counter, ended.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = shutdown => {}
        () = accept => {}
    }
    drop(listener);
    drop(ended);
    end.send_replace(true);
    // Each connection holds a receiver: when all are gone, so are the connections.
    if tokio::time::timeout(GRACE, end.closed()).await.is_err() {
        tracing::warn!(
            "gave up on {} connections that did not end",
            end.receiver_count()
        );
    }
}

/// Errors of a connection that was gone before it was accepted; the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Serves a new connection, after TLS was agreed on if there is to be any.
async fn open(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    origin: IpAddr,
    counter: ConnectionCounter,
    ended: watch::Receiver<bool>,
) {
    // An answer goes out at once. A socket that refuses this is gone, which the next read tells.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return connection(stream, origin, counter, ended).await;
    };
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, origin, counter, ended).await,
        Ok(Err(error)) => tracing::debug!("no TLS with {origin}: {error}"),
        Err(_) => tracing::debug!("no TLS with {origin}: it took longer than {HANDSHAKE:?}"),
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    origin: IpAddr,
    counter: ConnectionCounter,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(|request| exchange(request, origin, &counter));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let end = async {
        // The sender outlives every connection.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = end => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection from {origin} ended: {error}");
    }
}

async fn exchange(
    request: Request<Incoming>,
    origin: IpAddr,
    counter: &ConnectionCounter,
) -> Result<Response<AnswerBody>, Infallible> {
    let (segment, _) = Segment::split(request.uri().path());
    if segment != Segment::Stats {
        counter.count(segment, request.headers().get(USER_AGENT));
    }
    let (head, body) = request.into_parts();
    let body = if body.is_end_stream() {
        None
    } else if body.size_hint().lower() > MAX_BYTES as u64 {
        // Said before the client sends it: with `Expect: 100-continue` it never does.
        return Ok(routes::too_large());
    } else {
        match Limited::new(body, MAX_BYTES).collect().await {
            Ok(body) => Some(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => return Ok(routes::too_large()),
            // The client is gone or sends nonsense; hyper ends the connection.
            Err(_) => None,
        }
    };
    Ok(routes::answer(&head, body.as_ref(), origin, counter).await)
}
