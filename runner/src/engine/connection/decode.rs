//! Bodies as they were before the server compressed them, for checks that read them.

use std::io::{self, Read};

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::http::ContentEncoding;

/// Decompresses in steps of this size.
const BROTLI_BUFFER: usize = 4 << 10;

/// What came of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// All of it is in the buffer.
    Whole,
    /// It is longer than is kept.
    TooLong,
    /// It is not what its `Content-Encoding` says.
    Malformed(&'static str),
}

/// Decodes `body` into the emptied `out`, `most` bytes at most.
pub fn decode(encoding: ContentEncoding, body: &[u8], most: usize, out: &mut Vec<u8>) -> Decoded {
    out.clear();
    let (name, result) = match encoding {
        ContentEncoding::Identity => {
            out.extend_from_slice(body);
            return Decoded::Whole;
        }
        ContentEncoding::Gzip => (
            "the body is not the gzip that its content-encoding says",
            fill(MultiGzDecoder::new(body), most, out),
        ),
        // By name a zlib stream; some servers send what is inside it only.
        ContentEncoding::Deflate => (
            "the body is not the deflate that its content-encoding says",
            if is_zlib(body) {
                fill(ZlibDecoder::new(body), most, out)
            } else {
                fill(DeflateDecoder::new(body), most, out)
            },
        ),
        ContentEncoding::Brotli => (
            "the body is not the brotli that its content-encoding says",
            fill(Decompressor::new(body, BROTLI_BUFFER), most, out),
        ),
        ContentEncoding::Other => {
            return Decoded::Malformed(
                "the body has a content-encoding other than gzip, deflate and br, so checks cannot read it",
            );
        }
    };
    match result {
        Ok(()) if out.len() > most => Decoded::TooLong,
        Ok(()) => Decoded::Whole,
        Err(_) => Decoded::Malformed(name),
    }
}

/// Reads one byte more than is kept, so that too much is told from just enough.
fn fill(decoder: impl Read, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
    decoder.take(most as u64 + 1).read_to_end(out).map(drop)
}

/// RFC 1950, 2.2: the method is 8 and the first two bytes are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    body.first_chunk::<2>()
        .is_some_and(|head| head[0] & 0x0f == 8 && u16::from_be_bytes(*head).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write};

    use super::*;

    const TEXT: &[u8] = b"in stock, in stock, in stock, in stock";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(encoding: ContentEncoding, body: &[u8]) -> (Decoded, Vec<u8>) {
        let mut out = b"old".to_vec();
        let end = decode(encoding, body, TEXT.len(), &mut out);
        (end, out)
    }

    #[test]
    fn every_coding_gives_the_body_back() {
        let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut raw = write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(TEXT).unwrap();
        let whole = (Decoded::Whole, TEXT.to_vec());
        assert_eq!(decoded(ContentEncoding::Identity, TEXT), whole);
        assert_eq!(decoded(ContentEncoding::Gzip, &gzip(TEXT)), whole);
        let zlib = zlib.finish().unwrap();
        assert_eq!(decoded(ContentEncoding::Deflate, &zlib), whole);
        let raw = raw.finish().unwrap();
        assert_eq!(decoded(ContentEncoding::Deflate, &raw), whole);
        let brotli = b"\x0b\x02\x80hello\x03";
        let hello = (Decoded::Whole, b"hello".to_vec());
        assert_eq!(decoded(ContentEncoding::Brotli, brotli), hello);
    }

    #[test]
    fn neither_lies_nor_bombs_get_through() {
        let mut cut = gzip(TEXT);
        cut.truncate(cut.len() - 9);
        for (encoding, body) in [
            (ContentEncoding::Gzip, cut.as_slice()),
            (ContentEncoding::Gzip, TEXT),
            (ContentEncoding::Deflate, TEXT),
            (ContentEncoding::Brotli, b"\xff\xff\xff\xff"),
            (ContentEncoding::Brotli, b""),
            (ContentEncoding::Other, TEXT),
        ] {
            let (end, _) = decoded(encoding, body);
            assert!(matches!(end, Decoded::Malformed(_)), "{encoding:?} {end:?}");
        }
        let bomb = gzip(&vec![0; 1 << 20]);
        let (end, out) = decoded(ContentEncoding::Gzip, &bomb);
        assert_eq!((end, out.len()), (Decoded::TooLong, TEXT.len() + 1));
    }
}
