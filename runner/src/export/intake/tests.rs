use super::*;
use crate::pool::{
    Anchor, PoolOptions, RecordWriter,
    tests::{Scratch, record},
};

/// Rings of eight blocks that are written by hand; most tests need one.
struct Ring {
    scratch: Scratch,
    pool: Pool,
    writer: RecordWriter,
}

impl Ring {
    fn new() -> Self {
        Self::of(1)
    }

    /// The first of so many rings.
    fn of(workers: u32) -> Self {
        let scratch = Scratch::new();
        let options = PoolOptions {
            workers,
            blocks_per_worker: 8,
            anchor: Anchor {
                wall_ns: 1,
                mono_ns: 1,
            },
        };
        let pool = Pool::create(&scratch.0, options).unwrap();
        let writer = pool.writer(0);
        Self {
            scratch,
            pool,
            writer,
        }
    }

    /// So many blocks of one record.
    fn fill(&mut self, blocks: u64) {
        for k in 0..blocks {
            self.writer.record(&record(k));
            self.writer.flush();
        }
    }

    /// As a new process would open it.
    fn intake(&self) -> Intake {
        let pool = Pool::open(&self.scratch.0).unwrap();
        let account = Arc::new(Account::default());
        account.opened(&pool);
        Intake::open(pool, Some(self.scratch.0.join("spool")), 1 << 20, account)
    }

    fn numbers(taken: &[Taken]) -> Vec<u64> {
        let numbers = taken.iter().flat_map(|taken| taken.block.records());
        numbers.map(|(n, _)| n).collect()
    }
}

fn relieve_all(intake: &Intake) -> usize {
    let moves = std::iter::repeat_with(|| intake.relieve());
    moves.take_while(|relief| *relief == Relief::Moved).count()
}

#[test]
fn a_ring_is_relieved_to_a_quarter_and_the_oldest_is_taken_first() {
    let mut ring = Ring::new();
    ring.fill(4);
    let intake = ring.intake();
    assert_eq!(relieve_all(&intake), 2);
    assert_eq!(ring.pool.full_blocks().len(), 2);
    ring.fill(1);
    assert_eq!(Ring::numbers(&intake.take(9, false)), [0, 1, 2, 3, 4]);
    assert!(intake.take(9, false).is_empty(), "each block is taken once");
    // While they are under way from memory, the ring does not wait for them.
    assert_eq!(relieve_all(&intake), 1);
    assert_eq!(ring.pool.full_blocks().len(), 2);
}

#[test]
fn a_delivery_that_does_not_end_does_not_hold_the_ring_up() {
    let mut ring = Ring::new();
    ring.fill(3);
    let intake = ring.intake();
    let taken = intake.take(1, false);
    assert_eq!(Ring::numbers(&taken), [0]);
    // Many times the ring goes by while the first block is under way.
    for _ in 0..20 {
        ring.fill(2);
        relieve_all(&intake);
    }
    assert_eq!(ring.pool.counts().dropped, 0);
    let mut ledger = ring.pool.ledger();
    ledger.indexed = 1;
    intake.settle(taken[0].ticket, &mut ledger);
    drop(intake);

    let intake = ring.intake();
    let rest: Vec<u64> = std::iter::from_fn(|| {
        let taken = intake.take(1, false);
        let mut ledger = ring.pool.ledger();
        for taken in &taken {
            intake.settle(taken.ticket, &mut ledger);
        }
        (!taken.is_empty()).then(|| Ring::numbers(&taken))
    })
    .flatten()
    .collect();
    assert_eq!(rest, (1..43).collect::<Vec<u64>>());
}

/// Of the 64 bits of the mark the first is a delivery's that does not end and the others are used,
/// so nothing under way can be moved; the oldest of what is under way is in another ring.
#[test]
fn a_block_under_way_that_cannot_be_moved_is_not_copied_either() {
    let mut ring = Ring::of(2);
    let mut other = ring.pool.writer(1);
    let intake = ring.intake();
    let mut ledger = ring.pool.ledger();
    ring.fill(3);
    let stuck = intake.take(1, false);
    assert_eq!(intake.relieve(), Relief::Moved);
    for _ in 1..64 {
        ring.fill(1);
        let taken = intake.take(3, false);
        assert_eq!(relieve_all(&intake), 1);
        for taken in taken {
            ledger.indexed += 1;
            intake.settle(taken.ticket, &mut ledger);
        }
        ring.fill(2);
    }
    other.record(&record(0));
    other.flush();
    ring.fill(1);
    let last = intake.take(4, false);
    let last_of: Vec<u32> = last.iter().map(|taken| taken.block.id.worker).collect();
    assert_eq!(last_of, [1, 0, 0, 0]);
    assert_eq!(intake.relieve(), Relief::Refused);
    for taken in last.into_iter().chain(stuck) {
        ledger.indexed += 1;
        intake.settle(taken.ticket, &mut ledger);
    }
    assert!(intake.take(9, false).is_empty(), "each block is taken once");
    assert_eq!(ring.pool.counts().produced, ledger.indexed);
}

#[test]
fn a_block_that_was_being_moved_when_the_exporter_was_killed_is_there_once() {
    let mut ring = Ring::new();
    ring.fill(4);
    let intake = ring.intake();
    let (id, generation) = {
        let id = ring.pool.full_blocks()[0];
        (id, id.generation)
    };
    // The entry is whole, the block is not yet free.
    let block = ring.pool.read(id);
    intake
        .inner()
        .spool
        .as_mut()
        .unwrap()
        .append(&block)
        .unwrap();
    drop(intake);
    let intake = ring.intake();
    assert!(
        ring.pool
            .full_blocks()
            .iter()
            .all(|id| id.generation != generation)
    );
    assert_eq!(Ring::numbers(&intake.take(9, false)), [0, 1, 2, 3]);
}

#[test]
fn without_a_disk_the_memory_has_to_do_and_what_is_dropped_has_a_reason() {
    let mut ring = Ring::new();
    std::fs::write(ring.scratch.0.join("spool"), "not a directory").unwrap();
    let pool = Pool::open(&ring.scratch.0).unwrap();
    let account = Arc::new(Account::default());
    account.opened(&pool);
    let dir = ring.scratch.0.join("spool");
    let intake = Intake::open(pool, Some(dir), 1 << 20, account.clone());
    let problem = || account.report().problem;
    assert!(
        problem().starts_with("the disk spool cannot be used"),
        "{}",
        problem()
    );
    for k in 0..9 * 2_048 {
        ring.writer.record(&record(k));
    }
    assert_eq!(intake.relieve(), Relief::Refused);
    let because = "2048 records were dropped: the memory for them was full, and the disk spool";
    assert!(problem().starts_with(because), "{}", problem());
    assert_eq!(intake.take(99, false).len(), MOST_FROM_POOL);
}

/// A disk that fails and comes back: what is dropped in the meantime is counted by the engine.
#[test]
fn a_disk_that_comes_back_is_used_again() {
    let mut ring = Ring::new();
    let intake = ring.intake();
    let dir = ring.scratch.0.join("spool");
    std::fs::remove_dir(&dir).unwrap();
    ring.fill(4);
    assert_eq!(intake.relieve(), Relief::Refused);
    let problem = intake.account.report().problem;
    assert!(problem.contains("No such file or directory"), "{problem}");
    std::fs::create_dir(&dir).unwrap();
    assert_eq!(relieve_all(&intake), 2);
    assert_eq!(intake.account.report().problem, "");
    assert_eq!(Ring::numbers(&intake.take(9, false)), [0, 1, 2, 3]);
}

/// Nothing can be made on it, as when it is full; what lies there can be read.
#[test]
fn what_lies_on_a_disk_that_is_full_is_delivered_after_a_restart() {
    let mut ring = Ring::new();
    ring.fill(4);
    assert_eq!(relieve_all(&ring.intake()), 2);
    std::fs::create_dir(ring.scratch.0.join("spool/trial")).unwrap();
    let intake = ring.intake();
    let problem = intake.account.report().problem;
    assert!(problem.contains("trial"), "{problem}");
    assert_eq!(Ring::numbers(&intake.take(9, false)), [0, 1, 2, 3]);
}
