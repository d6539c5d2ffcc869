use std::{collections::BTreeMap, fs::OpenOptions, os::unix::fs::FileExt};

use proptest::prelude::*;

use super::*;
use crate::pool::{
    Pool, PoolOptions, RecordWriter,
    tests::{Scratch, record},
};

const ANCHOR: Anchor = Anchor {
    wall_ns: 1_795_400_000_000_000_000,
    mono_ns: 7,
};

/// Makes blocks as an engine does.
struct Engine {
    pool: Pool,
    writer: RecordWriter,
    sent_ns: u64,
    _scratch: Scratch,
}

impl Engine {
    fn new() -> Self {
        let scratch = Scratch::new();
        let options = PoolOptions {
            workers: 1,
            blocks_per_worker: 4,
            anchor: ANCHOR,
        };
        let pool = Pool::create(&scratch.0, options).unwrap();
        Self {
            writer: pool.writer(0),
            pool,
            sent_ns: 0,
            _scratch: scratch,
        }
    }

    fn block(&mut self, records: u32) -> Block {
        for _ in 0..records {
            self.sent_ns += 1_000;
            self.writer.record(&record(self.sent_ns));
        }
        self.writer.flush();
        let id = self.pool.full_blocks()[0];
        let block = self.pool.read(id);
        self.pool.release(id);
        block
    }
}

fn open(dir: &Path, limit: u64, mark: Mark) -> (Spool, Found) {
    Spool::open(dir, ANCHOR, limit, mark, |_| false).unwrap()
}

fn take(spool: &mut Spool) -> Option<(u64, Block)> {
    match spool.take() {
        Take::Block(number, block) => Some((number, block)),
        Take::Empty | Take::NotYet => None,
    }
}

fn numbers(block: &Block) -> Vec<u64> {
    block.records().map(|(n, _)| n).collect()
}

fn only_segment(dir: &Path) -> PathBuf {
    let files = segment::files(dir).unwrap();
    assert_eq!(files.len(), 1);
    files[0].clone()
}

#[test]
fn half_an_entry_is_cut_wherever_the_kill_came() {
    let mut engine = Engine::new();
    let blocks: Vec<Block> = [9, 5, 7].map(|records| engine.block(records)).into();
    let (dir, written) = (Scratch::new(), Scratch::new());
    let (mut spool, _) = open(&written.0, 1 << 20, Mark::default());
    blocks[..2]
        .iter()
        .for_each(|block| drop(spool.append(block)));
    let whole = spool.used();
    spool.append(&blocks[2]).unwrap();
    let path = only_segment(&written.0);
    for cut in whole..spool.used() {
        let copy = dir.0.join(path.file_name().unwrap());
        fs::copy(&path, &copy).unwrap();
        let file = OpenOptions::new().write(true).open(&copy).unwrap();
        file.set_len(cut).unwrap();
        let (mut again, found) = open(&dir.0, 1 << 20, Mark::default());
        assert_eq!((found.blocks.len(), found.damaged_bytes), (2, 0), "{cut}");
        assert_eq!(again.used(), whole, "{cut}");
        assert_eq!(again.append(&blocks[2]).unwrap(), 2, "{cut}");
        for block in &blocks {
            let (_, kept) = take(&mut again).unwrap();
            assert!(kept.intact && numbers(&kept) == numbers(block), "{cut}");
        }
        again.remove();
        fs::create_dir_all(&dir.0).unwrap();
    }
}

#[test]
fn a_last_entry_whose_records_are_not_whole_is_cut_while_the_pool_has_them() {
    let mut engine = Engine::new();
    let (first, last) = (engine.block(3), engine.block(4));
    let dir = Scratch::new();
    let (mut spool, _) = open(&dir.0, 1 << 20, Mark::default());
    spool.append(&first).unwrap();
    let before = spool.used();
    spool.append(&last).unwrap();
    flip(&only_segment(&dir.0), spool.used() - 1);
    let generation = last.id.generation;
    let held = |parts: &BlockParts| parts.generation == generation;
    let (spool, found) = Spool::open(&dir.0, ANCHOR, 1 << 20, Mark::default(), held).unwrap();
    assert_eq!((found.blocks.len(), spool.used()), (1, before));
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn flipped_bits_cost_only_their_own_block() {
    let mut engine = Engine::new();
    let blocks: Vec<Block> = [9, 5, 7].map(|records| engine.block(records)).into();
    // In the head of the second entry, then in its records.
    for (within, heads) in [(20, 2), (60, 3)] {
        let dir = Scratch::new();
        let (mut spool, _) = open(&dir.0, 1 << 20, Mark::default());
        spool.append(&blocks[0]).unwrap();
        let second = spool.used();
        spool.append(&blocks[1]).unwrap();
        let third = spool.used();
        spool.append(&blocks[2]).unwrap();
        flip(&only_segment(&dir.0), second + within);
        let (mut again, found) = open(&dir.0, 1 << 20, Mark::default());
        assert_eq!(found.blocks.len(), heads);
        let skipped = if heads == 2 { third - second } else { 0 };
        assert_eq!(found.damaged_bytes, skipped);
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut again)).collect();
        assert_eq!(numbers(&taken[0].1), numbers(&blocks[0]));
        assert_eq!(numbers(&taken[heads - 1].1), numbers(&blocks[2]));
        if heads == 3 {
            assert!(!taken[1].1.intact);
            assert_eq!(taken[1].1.count, 5, "it still says how many are lost");
        }
        let mark = taken.iter().map(|(number, _)| again.settle(*number)).last();
        assert_eq!(mark, Some(Mark { low: 3, done: 0 }));
    }
}

#[test]
fn an_entry_that_cannot_be_read_still_says_how_many_are_lost() {
    let (mut engine, dir) = (Engine::new(), Scratch::new());
    let (mut spool, _) = open(&dir.0, 1 << 20, Mark::default());
    spool.append(&engine.block(9)).unwrap();
    let (mut again, _) = open(&dir.0, 1 << 20, Mark::default());
    let path = only_segment(&dir.0);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(segment::HEAD).unwrap();
    for spool in [&mut spool, &mut again] {
        let (_, block) = take(spool).unwrap();
        assert_eq!((block.intact, block.count), (false, 9));
    }
}

#[test]
fn a_full_spool_says_so_and_has_room_again_when_blocks_are_settled() {
    let mut engine = Engine::new();
    let dir = Scratch::new();
    let limit = 600 << 10;
    let (mut spool, _) = open(&dir.0, limit, Mark::default());
    let mut kept = 0;
    let refused = loop {
        match spool.append(&engine.block(2_000)) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(kept > 10, "{kept}");
    assert!(refused.to_string().contains("spoolLimit"), "{refused}");
    let on_disk = || -> u64 {
        let files = segment::files(&dir.0).unwrap();
        files
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum()
    };
    assert!(on_disk() <= limit);
    assert_eq!(on_disk(), spool.used());
    while let Some((number, block)) = take(&mut spool) {
        assert!(block.intact);
        spool.settle(number);
    }
    spool.forget_settled();
    assert_eq!((on_disk(), spool.used()), (0, 0));
    assert_eq!(spool.append(&engine.block(1)).unwrap(), kept);
    spool.remove();
    assert!(!dir.0.exists());
}

#[test]
fn another_runs_segments_are_deleted_and_a_bad_directory_is_named() {
    let dir = Scratch::new();
    let other = Anchor {
        mono_ns: 8,
        ..ANCHOR
    };
    let (mut spool, _) = Spool::open(&dir.0, other, 1 << 20, Mark::default(), |_| false).unwrap();
    spool.append(&Engine::new().block(3)).unwrap();
    fs::write(dir.0.join("0000000000000009.segment"), "too short").unwrap();
    let (spool, found) = open(&dir.0, 1 << 20, Mark::default());
    assert!(found.blocks.is_empty());
    assert_eq!(
        (spool.used(), segment::files(&dir.0).unwrap().len()),
        (0, 0)
    );
    let bad = Path::new("/proc/none");
    let error = Spool::open(bad, ANCHOR, 1, Mark::default(), |_| false).unwrap_err();
    assert!(error.to_string().contains("/proc/none"), "{error}");
}

#[derive(Debug, Clone)]
enum Action {
    Append(u32),
    Take,
    Settle(usize),
    /// Killed; with so many bytes of a further entry already written.
    Kill(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..600_u32).prop_map(Action::Append),
        3 => Just(Action::Take),
        3 => (0..8_usize).prop_map(Action::Settle),
        1 => (0..300_usize).prop_map(Action::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens in whatever order: what is kept and not settled can be taken, whole, and
    /// nothing else can.
    #[test]
    fn a_spool_is_the_list_of_what_is_not_settled(
        actions in prop::collection::vec(action(), 1..80)
    ) {
        let (dir, mut engine) = (Scratch::new(), Engine::new());
        let limit = 300 << 10;
        let (mut spool, _) = open(&dir.0, limit, Mark::default());
        let mut mark = Mark::default();
        let mut kept: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut taken = Vec::new();
        for action in actions {
            match action {
                Action::Append(records) => {
                    let block = engine.block(records);
                    if let Ok(number) = spool.append(&block) {
                        prop_assert_eq!(kept.insert(number, numbers(&block)), None);
                    }
                    prop_assert!(spool.used() <= limit);
                }
                Action::Take => if let Some((number, block)) = take(&mut spool) {
                    prop_assert_eq!(Some(&numbers(&block)), kept.get(&number));
                    taken.push(number);
                },
                Action::Settle(_) if taken.is_empty() => {}
                Action::Settle(k) => {
                    let number = taken.swap_remove(k % taken.len());
                    mark = spool.settle(number);
                    kept.remove(&number);
                    spool.forget_settled();
                }
                Action::Kill(bytes) => {
                    let half = entry_bytes(u64::MAX, &engine.block(20));
                    if let Some(last) = segment::files(&dir.0).unwrap().last() {
                        let len = fs::metadata(last).unwrap().len();
                        let half = &half[..bytes.min(half.len() - 1)];
                        let file = OpenOptions::new().write(true).open(last).unwrap();
                        file.write_all_at(half, len).unwrap();
                    }
                    let (again, found) = open(&dir.0, limit, mark);
                    prop_assert_eq!(found.blocks.len(), kept.len());
                    prop_assert_eq!(found.damaged_bytes, 0);
                    spool = again;
                    taken.clear();
                }
            }
        }
        let (mut spool, _) = open(&dir.0, limit, mark);
        while let Some((number, block)) = take(&mut spool) {
            prop_assert_eq!(Some(numbers(&block)), kept.remove(&number));
            spool.settle(number);
        }
        prop_assert!(kept.is_empty());
    }
}
