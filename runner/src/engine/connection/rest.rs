//! What only some users have, in one box: connections to other origins, cookies, decoded bodies,
//! the general client.

use std::mem;

use loadtest_core::plan::Scheme;

use super::{
    Connection, Exchange, MAX_BODY_BYTES,
    cookies::{Jar, Now, Place},
    decode::{Decoded, decode},
    general::General,
    stream::Stream,
};
use crate::{
    clock::{self, SECOND, WallAnchor},
    engine::{compile::CookieHeader, failure::Failure, message, network::Site},
    http::ContentEncoding,
};

/// Most connections of a user besides the one at hand; the one that was put away first goes.
const MAX_PARKED: usize = 32;

/// The rare parts of a user.
#[derive(Debug, Default)]
pub struct Rest {
    /// By number of the origin.
    parked: Vec<(u32, Stream)>,
    /// What the user was given to keep.
    pub jar: Jar,
    /// Of a target that needs it.
    pub general: Option<General>,
}

impl Rest {
    /// Puts a connection away and returns the one to another origin.
    pub fn swap(&mut self, from: u32, stream: Option<Stream>, to: u32) -> Option<Stream> {
        let known = self.parked.iter().position(|(origin, _)| *origin == to);
        let found = known.map(|place| self.parked.remove(place).1);
        if let Some(stream) = stream {
            if self.parked.len() >= MAX_PARKED {
                self.parked.remove(0).1.close();
            }
            self.parked.push((from, stream));
        }
        found
    }

    /// Closes all connections.
    pub fn close(&mut self) {
        for (_, stream) in mem::take(&mut self.parked) {
            stream.close();
        }
        self.general = None;
    }

    /// Status of the last answer, if it was the general client's.
    pub fn general_status(&self) -> Option<u16> {
        self.general.as_ref().map(General::status)
    }

    /// Puts the cookies into a rendered request, unless it has some of its own.
    pub fn add_cookies(&self, exchange: &Exchange<'_>, rendered: &mut Vec<u8>) {
        if self.jar.is_empty() || exchange.sending.kind.cookies == CookieHeader::Own {
            return;
        }
        let network = &exchange.worker.network;
        let Some(site) = network.site(exchange.sending.origin) else {
            return;
        };
        let mut header = network.scratch.borrow_mut();
        header.clear();
        let place = place(&site, message::request_target(rendered));
        self.jar.write(&place, clock::now(), &mut header);
        // Before the empty line that ends the head.
        let body = exchange.sending.message.body_length(&exchange.values);
        let end = rendered.len().saturating_sub(body + 2);
        rendered.splice(end..end, header.iter().copied());
    }
}

fn place<'a>(site: &'a Site, target: &'a str) -> Place<'a> {
    Place {
        host: &site.origin.host,
        path: target.split('?').next().unwrap_or("/"),
        secure: site.origin.scheme == Scheme::Https,
    }
}

impl Connection {
    /// Takes the cookies of an answer whose head was kept.
    #[cold]
    pub(super) fn keep_cookies(&mut self, exchange: &Exchange<'_>) {
        let Self { parser, rest, .. } = self;
        let headers = parser.headers().named("set-cookie");
        store(rest, exchange, headers);
    }

    /// Replaces the kept body by what it was before the server coded it.
    #[cold]
    pub(super) fn decode_body(
        &mut self,
        exchange: &Exchange<'_>,
        encoding: ContentEncoding,
    ) -> Result<(), Failure> {
        if self.body_too_long || self.body.is_empty() {
            return Ok(());
        }
        let mut decoded = exchange.worker.network.scratch.borrow_mut();
        match decode(encoding, &self.body, MAX_BODY_BYTES, &mut decoded) {
            Decoded::Whole => mem::swap(&mut self.body, &mut decoded),
            Decoded::TooLong => self.body_too_long = true,
            Decoded::Malformed(what) => return Err(Failure::body(what)),
        }
        Ok(())
    }
}

/// Stores what `Set-Cookie` headers say, if cookies are kept and there are any.
pub(super) fn store<'h>(
    rest: &mut Option<Box<Rest>>,
    exchange: &Exchange<'_>,
    headers: impl Iterator<Item = &'h [u8]>,
) {
    let mut headers = headers.peekable();
    if !exchange.sending.kind.keep.cookies || headers.peek().is_none() {
        return;
    }
    let worker = exchange.worker;
    let Some(site) = worker.network.site(exchange.sending.origin) else {
        return;
    };
    let mut rendered = worker.render.borrow_mut();
    rendered.clear();
    exchange
        .sending
        .message
        .render(&exchange.values, &mut rendered);
    let place = place(&site, message::request_target(&rendered));
    let now = WallAnchor::now();
    let now = Now {
        mono: now.mono_ns,
        unix: now.wall_ns / SECOND.cast_signed(),
    };
    let jar = &mut rest.get_or_insert_default().jar;
    for header in headers {
        jar.store(&place, header, now);
    }
}
