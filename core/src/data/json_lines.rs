//! JSON lines: an object in each line, all with the same names.

use std::{borrow::Cow, fmt, io::BufRead};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{DataError, Table, unreadable};
use crate::shard::Shard;

/// Reads a table; one without columns if there is nothing.
pub(super) fn read(mut input: impl BufRead, shard: Shard) -> Result<Table, DataError> {
    let mut table = Table::with_columns(Vec::new(), 0)?;
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
            break;
        }
        let text = str::from_utf8(&bytes).map_err(|_| DataError::NotUtf8 { line })?;
        if text.trim_ascii().is_empty() {
            continue;
        }
        let object = parse(text, line)?;
        if table.columns.is_empty() {
            let names = object.0.iter().map(|(name, _)| name.to_string()).collect();
            table = Table::with_columns(names, line)?;
        }
        let fields = in_order(&table.columns, &object, line)?;
        if table.begin_row(shard) {
            for field in fields {
                table.push(&as_text(field, line)?)?;
            }
        }
    }
    Ok(table)
}

/// Names and values in the order in which they are written.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A name that is copied only when it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn parse(text: &str, line: u64) -> Result<Object<'_>, DataError> {
    let object: Object<'_> =
        serde_json::from_str(text).map_err(|error| not_an_object(&error, line))?;
    if object.0.is_empty() {
        let why = "it has no members".to_owned();
        return Err(DataError::NotAnObject { line, why });
    }
    Ok(object)
}

/// The parser counts lines from that of the object, and says so at the end.
fn not_an_object(error: &serde_json::Error, line: u64) -> DataError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let why = match error.column() {
        0 => what.to_owned(),
        column => format!("{what} at column {column}"),
    };
    DataError::NotAnObject { line, why }
}

/// The values in the order of the columns.
fn in_order<'a>(
    columns: &[String],
    object: &Object<'a>,
    line: u64,
) -> Result<Vec<&'a RawValue>, DataError> {
    let members = &object.0;
    let same_order = columns.len() == members.len()
        && columns
            .iter()
            .zip(members)
            .all(|(column, (name, _))| column == name);
    if same_order {
        return Ok(members.iter().map(|(_, value)| *value).collect());
    }
    let mut fields = vec![None; columns.len()];
    for (name, value) in members {
        let column = columns.iter().position(|column| column == name);
        let Some(field) = column.and_then(|column| fields.get_mut(column)) else {
            let name = name.to_string();
            return Err(DataError::UnknownColumn { line, name });
        };
        if field.replace(*value).is_some() {
            let name = name.to_string();
            return Err(DataError::RepeatedColumn { line, name });
        }
    }
    let found = columns.iter().zip(fields).map(|(column, field)| {
        let name = || column.clone();
        field.ok_or_else(|| DataError::MissingColumn { line, name: name() })
    });
    found.collect()
}

/// A text as it is, everything else as its JSON: numbers keep the digits that they are written with.
fn as_text(value: &RawValue, line: u64) -> Result<Cow<'_, str>, DataError> {
    let json = value.get();
    if !json.starts_with('"') {
        return Ok(Cow::Borrowed(json));
    }
    match serde_json::from_str(json) {
        Ok(Name(text)) => Ok(text),
        Err(error) => Err(not_an_object(&error, line)),
    }
}
