//! Text in columns, by what a terminal shows: names may be of any script.

use std::fmt;

use console::{Alignment, measure_text_width, pad_str, truncate_str};

/// Cells wider than this are cut; `-o json` has them whole.
const WIDEST: usize = 60;

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading.
#[derive(Debug, Default)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With the names of its columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let (names, aligns): (Vec<_>, Vec<_>) = columns
            .into_iter()
            .map(|(name, align)| (name.to_owned(), align))
            .unzip();
        Self {
            aligns,
            rows: vec![names],
        }
    }

    /// A name, then numbers.
    pub fn of_numbers(name: &str, numbers: &[&str]) -> Self {
        let numbers = numbers.iter().map(|number| (*number, Align::Right));
        Self::new(std::iter::once((name, Align::Left)).chain(numbers))
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cut = |cell: String| truncate_str(&cell, WIDEST, "…").into_owned();
        self.rows.push(cells.into_iter().map(cut).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = vec![0; self.aligns.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = measure_text_width(cell).max(*width);
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(&self.aligns);
            let line: Vec<_> = cells
                .map(|((cell, width), align)| {
                    let align = match align {
                        Align::Left => Alignment::Left,
                        Align::Right => Alignment::Right,
                    };
                    pad_str(cell, *width, align, None).into_owned()
                })
                .collect();
            writeln!(f, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_any_script() {
        let mut table = Table::new([("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["商品".to_owned(), "1".to_owned()]);
        table.row(["größe".to_owned(), "12".to_owned()]);
        assert_eq!(table.to_string(), "NAME    N\n商品    1\ngröße  12\n");
    }
}
