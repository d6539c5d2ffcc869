//! Tables of a name and numbers, no wider than a terminal.

use std::fmt::Write as _;

use console::{Style, Term};

/// A narrow terminal shows at least so much of a name, and rather fewer columns.
const LEAST_NAME_WIDTH: usize = 20;

/// Columns that are left out on a narrow terminal, the first one first.
const DISPENSABLE: [&str; 6] = ["p90", "max", "p50", "Rate", "p95", "Failures"];

/// Columns of the terminal that it is printed on, if it is one.
pub(super) fn terminal_width() -> Option<usize> {
    let (_, columns) = Term::stdout().size_checked()?;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// Rows of a name and numbers below their heading, the last one perhaps below a line.
pub(super) fn grid<const N: usize>(
    out: &mut String,
    columns: &[&str; N],
    rows: &[[String; N]],
    last: Option<&[String; N]>,
    within: Option<usize>,
) {
    let mut widths = columns.map(str::len);
    for cells in rows.iter().chain(last) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(console::measure_text_width(cell));
        }
    }
    if let Some(within) = within {
        narrow(columns, &mut widths, within);
    }
    let line = |cells: &[&str; N]| {
        let shown = cells.iter().zip(widths).enumerate();
        let shown = shown.filter(|(_, (_, width))| *width > 0);
        let padded = shown.map(|(index, (cell, width))| {
            let side = match index {
                0 => console::Alignment::Left,
                _ => console::Alignment::Right,
            };
            console::pad_str(cell, width, side, Some("…"))
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    let heading = line(columns);
    let rule = "─".repeat(console::measure_text_width(&heading));
    let _ = writeln!(out, "{}\n{rule}", Style::new().bold().apply_to(heading));
    for cells in rows {
        let _ = writeln!(out, "{}", line(&cells.each_ref().map(String::as_str)));
    }
    if let Some(last) = last {
        let last = line(&last.each_ref().map(String::as_str));
        let _ = writeln!(out, "{rule}\n{last}");
    }
}

/// Makes a table no wider than a terminal: names are cut, then columns left out; the width of one
/// that is not shown is 0.
fn narrow<const N: usize>(columns: &[&str; N], widths: &mut [usize; N], within: usize) {
    let total = |widths: &[usize; N]| {
        let shown = widths.iter().filter(|width| **width > 0);
        shown
            .map(|width| width + 2)
            .sum::<usize>()
            .saturating_sub(2)
    };
    for dispensable in std::iter::once(None).chain(DISPENSABLE.map(Some)) {
        let found = columns
            .iter()
            .position(|column| Some(*column) == dispensable);
        if let Some(width) = found.and_then(|at| widths.get_mut(at)) {
            *width = 0;
        }
        let excess = total(widths).saturating_sub(within);
        let Some(name) = widths.first_mut() else {
            return;
        };
        if excess > 0 && *name < excess + LEAST_NAME_WIDTH {
            continue;
        }
        *name -= excess;
        return;
    }
}
