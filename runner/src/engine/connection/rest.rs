//! What only some users have, in one box: connections to other origins, cookies, decoded bodies,
//! the general client.

use std::{
    cell::{OnceCell, RefCell},
    mem,
    rc::Rc,
};

use loadtest_core::{plan::Scheme, series::Outcome};

use super::{
    Connection, Exchange, MAX_BODY_BYTES,
    cookies::{Jar, Now, Place},
    decode::{Decoded, decode},
    empty,
    general::General,
    stream::Stream,
};
use crate::{
    clock::{self, Nanos, SECOND, WallAnchor},
    engine::{
        compile::CookieHeader,
        failure::Failure,
        message,
        network::Site,
        script::{Answer, Headers},
        times::Times,
    },
    http::ContentEncoding,
    step_kind::Session,
};

/// Most connections of a user besides the one at hand; the one that was put away first goes.
const MAX_PARKED: usize = 32;

/// The rare parts of a user.
#[derive(Debug, Default)]
pub struct Rest {
    /// By number of the origin.
    parked: Vec<(u32, Stream)>,
    /// What the user was given to keep, one for all of its connections.
    pub jar: Rc<RefCell<Jar>>,
    /// Of a target that needs it.
    pub general: Option<General>,
    /// The request under way, if its message would be another one if it were rendered again:
    /// what is sent a second time, and where a redirect leads from, is what was sent the first time.
    rendered: Vec<u8>,
    /// What steps of step kinds keep, by the number of the kind.
    sessions: Vec<(u32, Session)>,
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
        self.sessions.clear();
    }

    /// Status of the last answer, if it was the general client's.
    pub fn general_status(&self) -> Option<u16> {
        self.general.as_ref().map(General::status)
    }

    /// Writes the request under way into a buffer, without cookies.
    #[inline]
    pub fn render(rest: Option<&Self>, exchange: &Exchange<'_>, buffer: &mut Vec<u8>) {
        buffer.clear();
        let message = &exchange.sending.message;
        match rest {
            Some(rest) if message.varies() => buffer.extend_from_slice(&rest.rendered),
            _ => message.render(&exchange.values, buffer),
        }
    }

    /// Puts the cookies into a rendered request, unless it has some of its own.
    pub fn add_cookies(&self, exchange: &Exchange<'_>, rendered: &mut Vec<u8>) {
        if self.jar.borrow().is_empty() || exchange.sending.kind.cookies == CookieHeader::Own {
            return;
        }
        let network = &exchange.worker.network;
        let Some(site) = network.site(exchange.sending.origin) else {
            return;
        };
        let mut header = network.scratch.borrow_mut();
        header.clear();
        let place = place(&site, message::request_target(rendered));
        self.jar.borrow().write(&place, clock::now(), &mut header);
        // Before the empty line that ends the head.
        let end = message::head_length(rendered).saturating_sub(2);
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
    /// What the user kept of its last step of a kind.
    pub fn take_session(&mut self, kind: u32) -> Option<Session> {
        let sessions = &mut self.rest.as_mut()?.sessions;
        let place = sessions.iter().position(|(known, _)| *known == kind)?;
        Some(sessions.swap_remove(place).1)
    }

    /// Keeps something for the next step of a kind.
    pub fn keep_session(&mut self, kind: u32, session: Session) {
        self.rest().sessions.push((kind, session));
    }

    /// From now on both have the cookies of the other one.
    pub fn share_cookies(&mut self, other: &mut Self) {
        self.rest().jar = Rc::clone(&other.rest().jar);
    }

    /// The whole answer that is here, as checks and extracts look at it.
    #[inline]
    pub fn answer(&self, latency: Nanos) -> Answer<'_> {
        let general = self.rest.as_deref().and_then(|rest| rest.general.as_ref());
        let (status, headers) = match general {
            Some(general) => (general.status(), Headers::General(general.all_headers())),
            None => (self.parser.status(), Headers::Own(&self.parser)),
        };
        Answer {
            status,
            body: (!self.body_too_long).then_some(self.body.as_slice()),
            headers,
            latency,
            json: OnceCell::new(),
        }
    }

    /// Renders a message that varies, once for all that is done with it.
    ///
    /// # Errors
    /// When a part of it could not be made.
    #[cold]
    pub(super) fn render_once(
        &mut self,
        exchange: &Exchange<'_>,
        times: &mut Times,
    ) -> Result<(), Failure> {
        let rendered = &mut self.rest().rendered;
        empty(rendered);
        // What another text complained about is not this message's.
        drop(exchange.values.shared.take_problem());
        exchange.sending.message.render(&exchange.values, rendered);
        match exchange.values.shared.take_problem() {
            None => Ok(()),
            Some(problem) => {
                // There is no answer, and the one before is not this one's.
                self.parser.reset(false);
                self.rest().general = None;
                times.finish(clock::now());
                Err(Failure::said(Outcome::Extract, problem))
            }
        }
    }

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
    Rest::render(rest.as_deref(), exchange, &mut rendered);
    let place = place(&site, message::request_target(&rendered));
    let now = WallAnchor::now();
    let now = Now {
        mono: now.mono_ns,
        unix: now.wall_ns / SECOND.cast_signed(),
    };
    let mut jar = rest.get_or_insert_default().jar.borrow_mut();
    for header in headers {
        jar.store(&place, header, now);
    }
}
