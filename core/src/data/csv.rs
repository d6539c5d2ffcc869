//! CSV as RFC 4180 has it, with lines that may also end in LF.
//!
//! By `csv-core`, the parser inside of `csv`: that one tells the line of a row only as it was before
//! the line breaks that precede it, which is wrong for every row of a file with CRLF.

use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader};

use super::{DataError, Table, skip_line_breaks, unreadable};
use crate::shard::Shard;

/// Reads a table; one without columns if there is nothing.
pub(super) fn read(mut input: impl BufRead, shard: Shard) -> Result<Table, DataError> {
    let mut rows = Rows::default();
    let columns = match rows.next(&mut input)? {
        Some(row) => row.fields().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let mut table = Table::with_columns(columns, rows.line)?;
    let expected = table.columns.len();
    while let Some(row) = rows.next(&mut input)? {
        let (line, found) = (row.line, row.ends.len());
        if found != expected {
            return Err(DataError::Ragged {
                line,
                found,
                expected,
            });
        }
        if table.begin_row(shard) {
            for field in row.fields() {
                table.push(field)?;
            }
        }
    }
    Ok(table)
}

/// A row; its fields stand one after the other.
struct Row<'a> {
    line: u64,
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Row<'a> {
    fn fields(&self) -> impl Iterator<Item = &'a str> {
        let text = self.text;
        let mut begin = 0;
        self.ends.iter().map(move |end| {
            let field = text.get(begin..*end).unwrap_or_default();
            begin = *end;
            field
        })
    }
}

/// Reads row by row, in memory that is used again.
struct Rows {
    parser: Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// In which the latest row begins.
    line: u64,
    /// Line breaks between rows that the parser has not seen.
    skipped: u64,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            parser: Reader::new(),
            fields: vec![0; 1024],
            ends: vec![0; 16],
            line: 1,
            skipped: 0,
        }
    }
}

impl Rows {
    fn next(&mut self, input: &mut impl BufRead) -> Result<Option<Row<'_>>, DataError> {
        self.skipped += skip_line_breaks(input)?;
        self.line = self.parser.line() + self.skipped;
        let (mut length, mut count, mut begun) = (0, 0, false);
        loop {
            let buffer = input.fill_buf().map_err(unreadable)?;
            let at_end = buffer.is_empty();
            if at_end && !begun {
                return Ok(None);
            }
            // The last row needs no line break; where one does not end it, a quote is open.
            let bytes = if at_end { b"\n" } else { buffer };
            let (result, read, written, ended) = self.parser.read_record(
                bytes,
                self.fields.get_mut(length..).unwrap_or_default(),
                self.ends.get_mut(count..).unwrap_or_default(),
            );
            if !at_end {
                input.consume(read);
            }
            begun = true;
            length += written;
            count += ended;
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty | ReadRecordResult::End if at_end => {
                    return Err(DataError::OpenQuote { line: self.line });
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
            }
        }
        self.row(length, count).map(Some)
    }

    fn row(&self, length: usize, count: usize) -> Result<Row<'_>, DataError> {
        let line = self.line;
        let text = self.fields.get(..length).unwrap_or_default();
        let text = str::from_utf8(text).map_err(|_| DataError::NotUtf8 { line })?;
        let ends = self.ends.get(..count).unwrap_or_default();
        // Halves of a character beside a comma would be whole without it.
        if ends.iter().any(|end| !text.is_char_boundary(*end)) {
            return Err(DataError::NotUtf8 { line });
        }
        Ok(Row { line, text, ends })
    }
}
