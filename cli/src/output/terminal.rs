//! Writing to standard output and standard error, for processes whose reader may be gone.

use std::io::{self, Write};

/// Writes a line to standard error. A terminal that is gone is no reason to end a run.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a text to standard output. A reader that is gone (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
