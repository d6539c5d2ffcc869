//! Writing to standard output and standard error, for processes whose reader may be gone.

use std::io::{self, Write};

use crate::exit::Exit;

/// Standard output does not take what was to be read there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct Unprinted(io::Error);

/// Writes a line to standard error. A terminal that is gone is no reason to end a run.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a text to standard output. A reader that is gone (`| head`) is no error.
///
/// # Errors
/// When there is a reader, or a file, that does not get it.
pub fn print(text: &str) -> Result<(), Unprinted> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Unprinted(error)),
        _ => Ok(()),
    }
}

/// Prints the text that a command was asked for, which is all that it does.
pub fn answer(text: &str) -> Exit {
    match print(text) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Error
        }
    }
}
