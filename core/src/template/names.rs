//! Which names a template may use.

use std::collections::{BTreeMap, BTreeSet};

/// The names that exist where a template stands.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// `$(var.NAME)`: constants of the test.
    pub variables: BTreeMap<String, String>,
    /// `$(NAME)`: what the test extracts or sets, with its index in
    /// [`Inputs::values`](crate::plan::Inputs::values).
    pub values: BTreeMap<String, u32>,
    /// `$(FEEDER.COLUMN)`, in the order of [`Inputs::data`](crate::plan::Inputs::data).
    pub data: Vec<DataNames>,
    /// `$(secret.NAME)`, in the order of [`Inputs::secrets`](crate::plan::Inputs::secrets).
    pub secrets: Vec<String>,
    /// `$(setup.NAME)`, in the order of
    /// [`Inputs::setup_values`](crate::plan::Inputs::setup_values).
    pub setup: Vec<String>,
    /// What the test extracts or sets anywhere, so that a name that stands in the wrong place is
    /// not taken for a text.
    pub made: BTreeSet<String>,
}

/// A feeder and its columns.
#[derive(Debug, Clone)]
pub struct DataNames {
    /// Its name.
    pub name: String,
    /// Its columns, `None` where only runners see the data.
    pub columns: Option<Vec<String>>,
}

impl Names {
    /// Only variables: where nothing runs yet.
    pub fn of_variables(variables: BTreeMap<String, String>) -> Self {
        Self {
            variables,
            ..Self::default()
        }
    }
}
