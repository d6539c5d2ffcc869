//! Rows of data, given out to users one at a time.
//!
//! A runner reads each table once, before it says that it is ready; all its workers draw from the
//! same one. Where the drawing stands is one number per feeder, so no row is given out twice in a
//! pass, and nothing is kept per row: also a shuffled pass is a function of the number.

use std::{
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use loadtest_core::{
    data::{DataError, Table},
    identity,
    plan::{
        DataOrder, DataScope, DataShare, DataSource, Feeder as FeederPlan, OnExhausted, Plan, Uses,
    },
    shard::Shard,
};
use sha2::{Digest, Sha256};

use super::rng::Rng;

/// Why there are no rows to draw.
#[derive(Debug, thiserror::Error)]
pub enum FeederError {
    /// The file cannot be opened.
    #[error("data {name:?}: cannot open {path}: {source}: mount the file into the runners")]
    File {
        /// Name of the data.
        name: String,
        /// Where the file should be.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is no table.
    #[error("data {name:?}{place}: {error}")]
    Table {
        /// Name of the data.
        name: String,
        /// The file, if it is one.
        place: String,
        /// What is wrong, and where.
        error: DataError,
    },
    /// It is another table than when the test was accepted.
    #[error(
        "data {name:?}{place} has changed since the test was accepted (SHA-256 {found}, not {expected}): start the run anew"
    )]
    Changed {
        /// Name of the data.
        name: String,
        /// The file, if it is one.
        place: String,
        /// Hash of the content.
        found: String,
        /// Hash in the plan.
        expected: String,
    },
    /// There are fewer rows than runners.
    #[error(
        "data {name:?} has {rows} rows for {runners} runners, and runner {index} gets none: add rows, use fewer runners, or give every runner all rows with share: Each"
    )]
    NoShare {
        /// Name of the data.
        name: String,
        /// Rows in all.
        rows: u64,
        /// How many share them.
        runners: u32,
        /// The one without.
        index: u32,
    },
    /// A template asks for what the table has not.
    #[error(
        "data {name:?}{place} has no column {column:?}, which the test uses; it has {}", columns.join(", ")
    )]
    NoColumn {
        /// Name of the data.
        name: String,
        /// The file, if it is one.
        place: String,
        /// What is asked for.
        column: String,
        /// What there is.
        columns: Vec<String>,
    },
}

/// All feeders of a runner, by index in the plan.
#[derive(Debug, Default)]
pub struct Feeders {
    all: Vec<Feeder>,
}

/// A table and where the drawing stands.
#[derive(Debug)]
pub struct Feeder {
    /// The rows of this runner.
    pub table: Arc<Table>,
    scope: DataScope,
    order: DataOrder,
    on_exhausted: OnExhausted,
    seed: [u64; 3],
    /// Rows that were given out.
    drawn: AtomicU64,
    /// Somebody wanted a row and got none.
    exhausted: AtomicBool,
}

impl Feeders {
    /// Reads the tables of a plan, a runner's part of each.
    ///
    /// # Errors
    /// [`FeederError`] says which data cannot be used, and why.
    pub fn load(plan: &Plan, runner: Shard) -> Result<Self, FeederError> {
        let feeders = plan.inputs.data.iter().enumerate().map(|(index, feeder)| {
            let seed = [plan.run.seed, index as u64, u64::from(runner.index)];
            let loaded = Feeder::load(feeder, runner, seed)?;
            check_columns(plan, index as u32, feeder, &loaded.table)?;
            Ok(loaded)
        });
        Ok(Self {
            all: feeders.collect::<Result<_, _>>()?,
        })
    }

    /// A feeder of the plan.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Feeder> {
        self.all.get(index as usize)
    }

    /// Those that had no row left for somebody.
    pub fn exhausted(&self) -> Vec<u32> {
        let all = self.all.iter().zip(0..);
        all.filter(|(feeder, _)| feeder.is_exhausted())
            .map(|(_, index)| index)
            .collect()
    }
}

impl Feeder {
    fn load(plan: &FeederPlan, runner: Shard, seed: [u64; 3]) -> Result<Self, FeederError> {
        let shard = match plan.share {
            DataShare::Split => runner,
            DataShare::Each => Shard::WHOLE,
        };
        let table = read(plan, shard)?;
        if table.is_empty() {
            return Err(FeederError::NoShare {
                name: plan.name.clone(),
                rows: table.total_rows(),
                runners: runner.parts,
                index: runner.index,
            });
        }
        Ok(Self {
            table: Arc::new(table),
            scope: plan.scope,
            order: plan.order,
            on_exhausted: plan.on_exhausted,
            seed,
            drawn: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
        })
    }

    /// The next row; `None` when all were given out and it does not begin again.
    pub fn draw(&self) -> Option<usize> {
        let rows = self.table.len() as u64;
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let (pass, place) = (number.checked_div(rows)?, number.checked_rem(rows)?);
        if pass > 0 && self.on_exhausted == OnExhausted::Stop {
            self.exhausted.store(true, Ordering::Relaxed);
            return None;
        }
        let row = match self.order {
            DataOrder::Sequential => place,
            DataOrder::Random => {
                let [seed, feeder, runner] = self.seed;
                shuffled(
                    place,
                    rows,
                    Rng::new(&[SHUFFLE, seed, feeder, runner, pass]),
                )
            }
        };
        Some(row as usize)
    }

    /// Whether a user keeps its row for life.
    pub fn is_for_life(&self) -> bool {
        self.scope == DataScope::User
    }

    /// Whether somebody wanted a row and got none.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }
}

/// Tells the random numbers of shuffles from all others.
const SHUFFLE: u64 = 0x7368_7566;

/// Few rows have few bits in each half, and want more rounds until no place has a favourite.
const ROUNDS: usize = 16;

/// Where a place comes to when `0..count` is shuffled: a Feistel network over the smallest even
/// number of bits that holds `count`, gone through again until it lands below (Black and Rogaway,
/// "Ciphers with Arbitrary Finite Domains", 2002). No table, and four passes at most on average.
fn shuffled(place: u64, count: u64, mut rng: Rng) -> u64 {
    let keys: [u64; ROUNDS] = std::array::from_fn(|_| rng.next());
    let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut at = place;
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for key in keys {
            let mixed = Rng::new(&[key, right]).next() & mask;
            (left, right) = (right, left ^ mixed);
        }
        at = (left << half) | right;
        if at < count {
            return at;
        }
    }
}

fn read(plan: &FeederPlan, shard: Shard) -> Result<Table, FeederError> {
    match &plan.source {
        DataSource::Inline(text) => read_from(plan, text.as_bytes(), "", shard),
        DataSource::File(path) => {
            let file = File::open(path).map_err(|source| FeederError::File {
                name: plan.name.clone(),
                path: path.clone(),
                source,
            })?;
            read_from(plan, file, &format!(" ({path})"), shard)
        }
    }
}

fn read_from(
    plan: &FeederPlan,
    input: impl Read,
    place: &str,
    shard: Shard,
) -> Result<Table, FeederError> {
    let (name, place) = (plan.name.clone(), place.to_owned());
    let mut input = Hashed {
        input,
        hash: Sha256::new(),
    };
    let table = Table::read(plan.format, &mut input, shard);
    if let Some(expected) = &plan.sha256 {
        // A table that is none any more has changed, too.
        drop(io::copy(&mut input, &mut io::sink()));
        let found = identity::hex(&input.hash.finalize());
        if !found.eq_ignore_ascii_case(expected) {
            let expected = expected.clone();
            return Err(FeederError::Changed {
                name,
                place,
                found,
                expected,
            });
        }
    }
    table.map_err(|error| FeederError::Table { name, place, error })
}

/// Hashes what is read through it, so that the content is never held as a whole.
struct Hashed<R> {
    input: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

/// Every column that the test uses must be there: a file is not seen when the plan is made.
fn check_columns(
    plan: &Plan,
    index: u32,
    feeder: &FeederPlan,
    table: &Table,
) -> Result<(), FeederError> {
    let mut uses = Uses::default();
    for scenario in &plan.scenarios {
        let tasks = scenario.tasks.iter().map(|task| &task.steps);
        let flows = scenario.flows.all.iter().map(|flow| &flow.steps);
        for steps in tasks.chain(flows) {
            uses.add(steps, &[]);
        }
    }
    for flow in plan.once.iter().flat_map(|once| &once.flows) {
        uses.add(&flow.steps, &[]);
    }
    for column in uses.columns(index) {
        if table.column(column).is_none() {
            return Err(FeederError::NoColumn {
                name: feeder.name.clone(),
                place: match &feeder.source {
                    DataSource::Inline(_) => String::new(),
                    DataSource::File(path) => format!(" ({path})"),
                },
                column: column.to_owned(),
                columns: table.columns().to_vec(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        thread,
    };

    use loadtest_core::plan::DataFormat;

    use super::*;

    fn table(rows: u64) -> String {
        let rows = (0..rows).map(|row| row.to_string());
        std::iter::once("id".to_owned())
            .chain(rows)
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn plan(rows: u64) -> FeederPlan {
        FeederPlan {
            name: "users".to_owned(),
            source: DataSource::Inline(table(rows)),
            format: DataFormat::Csv,
            order: DataOrder::Random,
            share: DataShare::Split,
            scope: DataScope::Iteration,
            on_exhausted: OnExhausted::Recycle,
            sha256: None,
        }
    }

    fn load(plan: &FeederPlan, seed: u64) -> Feeder {
        Feeder::load(plan, Shard::WHOLE, [seed, 0, 0]).unwrap()
    }

    #[test]
    fn a_shuffled_pass_has_every_row_once_and_its_seed_decides() {
        for rows in [1, 2, 3, 5, 64, 65, 1_000] {
            let (one, same, other) = (
                load(&plan(rows), 1),
                load(&plan(rows), 1),
                load(&plan(rows), 2),
            );
            let pass =
                |feeder: &Feeder| -> Vec<_> { (0..rows).map(|_| feeder.draw().unwrap()).collect() };
            let (first, second) = (pass(&one), pass(&one));
            assert_eq!(first, pass(&same));
            for order in [&first, &second] {
                let sorted: BTreeSet<_> = order.iter().copied().collect();
                assert_eq!(sorted, (0..rows as usize).collect());
            }
            if rows > 60 {
                let sorted: Vec<_> = (0..rows as usize).collect();
                assert!(first != second && first != pass(&other) && first != sorted);
            }
        }
    }

    /// Each row is at each place about as often as at any other.
    #[test]
    fn shuffles_have_no_favourites() {
        const ROWS: u64 = 5;
        const PASSES: u64 = 20_000;
        let feeder = load(&plan(ROWS), 7);
        let mut counts = BTreeMap::new();
        for _ in 0..PASSES {
            for place in 0..ROWS {
                *counts
                    .entry((place, feeder.draw().unwrap()))
                    .or_insert(0u64) += 1;
            }
        }
        // 4,000 ± 5 standard deviations of 57.
        assert!(
            counts.values().all(|count| (3_717..=4_283).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn threads_share_a_pass_and_the_end_of_the_rows_is_remembered() {
        let mut plan = plan(1_000);
        plan.order = DataOrder::Sequential;
        plan.on_exhausted = OnExhausted::Stop;
        let feeder = load(&plan, 0);
        let drawn: Vec<_> = thread::scope(|scope| {
            let thread = || {
                scope.spawn(|| {
                    std::iter::from_fn(|| feeder.draw())
                        .take(600)
                        .collect::<Vec<_>>()
                })
            };
            let (one, two) = (thread(), thread());
            [one.join().unwrap(), two.join().unwrap()].concat()
        });
        let distinct: BTreeSet<_> = drawn.iter().copied().collect();
        assert_eq!((drawn.len(), distinct.len()), (1_000, 1_000));
        assert!(feeder.is_exhausted());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let said = |plan: &FeederPlan, runner| {
            let feeder = Feeder::load(plan, runner, [0; 3]);
            feeder.unwrap_err().to_string()
        };
        let third = Shard { index: 2, parts: 3 };
        assert_eq!(
            said(&plan(2), third),
            "data \"users\" has 2 rows for 3 runners, and runner 2 gets none: add rows, use fewer runners, or give every runner all rows with share: Each"
        );
        let mut each = plan(2);
        each.share = DataShare::Each;
        assert!(Feeder::load(&each, third, [0; 3]).is_ok());
        let mut ragged = plan(0);
        ragged.source = DataSource::Inline("a,b\n1,2\n3\n".to_owned());
        let text = said(&ragged, Shard::WHOLE);
        assert!(
            text.starts_with("data \"users\": line 3 has 1 field"),
            "{text}"
        );
        let mut missing = plan(0);
        missing.source = DataSource::File("/nowhere/users.csv".to_owned());
        assert_eq!(
            said(&missing, Shard::WHOLE),
            "data \"users\": cannot open /nowhere/users.csv: No such file or directory (os error 2): mount the file into the runners"
        );
        let mut changed = plan(1);
        changed.sha256 = Some(loadtest_core::identity::content_hash(b"id\n0"));
        assert!(Feeder::load(&changed, Shard::WHOLE, [0; 3]).is_ok());
        changed.source = DataSource::Inline("id\n".to_owned());
        let text = said(&changed, Shard::WHOLE);
        assert!(
            text.starts_with("data \"users\" has changed since the test was accepted"),
            "{text}"
        );
    }

    #[test]
    fn a_million_rows_are_shuffled_quickly() {
        let feeder = load(&plan(1_000_000), 3);
        let begin = std::time::Instant::now();
        let mut seen = vec![false; 1_000_000];
        for _ in 0..1_000_000 {
            let row = feeder.draw().unwrap();
            assert!(!std::mem::replace(&mut seen[row], true));
        }
        let took = begin.elapsed();
        assert!(
            took.as_secs() < 20,
            "{took:?}, even unoptimised on a busy machine"
        );
        assert!(feeder.table.memory() < 16 << 20);
    }
}
