//! Everything that can be seen of a parser after some input.

use loadtest_runner::http::{HeadMemory, Progress, ProtocolError, ResponseParser};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None`: more is needed. Otherwise the bytes that belong to the response.
    pub end: Result<Option<usize>, ProtocolError>,
    /// What closing the connection then comes to.
    pub closed: Result<(), ProtocolError>,
    pub status: u16,
    pub body: Vec<u8>,
    pub keep_alive: bool,
}

/// Feeds the pieces one after the other.
pub fn of_pieces<'a>(head_request: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    of_fed(head_request, pieces, |parser, piece, body| {
        parser.feed(piece, body)
    })
}

/// The same with a memory of heads.
pub fn remembering<'a>(
    head_request: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    memory: &mut HeadMemory,
) -> Outcome {
    of_fed(head_request, pieces, |parser, piece, body| {
        parser.feed_remembering(piece, Some(&mut *memory), body)
    })
}

fn of_fed<'a>(
    head_request: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut feed: impl FnMut(
        &mut ResponseParser,
        &[u8],
        &mut dyn FnMut(&[u8]),
    ) -> Result<Progress, ProtocolError>,
) -> Outcome {
    let mut parser = ResponseParser::new();
    parser.reset(head_request);
    let mut body = Vec::new();
    let mut end = Ok(None);
    let mut taken = 0;
    for piece in pieces {
        let progress = feed(&mut parser, piece, &mut |part| {
            assert!(!part.is_empty(), "empty pieces of a body are not handed on");
            body.extend_from_slice(part);
        });
        match progress {
            Ok(Progress::NeedMore) => {
                assert_eq!(end, Ok(None), "a response that was over goes on");
                taken += piece.len();
            }
            Ok(Progress::Done { consumed }) => {
                assert!(consumed <= piece.len());
                taken += consumed;
                end = Ok(Some(taken));
            }
            Err(error) => end = Err(error),
        }
    }
    assert_eq!(parser.body_bytes(), body.len() as u64);
    let (status, keep_alive) = (parser.status(), parser.keep_alive());
    Outcome {
        end,
        closed: parser.end_of_stream(),
        status,
        body,
        keep_alive,
    }
}

/// Feeds all at once.
pub fn of(input: &[u8]) -> Outcome {
    of_pieces(false, [input])
}
