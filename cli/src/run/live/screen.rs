//! A few lines of a terminal that are painted again and again.
//!
//! They stay where they are and what was said before stays above them. When the terminal was made
//! narrower meanwhile, lines were broken by it, and what they take now is what is wiped away.

use std::io::{self, Write as _};

use console::{Term, measure_text_width};

/// The lines painted last.
#[derive(Debug)]
pub struct Screen {
    term: Term,
    widths: Vec<usize>,
}

impl Screen {
    /// Of standard error, empty.
    pub fn new() -> Self {
        Self {
            term: Term::stderr(),
            widths: Vec::new(),
        }
    }

    /// Columns that a line may have. The last one stays free: some terminals break a line there.
    pub fn width(&self) -> usize {
        usize::from(self.term.size().1).saturating_sub(1).max(1)
    }

    /// Replaces what was painted before. Lines below the height of the terminal are left out.
    pub fn paint(&mut self, lines: &[String]) {
        let height = usize::from(self.term.size().0).saturating_sub(1).max(1);
        let shown = lines.get(..lines.len().min(height)).unwrap_or_default();
        let mut text = self.wiped();
        for line in shown {
            text.push_str(line);
            text.push('\n');
        }
        self.widths = shown.iter().map(|line| measure_text_width(line)).collect();
        self.write(&text);
    }

    /// Takes everything away.
    pub fn wipe(&mut self) {
        let text = self.wiped();
        self.widths.clear();
        self.write(&text);
    }

    /// Back to where the first line began, and nothing below.
    fn wiped(&self) -> String {
        let rows = rows(&self.widths, usize::from(self.term.size().1).max(1));
        if rows == 0 {
            String::new()
        } else {
            format!("\x1b[{rows}A\r\x1b[J")
        }
    }

    /// A terminal that is gone is no reason to end a run.
    fn write(&mut self, text: &str) {
        let _: io::Result<()> = self
            .term
            .write_all(text.as_bytes())
            .and_then(|()| self.term.flush());
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// How many rows lines take in a terminal of so many columns.
fn rows(widths: &[usize], columns: usize) -> usize {
    widths
        .iter()
        .map(|width| width.div_ceil(columns).max(1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_terminal_has_broken_the_lines() {
        assert_eq!(rows(&[79, 0, 40], 80), 3);
        assert_eq!(rows(&[79, 0, 40], 40), 4);
        assert_eq!(rows(&[79, 0, 40], 30), 6);
        assert_eq!(rows(&[], 30), 0);
    }
}
