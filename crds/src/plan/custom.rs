//! Steps of kinds that only the image of the runners knows. What they are told is checked as far as
//! it is ours: names and templates. The kinds themselves are the runner's affair, which refuses a run
//! before its start.

use loadtest_core::{
    plan::{Custom, Request},
    scalar::StatusRange,
    template::Position,
};

use super::{BOOLEAN_KEY, Builder, DEFAULT_TIMEOUT, is_identifier, is_yaml_boolean};
use crate::spec;

/// The code decides what a success is; what it reports as a status is for checks alone.
const ANY_STATUS: StatusRange = StatusRange { from: 100, to: 599 };

impl Builder<'_> {
    pub(super) fn custom(&mut self, path: &str, custom: &spec::Custom) -> Custom {
        let spec::Custom {
            kind,
            name,
            with,
            sets,
            timeout,
            labels,
            checks,
        } = custom;
        let name = name.as_deref().unwrap_or(kind);
        self.plain_text(&format!("{path}.name"), name);
        let mut told = std::collections::BTreeMap::new();
        for (name, text) in with {
            let path = format!("{path}.with.{name}");
            if is_yaml_boolean(name) {
                self.problem(&path, BOOLEAN_KEY);
            } else if !is_identifier(name) {
                self.problem(
                    &path,
                    "a name in with is at most 63 characters of A-Z, a-z, 0-9, _ and -, beginning with a letter or _",
                );
            }
            let template = self.template(&path, &text.to_string(), Position::Text);
            told.insert(name.clone(), template);
        }
        let (step, series) = self.numbers(name, kind);
        let checks: Vec<_> = checks.iter().map(spec::Check::from).collect();
        let checks = self.checks(&format!("{path}.checks"), &checks);
        Custom {
            kind: kind.0.clone(),
            with: told,
            sets: sets.iter().map(|name| self.value(name)).collect(),
            request: Request {
                step,
                series,
                method: kind.0.clone(),
                timeout: self.duration(
                    &format!("{path}.timeout"),
                    timeout.as_deref(),
                    DEFAULT_TIMEOUT,
                ),
                success: vec![ANY_STATUS],
                labels: self.labels(&format!("{path}.labels"), labels),
                checks: checks.into_iter().map(|(_, check)| check).collect(),
                ..Request::default()
            },
        }
    }
}
