//! What one user remembers: values, the rows of data that are its own, the status of its last
//! answer.

use std::{rc::Rc, sync::Arc};

use loadtest_core::{data::Table, plan::ValueScope};

use super::Inputs;

/// A value that was extracted or set.
#[derive(Debug, Clone)]
pub enum Value {
    /// A text.
    Text(Rc<str>),
    /// Several, of an extract that picks all.
    List(Rc<List>),
}

/// Texts, and what they are written as.
#[derive(Debug)]
pub struct List {
    /// One by one, as texts.
    pub items: Vec<Rc<str>>,
    /// Together, as a JSON array, in which numbers are still numbers.
    pub json: String,
}

/// A row of data.
#[derive(Debug, Clone)]
pub struct Row {
    /// The rows it belongs to.
    pub table: Arc<Table>,
    /// Its place among them.
    pub index: usize,
}

/// What one user remembers.
#[derive(Debug)]
pub struct Memory {
    values: Box<[Option<Value>]>,
    rows: Box<[Option<Row>]>,
    /// Status of the last answer, 0 when there was none.
    pub status: u16,
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// As it is written in a template.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::List(list) => &list.json,
        }
    }
}

impl Row {
    /// The field of a column; `None` if there is no such column.
    pub fn field(&self, column: &str) -> Option<&str> {
        let column = self.table.column(column)?;
        Some(self.table.field(self.index, column))
    }
}

impl Memory {
    /// Of a user that has just come.
    pub fn new(inputs: &Inputs) -> Self {
        Self {
            values: vec![None; inputs.scopes.len()].into(),
            rows: vec![None; inputs.feeders.len()].into(),
            status: 0,
        }
    }

    /// A value by its index; `None` as long as nothing was set.
    pub fn get(&self, index: u32) -> Option<&Value> {
        self.values.get(index as usize)?.as_ref()
    }

    /// Remembers a value.
    pub fn set(&mut self, index: u32, value: Value) {
        if let Some(place) = self.values.get_mut(index as usize) {
            *place = Some(value);
        }
    }

    /// The user's row of a feeder.
    pub fn row(&self, feeder: u32) -> Option<&Row> {
        self.rows.get(feeder as usize)?.as_ref()
    }

    /// Gives the user another row of the same rows; false if it has none of them yet.
    pub fn turn_to_row(&mut self, feeder: u32, index: usize) -> bool {
        let place = self.rows.get_mut(feeder as usize);
        let Some(row) = place.and_then(Option::as_mut) else {
            return false;
        };
        row.index = index;
        true
    }

    /// Gives the user a row of a feeder, or takes it away.
    pub fn set_row(&mut self, feeder: u32, row: Option<Row>) {
        if let Some(place) = self.rows.get_mut(feeder as usize) {
            *place = row;
        }
    }

    /// Forgets the values that belong to the iteration alone.
    pub fn end_iteration(&mut self, inputs: &Inputs) {
        for (value, scope) in self.values.iter_mut().zip(&inputs.scopes) {
            if *scope == ValueScope::Iteration {
                *value = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iteration_ends_with_its_own_values_only() {
        let inputs = Inputs {
            scopes: vec![ValueScope::Iteration, ValueScope::User].into(),
            ..Inputs::default()
        };
        let mut memory = Memory::new(&inputs);
        assert!(memory.get(0).is_none() && memory.get(7).is_none());
        for index in [0, 1, 7] {
            memory.set(index, Value::text("kept"));
        }
        memory.end_iteration(&inputs);
        assert!(memory.get(0).is_none());
        assert_eq!(memory.get(1).map(Value::as_str), Some("kept"));
    }
}
