use std::{fmt::Write, io::Read, time::Instant};

use proptest::prelude::*;

use super::{DataError, Table};
use crate::{plan::DataFormat, shard::Shard};

fn csv(text: &str) -> Result<Table, DataError> {
    Table::parse(DataFormat::Csv, text.as_bytes(), Shard::WHOLE)
}

fn json(text: &str) -> Result<Table, DataError> {
    Table::parse(DataFormat::JsonLines, text.as_bytes(), Shard::WHOLE)
}

fn rows(table: &Table) -> Vec<Vec<&str>> {
    (0..table.len())
        .map(|row| {
            (0..table.columns().len())
                .map(|column| table.field(row, column))
                .collect()
        })
        .collect()
}

/// One byte at a time, as slow files and pipes may come.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn csv_is_read_as_rfc_4180_has_it() {
    let text = "\u{feff}user,\"pass \"\"word\"\"\",note\r\nada,\"a,b\",\"two\r\nlines\"\r\n\r\nböb,,\"\"\"\"";
    let table = csv(text).unwrap();
    assert_eq!(table.columns(), ["user", "pass \"word\"", "note"]);
    let expected = [["ada", "a,b", "two\r\nlines"], ["böb", "", "\""]];
    assert_eq!(rows(&table), expected);
    assert_eq!(
        (table.column("note"), table.column("other")),
        (Some(2), None)
    );
    assert_eq!((table.field(2, 0), table.field(0, 3)), ("", ""));
    let slow = Table::read(DataFormat::Csv, Trickle(text.as_bytes()), Shard::WHOLE);
    assert_eq!(slow.unwrap(), table);
}

#[test]
fn json_lines_keep_texts_and_the_digits_of_numbers() {
    let table = json(concat!(
        "\u{feff}{\"id\": 12345678901234567890123, \"name\": \"\\u00fc \\\"x\\\"\"}\r\n",
        "  \n",
        "{\"name\":\"plain\",\"id\":1.50}\n",
        "{\"id\":{\"a\": [1, null]},\"n\\u0061me\":null}",
    ));
    let table = table.unwrap();
    assert_eq!(table.columns(), ["id", "name"]);
    let expected = [
        ["12345678901234567890123", "ü \"x\""],
        ["1.50", "plain"],
        ["{\"a\": [1, null]}", "null"],
    ];
    assert_eq!(rows(&table), expected);
}

#[test]
fn mistakes_are_named_with_their_line() {
    let said = |result: Result<Table, DataError>| result.unwrap_err().to_string();
    let ragged = "line 5 has 1 field, the first line names 2: a field with a comma needs double quotes around it";
    assert_eq!(said(csv("a,b\n1,\"x\ny\"\n\n1\n")), ragged);
    assert_eq!(said(csv("a,b\r\n1,\"x\r\ny\"\r\n\r\n1\r\n")), ragged);
    assert_eq!(
        said(csv("a,b\n1,2\n3,\"x\n4,5\n")),
        "a double quote in the row that begins in line 3 is never closed"
    );
    assert_eq!(
        said(csv("a,b,a\n1,2,3\n")),
        "line 1 has \"a\" twice: each column needs a name of its own"
    );
    assert_eq!(
        said(csv("a,,c\n1,2,3\n")),
        "column 2 has no name: name every column in the first line"
    );
    assert_eq!(
        said(csv("\u{feff}\r\n\n")),
        "is empty: the first line names the columns, each other line is a row"
    );
    assert_eq!(
        said(csv("a,b\n")),
        "has column names but no rows: add at least one line below the first"
    );
    assert_eq!(
        said(json("")),
        "is empty: each line is a JSON object, and the first one names the columns"
    );
    assert_eq!(
        said(json("{\"a\":1}\n\n{\"a\":}\n")),
        "line 3 is not a JSON object: expected value at column 6"
    );
    assert_eq!(
        said(json("[1]")),
        "line 1 is not a JSON object: invalid type: sequence, expected an object"
    );
    assert_eq!(
        said(json("{}")),
        "line 1 is not a JSON object: it has no members"
    );
    assert_eq!(
        said(json("{\"a\":1}\n{\"b\":1}")),
        "line 2 has \"b\", which the first line has not: every line needs the same names"
    );
    assert_eq!(
        said(json("{\"a\":1,\"b\":2}\n{\"b\":1}")),
        "line 2 has no \"a\": every line needs the names of the first"
    );
    assert_eq!(
        said(json("{\"a\":1,\"b\":2}\n{\"b\":1,\"b\":1}")),
        "line 2 has \"b\" twice: each column needs a name of its own"
    );
    assert_eq!(
        said(json("{\"a\":1,\"a\":2}")),
        "line 1 has \"a\" twice: each column needs a name of its own"
    );
}

#[test]
fn only_utf_8_is_text() {
    let bad = |format, bytes: &[u8]| Table::parse(format, bytes, Shard::WHOLE).unwrap_err();
    let line = |line| DataError::NotUtf8 { line };
    assert_eq!(bad(DataFormat::Csv, b"a,b\n1,2\n\xff,2\n"), line(3));
    // The two halves of a letter in two fields.
    assert_eq!(bad(DataFormat::Csv, b"a,b\n\xc3,\xa9\n"), line(2));
    assert_eq!(bad(DataFormat::JsonLines, b"{\"a\":\"\xff\"}\n"), line(1));
}

#[test]
fn an_input_that_breaks_off_is_named() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    for format in [DataFormat::Csv, DataFormat::JsonLines] {
        let input = b"{\"a\":1}\n".chain(Broken);
        let error = Table::read(format, input, Shard::WHOLE).unwrap_err();
        assert_eq!(error.to_string(), "cannot be read: the disk is gone");
    }
}

/// The text and four bytes for each field, and no pause that a user would call one.
#[test]
fn a_million_rows_take_little_more_memory_than_their_text() {
    let mut text = String::from("id,name,token\n");
    for row in 0..1_000_000 {
        writeln!(text, "{row},user-{row},0123456789abcdef").unwrap();
    }
    let begin = Instant::now();
    let table = csv(&text).unwrap();
    let took = begin.elapsed();
    assert_eq!((table.len(), table.total_rows()), (1_000_000, 1_000_000));
    assert_eq!(table.field(999_999, 1), "user-999999");
    let fields = text.len() - "id,name,token\n".len() - 3 * 1_000_000;
    assert_eq!(table.memory(), fields + 3 * 1_000_000 * size_of::<u32>());
    assert!(
        took.as_secs() < 20,
        "{took:?}, even unoptimised on a busy machine"
    );
    let part = Shard {
        index: 7,
        parts: 10,
    };
    let share = Table::read(DataFormat::Csv, text.as_bytes(), part).unwrap();
    assert_eq!((share.len(), share.total_rows()), (100_000, 1_000_000));
    assert!(share.memory() < table.memory() / 9);
}

proptest! {
    /// What is written by the rules is read as it was, in both forms, and the shards of it have
    /// every row once.
    #[test]
    fn shards_have_every_row_once(
        columns in 1_usize..4,
        cells in prop::collection::vec("[a-z\",\r\n é\\\\]{0,6}", 1..60),
        parts in 1_u32..5,
    ) {
        let names: Vec<String> = (0..columns).map(|column| format!("c{column}")).collect();
        let all: Vec<&[String]> = cells.chunks_exact(columns).collect();
        prop_assume!(!all.is_empty());
        let quoted = |row: &[String]| -> String {
            let cells: Vec<_> = row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            cells.join(",") + "\r\n"
        };
        let csv: String = std::iter::once(quoted(&names)).chain(all.iter().map(|row| quoted(row))).collect();
        let lines: Vec<String> = all
            .iter()
            .map(|row| {
                let pairs: Vec<_> = names.iter().zip(*row)
                    .map(|(name, cell)| format!("\"{name}\":{}", serde_json::to_string(cell).unwrap()))
                    .collect();
                format!("{{{}}}", pairs.join(","))
            })
            .collect();
        for (format, text) in [(DataFormat::Csv, csv), (DataFormat::JsonLines, lines.join("\n"))] {
            for index in 0..parts {
                let shard = Shard { index, parts };
                let table = Table::parse(format, text.as_bytes(), shard).unwrap();
                prop_assert_eq!(table.columns(), &names[..]);
                prop_assert_eq!(table.total_rows(), all.len() as u64);
                prop_assert_eq!(table.len() as u64, shard.share(all.len() as u64));
                for (k, row) in rows(&table).into_iter().enumerate() {
                    prop_assert_eq!(row, all[shard.global(k as u64) as usize]);
                }
            }
        }
    }
}
