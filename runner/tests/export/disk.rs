//! Disks that are really full, or really read-only, under the exporter's own binary.
//!
//! A small file system is mounted in a mount namespace of the exporter: nobody else sees it, and
//! the kernel takes it away with the process, however the test ends. That needs root, or a kernel
//! that gives users namespaces of their own. What needs no rights at all is the device that has
//! never room, so that one is always tried.

use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use loadtest_core::report::ExporterReport;
use loadtest_runner::pool::{Pool, RecordWriter};

use crate::{
    exporter::{Exporter, end_measuring},
    measure,
    measured::plan,
    namespace,
    null_server::NullServer,
    vacant,
};

const RUNNER: &str = env!("CARGO_BIN_EXE_loadtest-runner");

/// Mounts at `$1` with the options `$2`, then becomes the rest.
const MOUNT: &str = r#"mount -t tmpfs -o "$2" spool "$1" && shift 2 && exec "$@""#;

/// A command that becomes the exporter, with a file system of these options at `dir`.
fn with_mounted(dir: &Path, options: &str, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["sh", "-c", MOUNT, "sh"])
        .arg(dir)
        .args([options, program]);
    command
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("Uid:\t0\t0\t"))
}

fn can_mount(dir: &Path) -> bool {
    let tried = with_mounted(dir, "size=64k", "true")
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Keeps the place of the spool's first file for the device that has never room: the exporter
/// removes what it cannot write to.
struct NeverRoom {
    over: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl NeverRoom {
    fn at(spool: &Path) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (asked, file) = (over.clone(), spool.join("0000000000000000.segment"));
        let keeper = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                let _ = symlink("/dev/full", &file);
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = std::fs::remove_file(&file);
        });
        Self {
            over,
            keeper: Some(keeper),
        }
    }
}

impl Drop for NeverRoom {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}

/// An engine that goes on, whatever happens to its exporter.
struct Engine {
    pool: Pool,
    writers: [RecordWriter; 2],
    records: u64,
}

impl Engine {
    /// Room for 24,000 of these records.
    fn of(exporter: &Exporter) -> Self {
        let pool = exporter.pool(6);
        Self {
            writers: [pool.writer(0), pool.writer(1)],
            pool,
            records: 0,
        }
    }

    /// 4,096 records and a moment.
    fn go_on(&mut self) {
        let end = self.records + 4_096;
        measure(&self.pool, &mut self.writers, self.records..end);
        self.records = end;
        std::thread::sleep(Duration::from_millis(20));
    }

    fn until(&mut self, exporter: &Exporter, holds: impl Fn(&ExporterReport) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !exporter.reports(&holds) {
            assert!(Instant::now() < deadline, "never: {}", exporter.log());
            self.go_on();
        }
    }

    fn end(self) -> u64 {
        drop(self.writers);
        end_measuring(&self.pool);
        self.records
    }
}

/// What is under the spool.
enum Disk {
    /// A file system with these options.
    Mounted(&'static str),
    /// The device that has never room.
    NeverRoom,
    /// A place where nobody makes a directory.
    Nowhere,
}

impl Disk {
    fn command(&self, dir: &Path, run_id: &str) -> (Command, Option<NeverRoom>) {
        let mut command = match self {
            Self::Mounted(options) => with_mounted(dir, options, RUNNER),
            Self::NeverRoom | Self::Nowhere => Command::new(RUNNER),
        };
        match self {
            Self::Nowhere => drop(command.env("LOADTEST_SPOOL", "/proc/spool")),
            Self::NeverRoom | Self::Mounted(_) => drop(command.env("LOADTEST_SPOOL", dir)),
        }
        let never_room = matches!(self, Self::NeverRoom).then(|| {
            // The exporter makes a directory of its own in the one it is given.
            let own = dir.join(format!("{run_id}-0"));
            std::fs::create_dir(&own).unwrap();
            NeverRoom::at(&own)
        });
        (command, never_room)
    }
}

/// An outage with a spool that cannot hold it; then the server is there. Answers the final report.
fn outage(disk: &Disk, sentence: &str) -> ExporterReport {
    let (url, address) = vacant();
    let port = address.port();
    let mut exporter = Exporter::new(plan(&url, &namespace(&format!("disk-{port}"))));
    let dir = exporter.dir().join("spool");
    std::fs::create_dir(&dir).unwrap();
    let mut engine = Engine::of(&exporter);
    // Gone before the directory is.
    let (command, _never_room) = disk.command(&dir, exporter.run_id());
    exporter.start_by(command);
    // With its first report its spool is open: what it removed there is back before it is wanted.
    let deadline = Instant::now() + Duration::from_mins(1);
    while !exporter.reports(|_| true) {
        assert!(Instant::now() < deadline, "no report: {}", exporter.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.until(&exporter, |report| {
        report.problem.contains(sentence) && report.requests.dropped > 0
    });
    let records = engine.end();
    let server = NullServer::on(std::net::TcpListener::bind(address).unwrap());
    let report = exporter.finish();

    let (requests, aggregates) = (report.requests, report.aggregates);
    assert_eq!(requests.produced, records, "the engine went on");
    assert_eq!((requests.lost, requests.rejected), (0, 0), "{report:?}");
    assert_eq!(requests.indexed + requests.dropped, records, "{report:?}");
    assert_eq!(server.documents("requests") as u64, requests.indexed);
    assert_eq!(requests.verified, Some(true), "{report:?}");
    assert_eq!(aggregates.indexed, aggregates.produced, "{report:?}");
    assert_eq!(server.documents("runs"), 2, "the verdict is among them");
    let because = format!(
        "{} records were dropped: the memory for them was full, and {sentence}",
        requests.dropped
    );
    assert!(report.problem.starts_with(&because), "{}", report.problem);
    report
}

const FULL: &str = "the disk of the spool is full: ";

#[test]
fn a_disk_that_is_full_costs_what_it_cannot_hold_by_count_and_name() {
    let mut disks = vec![Disk::NeverRoom];
    if can_mount(&std::env::temp_dir()) {
        disks.push(Disk::Mounted("size=256k"));
    }
    for disk in &disks {
        let report = outage(disk, FULL);
        let system = "No space left on device (os error 28); make room on it, put the spool on a \
                      larger one (--spool)";
        assert!(report.problem.contains(system), "{}", report.problem);
    }
}

#[test]
fn a_spool_that_cannot_be_written_costs_no_more_than_its_room() {
    let (disk, system) = if can_mount(&std::env::temp_dir()) {
        let system = "Read-only file system (os error 30)";
        (Disk::Mounted("ro,size=256k"), system)
    } else {
        (Disk::Nowhere, "No such file or directory (os error 2)")
    };
    let report = outage(&disk, "the disk spool cannot be used: ");
    assert!(report.problem.contains(system), "{}", report.problem);
}
