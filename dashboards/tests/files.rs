//! The committed dashboards against their source, the index templates and the rules of both tools.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

#[path = "files/grafana.rs"]
mod grafana;
#[path = "files/kibana.rs"]
mod kibana;
#[path = "files/mappings.rs"]
mod mappings;

use std::{collections::BTreeSet, fs, path::Path};

/// A text of the repository.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Committed dashboards of a tool, with their names.
fn committed(tool: &str) -> Vec<(String, String)> {
    let folder = format!("{}/{tool}", loadtest_dashboards::FOLDER);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names: Vec<_> = fs::read_dir(root.join(&folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let text = |name: String| (format!("{tool}/{name}"), read(&format!("{folder}/{name}")));
    names.into_iter().map(text).collect()
}

#[test]
fn the_chart_has_the_generated_files_and_no_others() {
    let generated = loadtest_dashboards::files();
    for (name, text) in &generated {
        let path = format!("{}/{name}", loadtest_dashboards::FOLDER);
        assert!(
            read(&path) == *text,
            "{path} is stale: cargo run -p loadtest-dashboards --bin generate-dashboards"
        );
    }
    let names = |files: &[(String, String)]| -> BTreeSet<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    let there = [committed("grafana"), committed("kibana")].concat();
    assert_eq!(names(&there), names(&generated));
}

/// Rectangles `x, y, width, height` that are inside of a grid and upon none other, without gaps in a row.
fn assert_grid(file: &str, columns: u64, places: &[[u64; 4]]) {
    let mut taken = BTreeSet::new();
    for [x, y, width, height] in places {
        assert!(*width > 0 && *height > 0, "{file}: {places:?}");
        assert!(x + width <= columns, "{file}: {x} + {width} > {columns}");
        for column in *x..x + width {
            for row in *y..y + height {
                assert!(
                    taken.insert((row, column)),
                    "{file}: two at {column}, {row}"
                );
            }
        }
    }
    let rows = taken.last().unwrap().0 + 1;
    assert_eq!(taken.len() as u64, rows * columns, "{file} has holes");
}
