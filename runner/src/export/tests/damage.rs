//! Blocks of the spool that the disk did not keep.

use std::os::unix::fs::FileExt;

use super::{
    runner::{Runner, lines_of},
    *,
};
use crate::export::intake::Relief;

/// Bytes of the heads of a segment and of an entry, and where the entry has its length.
const HEAD: u64 = 40;
const ENTRY_HEAD: u64 = 56;
const LENGTH: u64 = 48;

/// Flips a bit in the records of these entries, counted from 0, of the only segment.
fn flip_bits_of(spool: &Path, entries: &[usize]) {
    let files: Vec<_> = std::fs::read_dir(spool).unwrap().collect();
    assert_eq!(files.len(), 1);
    let path = files[0].as_ref().unwrap().path();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut at = HEAD;
    for number in 0..=*entries.last().unwrap() {
        let (mut length, mut byte) = ([0; 4], [0]);
        file.read_exact_at(&mut length, at + LENGTH).unwrap();
        if entries.contains(&number) {
            file.read_exact_at(&mut byte, at + ENTRY_HEAD).unwrap();
            byte[0] ^= 1;
            file.write_all_at(&byte, at + ENTRY_HEAD).unwrap();
        }
        at += ENTRY_HEAD + u64::from(u32::from_le_bytes(length));
    }
}

/// With one block at a time nothing is under way when a damaged one has been counted.
#[tokio::test]
async fn damaged_blocks_do_not_end_a_drain() {
    let runner = Runner::with_records(files_plan(), 12_000);
    let exporter = runner.start();
    while exporter.intake.relieve() == Relief::Moved {}
    drop(exporter);
    // Of ten, each of 500 records; two of them one behind the other, and eight more in memory.
    flip_bits_of(&runner.spool(), &[4, 6, 7, 9]);
    let (ended, report) = runner.export().await;
    assert_eq!(ended, Ended::Drained);
    let requests = report.requests;
    assert_eq!(
        (requests.produced, requests.indexed, requests.lost),
        (12_000, 10_000, 2_000)
    );
    assert_eq!(
        report.problem,
        "500 records are lost: their block is damaged"
    );
    let lines = lines_of(&runner.out().join("requests.ndjson.gz"));
    assert_eq!(lines.len(), 10_000);
}
