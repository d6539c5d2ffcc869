//! The bytes of a connection, plain or over TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A connection that is made.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP; boxed, so that a user without TLS does not carry its state.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether nothing has come since the last answer. An idle connection with news was closed, or
    /// has bytes that nobody asked for. Costs no system call while there is no news.
    #[inline]
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => matches!(
                stream.try_read(&mut [0; 1]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock
            ),
            // Session tickets are news of TLS's own and stay below.
            Self::Tls(stream) => {
                let mut byte = [0; 1];
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(stream)
                    .poll_read(&mut nobody, &mut ReadBuf::new(&mut byte))
                    .is_pending()
            }
        }
    }

    /// Writes what goes at once. `WouldBlock` when nothing does.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream) => {
                // Whoever waits for the rest says so later, with a waker of its own.
                let mut nobody = Context::from_waker(Waker::noop());
                match Pin::new(stream).poll_write(&mut nobody, bytes) {
                    Poll::Ready(result) => result,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }

    /// Whether all that was taken for writing has left this process.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => !stream.get_ref().1.wants_write(),
        }
    }

    /// Whether a failed [`try_write`](Self::try_write) of so many bytes can have sent a part of
    /// them: TLS writes record by record.
    pub fn may_have_written(&self, length: usize) -> bool {
        const RECORD: usize = 16 << 10;
        matches!(self, Self::Tls(_)) && length > RECORD
    }

    /// As [`AsyncRead::poll_read`].
    #[inline]
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }

    /// As [`AsyncWrite::poll_write`].
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// As [`AsyncWrite::poll_flush`].
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Closes in good order: over TLS the server is told, as far as that goes without waiting.
    pub fn close(self) {
        if let Self::Tls(mut stream) = self {
            let mut nobody = Context::from_waker(Waker::noop());
            let _: Poll<_> = Pin::new(&mut stream).poll_shutdown(&mut nobody);
        }
    }
}
