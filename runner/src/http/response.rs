//! One response after the other from the bytes of a connection.

use super::{
    MAX_HEAD_BYTES, ProtocolError,
    chunked::Chunked,
    fields::Framing,
    head::{self, Head},
    headers::{ContentEncoding, Headers, Keep, Notable},
    memory::HeadMemory,
};

/// Interim responses before a final one: nobody sends more than a few, and no end of them would
/// otherwise be no end of the request.
const MAX_INTERIM_RESPONSES: u8 = 32;

/// Capacity for kept heads that a parser holds from one response to the next.
const HELD_HEAD_BYTES: usize = 2 << 10;

/// What came of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were taken; the response goes on.
    NeedMore,
    /// The response is over.
    Done {
        /// Bytes of the last input that belonged to it.
        consumed: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a head, an interim one or the final one.
    Head,
    /// In a body, so many bytes before its end.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
    Failed(ProtocolError),
}

/// Reads the response to one request at a time.
///
/// ```
/// use loadtest_runner::http::{Progress, ResponseParser};
///
/// let mut parser = ResponseParser::new();
/// let mut body = Vec::new();
/// let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// let progress = parser.feed(input, |part| body.extend_from_slice(part))?;
/// assert_eq!(progress, Progress::Done { consumed: input.len() });
/// assert_eq!((parser.status(), body.as_slice()), (200, b"hello".as_slice()));
/// assert!(parser.keep_alive());
/// # Ok::<(), loadtest_runner::http::ProtocolError>(())
/// ```
#[derive(Debug)]
pub struct ResponseParser {
    state: State,
    /// The beginning of a head that has not all arrived, later the final head if it is kept; empty
    /// and without memory at other times.
    head: Vec<u8>,
    body_bytes: u64,
    status: u16,
    interim: u8,
    head_request: bool,
    keep: Keep,
    content_encoding: ContentEncoding,
    keep_alive: bool,
    started: bool,
    /// What the final head has.
    notable: Notable,
}

impl Default for ResponseParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseParser {
    /// Ready for the response to a request other than `HEAD`.
    pub const fn new() -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            body_bytes: 0,
            status: 0,
            interim: 0,
            head_request: false,
            keep: Keep::NOTHING,
            content_encoding: ContentEncoding::Identity,
            keep_alive: false,
            started: false,
            notable: Notable::NOTHING,
        }
    }

    /// Makes it ready for the next response. The response to a `HEAD` request has no body,
    /// whatever its head says.
    pub fn reset(&mut self, head_request: bool) {
        *self = Self {
            head_request,
            ..Self::new()
        };
    }

    /// As [`reset`](Self::reset), and keeps the head of the next response if it is one of those.
    pub fn reset_keeping(&mut self, head_request: bool, keep: Keep) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        if head.capacity() > HELD_HEAD_BYTES {
            head = Vec::new();
        }
        *self = Self {
            head,
            head_request,
            keep,
            ..Self::new()
        };
    }

    /// Consumes bytes that the server sent. Any split of the input gives the same result. Bytes of
    /// the body, freed from chunking, go to `body` in order and in pieces of any size but 0.
    ///
    /// Bytes after the end of the response are not taken, and the connection is not reusable then:
    /// nothing was asked that they could answer.
    ///
    /// # Errors
    /// The first malformation; the same again for all further input until [`reset`](Self::reset).
    pub fn feed(
        &mut self,
        bytes: &[u8],
        body: impl FnMut(&[u8]),
    ) -> Result<Progress, ProtocolError> {
        self.feed_remembering(bytes, None, body)
    }

    /// As [`feed`](Self::feed), and saves the reading of a head that was read before. What comes of
    /// it is the same.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    #[inline]
    pub fn feed_remembering(
        &mut self,
        bytes: &[u8],
        memory: Option<&mut HeadMemory>,
        mut body: impl FnMut(&[u8]),
    ) -> Result<Progress, ProtocolError> {
        self.feed_knowing_status(bytes, memory, |_, part| body(part))
    }

    /// As [`feed_remembering`](Self::feed_remembering), and tells `body` the status of the response.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    #[inline]
    pub fn feed_knowing_status(
        &mut self,
        bytes: &[u8],
        memory: Option<&mut HeadMemory>,
        mut body: impl FnMut(u16, &[u8]),
    ) -> Result<Progress, ProtocolError> {
        let mut consumed = 0;
        self.started |= !bytes.is_empty();
        if matches!(self.state, State::Head) {
            match self.feed_heads(bytes, memory) {
                Ok(Some(taken)) => consumed = taken,
                Ok(None) => return Ok(Progress::NeedMore),
                Err(error) => return Err(self.fail(error)),
            }
        }
        let rest = bytes.get(consumed..).unwrap_or_default();
        let status = self.status;
        match self.feed_body(rest, &mut |part: &[u8]| body(status, part)) {
            Ok(Some(taken)) => {
                consumed += taken;
                if consumed < bytes.len() {
                    self.keep_alive = false;
                }
                Ok(Progress::Done { consumed })
            }
            Ok(None) => Ok(Progress::NeedMore),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// The server closed the connection.
    ///
    /// # Errors
    /// When the response is not over and its end was not to be marked so.
    pub fn end_of_stream(&mut self) -> Result<(), ProtocolError> {
        self.keep_alive = false;
        let error = match self.state {
            State::Done => return Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                return Ok(());
            }
            State::Failed(error) => error,
            State::Head if !self.started => ProtocolError::ClosedBeforeResponse,
            State::Head => ProtocolError::TruncatedHead,
            State::Length(_) | State::Chunked(_) => ProtocolError::TruncatedBody,
        };
        Err(self.fail(error))
    }

    /// Status of the final response; 0 until its head is complete.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the connection may carry another request: only after [`Progress::Done`], if both
    /// sides know where the response ended and the server means to go on.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive && self.state == State::Done
    }

    /// Whether any byte has arrived since the last reset.
    pub fn started(&self) -> bool {
        self.started
    }

    /// How the body is coded, known as soon as [`status`](Self::status) is. Whoever reads the body
    /// undoes it; here it is only said.
    pub fn content_encoding(&self) -> ContentEncoding {
        self.content_encoding
    }

    /// Whether the final response sets cookies, known as soon as [`status`](Self::status) is. Which
    /// ones is in its [`headers`](Self::headers), if those are kept.
    pub fn sets_cookies(&self) -> bool {
        self.notable.cookies
    }

    /// The headers of the final response, if its head is complete and was kept (see [`Keep`]);
    /// otherwise none.
    ///
    /// ```
    /// use loadtest_runner::http::{Keep, ResponseParser};
    ///
    /// let mut parser = ResponseParser::new();
    /// parser.reset_keeping(false, Keep { cookies: true, ..Keep::NOTHING });
    /// parser.feed(b"HTTP/1.1 204 x\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\n", |_| ())?;
    /// let cookies: Vec<&[u8]> = parser.headers().named("Set-Cookie").collect();
    /// assert_eq!(cookies, [b"a=1", b"b=2"]);
    /// # Ok::<(), loadtest_runner::http::ProtocolError>(())
    /// ```
    pub fn headers(&self) -> Headers<'_> {
        match self.state {
            State::Head | State::Failed(_) => Headers::of(&[]),
            _ => Headers::of(&self.head),
        }
    }

    /// Bytes of memory that it holds beyond its own size: less than two heads of the greatest
    /// length, [`MAX_HEAD_BYTES`], and nothing between responses whose heads are not kept.
    pub fn held_bytes(&self) -> usize {
        self.head.capacity()
    }

    /// Bytes of the body so far, without those of chunking.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Reads heads up to and including the final one; returns how many bytes they took, `None`
    /// when they took all and more is needed.
    fn feed_heads(
        &mut self,
        bytes: &[u8],
        mut memory: Option<&mut HeadMemory>,
    ) -> Result<Option<usize>, ProtocolError> {
        let mut consumed = 0;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let before = self.head.len();
            let parsed = if before == 0 {
                self.recall_or_parse(rest, memory.as_deref_mut())?
            } else {
                self.parse_with_beginning(rest)?
            };
            let Some(head) = parsed else {
                if before == 0 {
                    self.head.extend_from_slice(rest);
                }
                return Ok(None);
            };
            // Without its last byte a head was not complete, so that part is at least one byte.
            consumed += head.len.saturating_sub(before);
            if head.status >= 200 {
                self.keep_head(&head, rest);
                self.begin_body(&head);
                return Ok(Some(consumed));
            }
            self.head.clear();
            self.interim += 1;
            if head.status == 101 {
                return Err(ProtocolError::SwitchedProtocols);
            }
            if self.interim > MAX_INTERIM_RESPONSES {
                return Err(ProtocolError::TooManyInterimResponses);
            }
        }
    }

    #[inline]
    fn recall_or_parse(
        &self,
        bytes: &[u8],
        memory: Option<&mut HeadMemory>,
    ) -> Result<Option<Head>, ProtocolError> {
        let Some(memory) = memory else {
            return head::parse(bytes, self.head_request);
        };
        let recalled = memory.recall(bytes, self.head_request);
        if recalled.is_some() {
            return Ok(recalled);
        }
        let parsed = head::parse(bytes, self.head_request)?;
        if let Some(head) = parsed {
            memory.remember(bytes, self.head_request, head);
        }
        Ok(parsed)
    }

    /// Goes on with a head that began in earlier input.
    ///
    /// All of it is parsed anew, which 32 KiB bound even if every byte comes alone; in return there
    /// is one parser for heads, and an error is found at the same byte in either case.
    #[cold]
    fn parse_with_beginning(&mut self, bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
        // No more than a head can have: what follows in `bytes` may be a body of any size.
        let most = bytes
            .len()
            .min(MAX_HEAD_BYTES.saturating_sub(self.head.len()));
        self.head
            .extend_from_slice(bytes.get(..most).unwrap_or(bytes));
        head::parse(&self.head, self.head_request)
    }

    /// Keeps the final head if it is one of those, whose last part is at the beginning of `bytes`.
    fn keep_head(&mut self, head: &Head, bytes: &[u8]) {
        let keep = self.keep.wants(head.status, head.notable);
        if keep && self.head.is_empty() {
            self.head
                .extend_from_slice(bytes.get(..head.len).unwrap_or(bytes));
        } else if keep {
            self.head.truncate(head.len);
        } else if self.head.capacity() > 0 {
            self.head = Vec::new();
        }
    }

    fn begin_body(&mut self, head: &Head) {
        self.status = head.status;
        self.keep_alive = head.keep_alive;
        self.content_encoding = head.content_encoding;
        self.notable = head.notable;
        self.state = match head.framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::new()),
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Returns how many bytes were taken when the response ended with them.
    fn feed_body(
        &mut self,
        bytes: &[u8],
        body: &mut impl FnMut(&[u8]),
    ) -> Result<Option<usize>, ProtocolError> {
        match &mut self.state {
            State::Head => Ok(None),
            State::Length(left) => {
                let here = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                let data = bytes.get(..here).unwrap_or(bytes);
                if !data.is_empty() {
                    body(data);
                }
                self.body_bytes += here as u64;
                *left -= here as u64;
                if *left > 0 {
                    return Ok(None);
                }
                self.state = State::Done;
                Ok(Some(here))
            }
            State::Chunked(chunked) => {
                let body_bytes = &mut self.body_bytes;
                let end = chunked.feed(bytes, &mut |data: &[u8]| {
                    *body_bytes += data.len() as u64;
                    body(data);
                })?;
                if end.is_some() {
                    self.state = State::Done;
                }
                Ok(end)
            }
            State::UntilClose => {
                if !bytes.is_empty() {
                    body(bytes);
                }
                self.body_bytes += bytes.len() as u64;
                Ok(None)
            }
            State::Done => Ok(Some(0)),
            State::Failed(error) => Err(*error),
        }
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.state = State::Failed(error);
        self.head = Vec::new();
        error
    }
}
