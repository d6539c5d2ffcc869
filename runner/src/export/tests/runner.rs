//! A runner whose engine has measured something, and what is asked of its exporter.

use std::{io::Read, thread::JoinHandle};

use loadtest_core::{
    report::{ExportCounts, ExporterReport, GeneratorHealth, RecordCounts},
    series::{ErrorKey, Outcome, Sample, Series, SeriesSet},
    view::{Generator, Phase, RequestStats, RunView, RunnerCounts, Summary},
};
use serde_json::Value;

use super::*;
use crate::pool::{
    Anchor, Interval, PoolOptions, Record, RecordWriter, Stage,
    tests::{Scratch, record},
};

/// A pool with an engine's writers, and what is needed to export it again and again.
pub(super) struct Runner {
    pub(super) scratch: Scratch,
    pub(super) plan: Plan,
    pub(super) pool: Pool,
}

/// What an exporter's process is made of. Dropped, it is gone as SIGKILL would leave it.
pub(super) struct Exporter {
    pub(super) drain: Drain,
    pub(super) account: Arc<Account>,
    pub(super) intake: Arc<Intake>,
    _block_writer: BlockWriter,
}

impl Runner {
    /// An engine that goes on measuring: `records` requests into rings of `blocks` blocks, faster
    /// than a million a minute. Rings this small are full before a busy machine lets the exporter
    /// begin, so it is given ten seconds, in all.
    pub(super) fn measuring(plan: Plan, blocks: u32, records: u64) -> (Self, JoinHandle<()>) {
        let runner = Self::with_rings(plan, blocks);
        let pool = runner.pool.clone();
        let engine = std::thread::spawn(move || {
            let mut writers = [pool.writer(0), pool.writer(1)];
            let mut patience = 1_000;
            for k in 0..records {
                writers[(k % 2) as usize].record(&record(k * 1_000_000));
                if k % 512 == 511 {
                    std::thread::sleep(Duration::from_millis(10));
                }
                while patience > 0 && pool.full_blocks().len() > 2 {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            drop(writers);
            let mut aggregates = pool.aggregates().unwrap();
            (0..3).for_each(|sequence| aggregates.append(&interval(sequence)).unwrap());
            pool.finish();
        });
        (runner, engine)
    }

    fn with_rings(plan: Plan, blocks_per_worker: u32) -> Self {
        let scratch = Scratch::new();
        let anchor = Anchor {
            wall_ns: 1_795_400_000_000_000_000,
            mono_ns: 0,
        };
        let options = PoolOptions {
            workers: 2,
            blocks_per_worker,
            anchor,
        };
        let pool = Pool::create(&scratch.0, options).unwrap();
        Self {
            scratch,
            plan,
            pool,
        }
    }

    /// An engine that measured `records` requests and three intervals, and has ended.
    pub(super) fn with_records(plan: Plan, records: u64) -> Self {
        let runner = Self::with_rings(plan, 16);
        let pool = &runner.pool;
        let mut writers = [pool.writer(0), pool.writer(1)];
        for k in 0..records {
            let failed = k % 10 == 3;
            writers[(k % 2) as usize].record(&Record {
                outcome: if failed { Outcome::Status } else { Outcome::Ok },
                status: if failed { 500 } else { 200 },
                ..record(k * 1_000_000)
            });
            if k % 1_000 == 999 {
                writers.iter_mut().for_each(RecordWriter::flush);
            }
        }
        drop(writers);
        let mut aggregates = pool.aggregates().unwrap();
        for sequence in 0..3 {
            aggregates.append(&interval(sequence)).unwrap();
        }
        pool.finish();
        runner
    }

    pub(super) fn out(&self) -> PathBuf {
        self.scratch.0.join("out")
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.scratch.0.join("spool")
    }

    /// An exporter as it is when it has just been started.
    pub(super) fn start(&self) -> Exporter {
        let pool = Pool::open(&self.scratch.0).unwrap();
        let background = Background::start().unwrap();
        let elastic = self.plan.results.elasticsearch.as_ref().map(|settings| {
            let namespace = &self.plan.run.namespace;
            let letters = DeadLetters::in_dir(Some(self.scratch.0.clone()));
            Arc::new(Elastic::new(settings, namespace, 0, background.clone(), letters).unwrap())
        });
        let out = self.out();
        let (ledger, out) = (pool.ledger(), Some(out.as_path()));
        let sinks = Sinks::new(&self.plan, elastic.clone(), out, &ledger, &background).unwrap();
        let account = Arc::new(Account::new(elastic));
        account.opened(&pool);
        let limit = self.plan.results.spool_limit;
        let intake = Intake::open(pool.clone(), Some(self.spool()), limit, account.clone());
        let intake = Arc::new(intake);
        let block_writer = BlockWriter::start(intake.clone()).unwrap();
        let identity = drain::Identity {
            runner: 0,
            host: "host".to_owned(),
            plan_hash: "ff".to_owned(),
        };
        let line = Line {
            pool,
            intake: intake.clone(),
            sinks,
            background,
            account: account.clone(),
            give_up: GiveUpSwitch::new(),
        };
        Exporter {
            drain: Drain::new(&self.plan, &identity, line).unwrap(),
            account,
            intake,
            _block_writer: block_writer,
        }
    }

    /// A whole export; with its verification when it was not given up.
    pub(super) async fn export(&self) -> (Ended, ExporterReport) {
        let Exporter {
            mut drain,
            account,
            intake,
            _block_writer,
        } = self.start();
        let ended = drain.run(&Signals::none()).await.unwrap();
        drain.abandon_rest(ended);
        if ended == Ended::Drained && self.plan.results.elasticsearch.is_some() {
            drain.write_end(Some(&view()), drain::END_DOCUMENT).await;
            let requests = drain.verify_requests().await;
            account.verified(requests, drain.verify_aggregates().await);
        }
        intake.remove_spool();
        assert!(!self.spool().exists(), "nothing is left behind");
        account.finished();
        let report = account.report();
        assert!(report.requests.balanced(), "{report:?}");
        assert!(report.aggregates.balanced(), "{report:?}");
        assert_eq!((report.requests.pending, report.aggregates.pending), (0, 0));
        (ended, report)
    }
}

pub(in crate::export) fn interval(sequence: u64) -> Interval {
    let mut set = SeriesSet {
        by_name: vec![Series::default()],
        ..SeriesSet::default()
    };
    for k in 0..100 {
        let outcome = if k % 10 == 3 {
            Outcome::Status
        } else {
            Outcome::Ok
        };
        let status = if k % 10 == 3 { 500 } else { 200 };
        let sample = Sample {
            outcome,
            status,
            latency_us: 1_000 + k,
            service_us: 900 + k,
            bytes_sent: 100,
            bytes_received: 200,
        };
        set.total.record(&sample, 3);
        set.by_name[0].record(&sample, 2);
        if outcome != Outcome::Ok {
            let message = "status 500".to_owned();
            set.count_error(
                ErrorKey {
                    outcome,
                    series: 0,
                    message,
                },
                1,
            );
        }
    }
    Interval {
        sequence,
        start_us: 1_795_400_000_000_000 + sequence.cast_signed() * 5_000_000,
        end_us: 1_795_400_005_000_000 + sequence.cast_signed() * 5_000_000,
        partial: sequence == 0,
        stage: Stage::Load,
        set,
        users: 1,
        records: RecordCounts::default(),
        health: GeneratorHealth::default(),
    }
}

pub(in crate::export) fn view() -> RunView {
    let mut set = SeriesSet::default();
    set.merge(&interval(0).set);
    let duration = Duration::from_secs(5);
    let summary = Summary {
        total: RequestStats::new(&set.total, duration),
        ..Summary::new(&plan(), &set, 0, duration, None)
    };
    RunView {
        phase: Phase::Exporting,
        judgement: None,
        started: Some(1_795_400_000_000_000),
        completed: Some(1_795_400_015_000_000),
        start_skew_us: Some(3),
        delivery: None,
        runners: RunnerCounts::default(),
        summary: Some(summary),
        progress: None,
        generator: Generator::default(),
        thresholds: Vec::new(),
        export: Some(ExportCounts::default()),
        aggregates: None,
        export_problem: String::new(),
        notes: Vec::new(),
        baseline: None,
    }
}

pub(super) fn complete(report: &ExporterReport, records: u64) {
    assert_eq!(report.requests.produced, records);
    assert_eq!(report.requests.indexed, records, "{report:?}");
    assert_eq!(report.requests.verified, Some(true));
    assert_eq!(report.aggregates.verified, Some(true));
    assert_eq!(report.problem, "");
}
pub(super) fn lines_of(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    let file = File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
