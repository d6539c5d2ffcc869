//! Making a connection: look up, connect, shake hands, each timed apart.

use std::{io, sync::Arc};

use loadtest_core::{plan::Scheme, series::Outcome};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Connection, Exchange, Stream};
use crate::{
    clock,
    engine::{failure::Failure, network::Site, times::Times, tls, worker::Worker},
};

impl Connection {
    /// Cold, therefore boxed by the caller: its state is not part of every user.
    pub(super) async fn connect(
        &mut self,
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        (times.sent, times.written, times.first_byte) = (0, 0, 0);
        (times.dns, times.tls) = (0, 0);
        let worker = exchange.worker;
        let Some(site) = worker.network.site(self.origin) else {
            return Err(Failure::dns("the origin is not known".into()));
        };
        let stream = connect_tcp(exchange, &site, times).await?;
        self.stream = Some(match site.origin.scheme {
            Scheme::Http => Stream::Plain(stream),
            Scheme::Https => {
                let begun = clock::now();
                // Boxed once more: a thousand users that connect to a plain target at once would
                // otherwise need the room of a thousand handshakes.
                let done = Box::pin(shake_hands(exchange, &site, stream, self.origin)).await;
                times.tls = clock::now() - begun;
                done?
            }
        });
        Ok(())
    }
}

/// Tries every address once, beginning with the next in turn.
async fn connect_tcp(
    exchange: &Exchange<'_>,
    site: &Site,
    times: &mut Times,
) -> Result<TcpStream, Failure> {
    let cut = |interrupt| exchange.interrupted(interrupt, Outcome::ConnectTimeout);
    let begun = clock::now();
    let lookup = exchange.interruptible(site.resolver.addresses()).await;
    times.dns = clock::now() - begun;
    let (addresses, first) = lookup.map_err(cut)?.map_err(Failure::dns)?;
    let mut failure = None;
    let in_turn = addresses.iter().cycle().skip(first).take(addresses.len());
    for address in in_turn {
        match exchange
            .interruptible(TcpStream::connect(*address))
            .await
            .map_err(cut)?
        {
            Ok(stream) => {
                stream
                    .set_nodelay(true)
                    .map_err(|error| Failure::connect(&error))?;
                exchange
                    .worker
                    .meter
                    .count(clock::now(), times.intended, |set| set.connections += 1);
                return Ok(stream);
            }
            Err(error) => {
                failure.get_or_insert_with(|| Failure::connect(&error));
            }
        }
    }
    Err(failure.unwrap_or_else(|| Failure::dns("no address".into())))
}

async fn shake_hands(
    exchange: &Exchange<'_>,
    site: &Site,
    stream: TcpStream,
    origin: u32,
) -> Result<Stream, Failure> {
    let network = &exchange.worker.network;
    let host = &site.origin.host;
    let Some(config) = &network.tls else {
        return Err(Failure::tls(format!(
            "there are no CA certificates to verify {host} with: name its CA in target.tls.caRef"
        )));
    };
    let Some(name) = site.server_name.clone() else {
        return Err(Failure::tls(format!(
            "no certificate can be for the name {host}: see target.tls.serverName"
        )));
    };
    let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    let handshake = exchange.interruptible(connecting).await;
    match handshake {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(
            tls_failure(&error, exchange.worker, origin).unwrap_or_else(|| {
                let what = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
                    _ => Failure::broken(&error).message(&[]),
                };
                Failure::tls(format!("{what} in the TLS handshake"))
            }),
        ),
        Err(interrupt) => Err(exchange.interrupted(interrupt, Outcome::ConnectTimeout)),
    }
}

/// What TLS itself has to say about a failure; `None` if it is not TLS's.
pub(super) fn tls_failure(error: &io::Error, worker: &Worker, origin: u32) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let site = worker.network.site(origin);
    let host = site.as_ref().map_or("the server", |s| &s.origin.host);
    let tls = &Arc::as_ref(&worker.compiled).target.tls;
    Some(Failure::tls(tls::sentence(error, host, tls)))
}
