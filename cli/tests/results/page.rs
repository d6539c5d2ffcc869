//! The queries as they stand on the page.

use std::path::Path;

use serde_json::Value;

use crate::{server::Server, truth::Truth};

/// A heading with the query below it.
pub struct Query {
    pub title: String,
    path: String,
    body: String,
}

impl Query {
    /// All blocks of the language `http`.
    pub fn all_of_the_page() -> Vec<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mut queries = Vec::new();
        let (mut title, mut lines) = ("", page.lines());
        while let Some(line) = lines.next() {
            if let Some(heading) = line.strip_prefix("## ") {
                title = heading;
            }
            if line == "```http" {
                let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                let (request, body) = block.split_first().unwrap();
                queries.push(Self {
                    title: title.to_owned(),
                    path: request.strip_prefix("POST ").unwrap().to_owned(),
                    body: body.join("\n"),
                });
            }
        }
        queries
    }

    /// The server's answer, with the placeholders replaced.
    pub fn ask(&self, server: &Server, truth: &Truth) -> Value {
        let body = [
            ("OTHER_RUN_ID", &truth.runs[1].id),
            ("RUN_ID", &truth.runs[0].id),
            ("TRACE_ID", &truth.trace),
            ("STARTED", &truth.started),
            ("COMPLETED", &truth.completed),
        ]
        .iter()
        .fold(self.body.clone(), |body, (word, value)| {
            body.replace(word, value)
        });
        let body = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{}: {e}", self.title));
        server.post(&self.path, &body)
    }
}
