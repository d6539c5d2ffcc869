//! Rows of data for users: parsed once, held in little more memory than their text.
//!
//! All fields of a [`Table`] stand one after the other in one text, with the end of each beside it:
//! a million rows are two allocations. Every runner reads the whole input, so that all of them say
//! the same of a mistake in it, but keeps only its own rows.

mod csv;
mod json_lines;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
};

use crate::{plan::DataFormat, shard::Shard};

/// Programs put it before UTF-8 text; it is no part of the first column's name.
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Rows with named columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    total_rows: u64,
    text: String,
    /// Where in `text` each field ends, row by row.
    ends: Vec<u32>,
}

/// Why data cannot be used. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// There is nothing at all.
    #[error("is empty: {}", hint(*format))]
    Empty {
        /// What was expected.
        format: DataFormat,
    },
    /// There are column names and nothing else.
    #[error("has column names but no rows: add at least one line below the first")]
    NoRows,
    /// A column has no name.
    #[error("column {position} has no name: name every column in the first line")]
    UnnamedColumn {
        /// Which one, from 1.
        position: usize,
    },
    /// Two columns have one name.
    #[error("line {line} has \"{name}\" twice: each column needs a name of its own")]
    RepeatedColumn {
        /// Where.
        line: u64,
        /// The name.
        name: String,
    },
    /// A row has more or fewer fields than there are columns.
    #[error(
        "line {line} has {found} {}, the first line names {expected}: a field with a comma needs double quotes around it",
        if *found == 1 { "field" } else { "fields" }
    )]
    Ragged {
        /// Where.
        line: u64,
        /// Its fields.
        found: usize,
        /// The columns.
        expected: usize,
    },
    /// A quote is never closed.
    #[error("a double quote in the row that begins in line {line} is never closed")]
    OpenQuote {
        /// Where.
        line: u64,
    },
    /// A line is no JSON object.
    #[error("line {line} is not a JSON object: {why}")]
    NotAnObject {
        /// Where.
        line: u64,
        /// What the parser says.
        why: String,
    },
    /// An object lacks a column.
    #[error("line {line} has no \"{name}\": every line needs the names of the first")]
    MissingColumn {
        /// Where.
        line: u64,
        /// The name.
        name: String,
    },
    /// An object has something that the first one has not.
    #[error(
        "line {line} has \"{name}\", which the first line has not: every line needs the same names"
    )]
    UnknownColumn {
        /// Where.
        line: u64,
        /// The name.
        name: String,
    },
    /// It is not text.
    #[error("line {line} is not UTF-8: save the data as UTF-8")]
    NotUtf8 {
        /// Where.
        line: u64,
    },
    /// The rows of one runner have too much text.
    #[error("one runner's rows are more than 4 GiB: split them over more runners")]
    TooLarge,
    /// The input could not be read to its end.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

fn hint(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Csv => "the first line names the columns, each other line is a row",
        DataFormat::JsonLines => "each line is a JSON object, and the first one names the columns",
    }
}

impl Table {
    /// Parses bytes and keeps the rows of a shard.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it; a clause that follows the name of the data.
    pub fn parse(format: DataFormat, bytes: &[u8], shard: Shard) -> Result<Self, DataError> {
        Self::read(format, bytes, shard)
    }

    /// Like [`Self::parse`], without holding the input in memory.
    ///
    /// CSV is RFC 4180; lines may also end in LF, and empty ones are no rows. Of JSON lines the
    /// first names the columns; texts are taken as they are, everything else as its JSON.
    ///
    /// # Errors
    /// Like [`Self::parse`], and [`DataError::Unreadable`].
    pub fn read(format: DataFormat, mut input: impl Read, shard: Shard) -> Result<Self, DataError> {
        let mut head = Vec::new();
        let mark = BYTE_ORDER_MARK.len() as u64;
        input
            .by_ref()
            .take(mark)
            .read_to_end(&mut head)
            .map_err(unreadable)?;
        if head == BYTE_ORDER_MARK {
            head.clear();
        }
        let input = BufReader::with_capacity(1 << 16, head.chain(input));
        let mut table = match format {
            DataFormat::Csv => csv::read(input, shard),
            DataFormat::JsonLines => json_lines::read(input, shard),
        }?;
        if table.columns.is_empty() {
            return Err(DataError::Empty { format });
        }
        if table.total_rows == 0 {
            return Err(DataError::NoRows);
        }
        table.text.shrink_to_fit();
        table.ends.shrink_to_fit();
        Ok(table)
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Which column has this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// How many rows were kept.
    pub fn len(&self) -> usize {
        self.ends.len() / self.columns.len().max(1)
    }

    /// Whether no row was kept: there are fewer rows than shards.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many rows the input has, kept or not.
    pub fn total_rows(&self) -> u64 {
        self.total_rows
    }

    /// A field of a row that was kept, empty outside of the table.
    #[inline]
    pub fn field(&self, row: usize, column: usize) -> &str {
        if column >= self.columns.len() {
            return "";
        }
        let index = row * self.columns.len() + column;
        let end_of = |index: usize| self.ends.get(index).map(|end| *end as usize);
        let begin = index.checked_sub(1).map_or(Some(0), end_of);
        begin
            .zip(end_of(index))
            .and_then(|(begin, end)| self.text.get(begin..end))
            .unwrap_or_default()
    }

    /// Memory that the rows take, in bytes.
    pub fn memory(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// A table without rows; every name must be there, once.
    fn with_columns(columns: Vec<String>, line: u64) -> Result<Self, DataError> {
        let mut seen = BTreeSet::new();
        for (index, name) in columns.iter().enumerate() {
            if name.is_empty() {
                let position = index + 1;
                return Err(DataError::UnnamedColumn { position });
            }
            if !seen.insert(name) {
                let name = name.clone();
                return Err(DataError::RepeatedColumn { line, name });
            }
        }
        Ok(Self {
            columns,
            total_rows: 0,
            text: String::new(),
            ends: Vec::new(),
        })
    }

    /// Counts a row, and tells whether it is the shard's: then its fields follow.
    fn begin_row(&mut self, shard: Shard) -> bool {
        let row = self.total_rows;
        self.total_rows += 1;
        row % u64::from(shard.parts) == u64::from(shard.index)
    }

    fn push(&mut self, field: &str) -> Result<(), DataError> {
        self.text.push_str(field);
        let end = u32::try_from(self.text.len()).map_err(|_| DataError::TooLarge)?;
        self.ends.push(end);
        Ok(())
    }
}

/// Past the line breaks at which the input stands; how many lines that are.
fn skip_line_breaks(input: &mut impl BufRead) -> Result<u64, DataError> {
    let mut lines = 0;
    loop {
        let buffer = input.fill_buf().map_err(unreadable)?;
        let breaks = buffer
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let length = breaks.clone().count();
        lines += breaks.filter(|byte| **byte == b'\n').count() as u64;
        input.consume(length);
        if length == 0 {
            return Ok(lines);
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err calls")]
fn unreadable(error: std::io::Error) -> DataError {
    DataError::Unreadable(error.to_string())
}
