//! Bodies of answers: in one piece, or in chunks.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// A body of known length, or a number of equal chunks of which the client cannot know the end.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Whole(Option<Bytes>),
    Chunks { left: u32, chunk: Bytes },
}

impl AnswerBody {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Chunks { left: 0, .. } => None,
            Self::Chunks { left, chunk } => {
                *left -= 1;
                Some(chunk.clone())
            }
        };
        Poll::Ready(next.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None) | Self::Chunks { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Chunks { .. } => SizeHint::default(),
        }
    }
}

/// The first `n` bytes of a fixed noise that no compression shortens; the same in every process.
pub(super) fn noise(n: usize) -> Bytes {
    static SMALL: OnceLock<Bytes> = OnceLock::new();
    static LARGE: OnceLock<Bytes> = OnceLock::new();
    const SMALL_BYTES: usize = 64 << 10;
    let all = if n <= SMALL_BYTES {
        SMALL.get_or_init(|| make_noise(SMALL_BYTES))
    } else {
        LARGE.get_or_init(|| make_noise(super::routes::MAX_BYTES))
    };
    all.slice(..n.min(all.len()))
}

fn make_noise(n: usize) -> Bytes {
    let mut state = 0u64;
    let mut bytes = Vec::with_capacity(n + 8);
    while bytes.len() < n {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&mix(state).to_le_bytes());
    }
    bytes.truncate(n);
    bytes.into()
}

/// `SplitMix64`'s output function.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
