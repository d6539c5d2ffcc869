//! The exporter's own binary against real search servers.
//!
//! `make test-search` starts them and runs this with `LOADTEST_TEST_SEARCH_URLS`, one url for each
//! server, separated by commas.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use loadtest_core::{
    identity,
    plan::{
        Elasticsearch, Flavor, Load, PauseRange, Plan, RawMode, Request, Results, RunIdentity,
        Scenario, SeriesKey, Step, Target, Task,
    },
    report::{
        Answer, Desired, ExporterReport, ExporterState, GeneratorHealth, RecordCounts, decode,
        encode,
    },
    series::{ErrorKey, Outcome, Sample, Series, SeriesSet},
    template::Template,
    threshold::ThresholdResult,
    verdict::{Judgement, Reason, Verdict},
    view::{Phase, RunView, Summary},
};
use loadtest_runner::pool::{Anchor, Interval, Pool, PoolOptions, Record};
use serde_json::{Value, json};

const RECORDS: u64 = 10_000;
const WALL_NS: i64 = 1_795_400_000_000_000_000;
const DEADLINE: Duration = Duration::from_secs(120);

fn urls() -> Vec<String> {
    let urls = std::env::var("LOADTEST_TEST_SEARCH_URLS").unwrap_or_else(|_| {
        panic!(
            "LOADTEST_TEST_SEARCH_URLS is not set: `make test-search` starts real search servers \
             and runs this test against them"
        )
    });
    urls.split(',').map(str::to_owned).collect()
}

/// Every test has a namespace of its own, so that servers may be used again.
fn namespace(test: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{test}-{:x}", now.as_nanos())
}

/// Request `k` took `k` times 100 µs in all and is one of two names; every tenth failed.
fn record(k: u64) -> Record<'static> {
    let failed = k % 10 == 3;
    Record {
        sent_ns: k * 1_000_000,
        late_us: 50,
        dns_us: 0,
        connect_us: 0,
        send_us: 20,
        wait_us: (k * 100) as u32,
        receive_us: 30,
        step: (k % 2) as u32,
        user: (k % 64) as u32,
        iteration: (k / 64) as u32,
        status: if failed { 503 } else { 200 },
        outcome: if failed { Outcome::Status } else { Outcome::Ok },
        failed_checks: u64::from(k % 100 == 7),
        bytes_sent: 120,
        bytes_received: 400,
        reused: k >= 64,
        error: (k % 1_000 == 13).then_some("it said: \"no\"\n\u{1}"),
    }
}

fn request(step: u32, path: &str) -> Step {
    Step::Request(Box::new(Request {
        step,
        series: step,
        method: "GET".to_owned(),
        path: Template::literal(path),
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(1),
        success: Vec::new(),
        labels: [("page".to_owned(), "a \"quoted\" page".to_owned())].into(),
        checks: vec![loadtest_core::plan::Check {
            index: 0,
            condition: loadtest_core::plan::Condition::BodyContains("x".to_owned()),
        }],
    }))
}

fn plan(url: &str, namespace: &str) -> Plan {
    let pause = PauseRange { min: Duration::ZERO, max: Duration::ZERO };
    let task = Task {
        name: "browse".to_owned(),
        weight: 1,
        think_time: Some(pause),
        steps: vec![request(0, "/get?token=geheim"), request(1, "/buy")],
    };
    let scenario = Scenario {
        name: "shop".to_owned(),
        start_after: Duration::ZERO,
        load: Load::ConstantUsers { users: 64, duration: Duration::from_secs(10) },
        graceful_stop: Duration::ZERO,
        tasks: vec![task],
    };
    let series = |name: &str| SeriesKey {
        scenario: "shop".to_owned(),
        name: name.to_owned(),
        method: "GET".to_owned(),
    };
    Plan {
        run: RunIdentity {
            id: identity::run_id(namespace),
            namespace: namespace.to_owned(),
            test: "shop".to_owned(),
            name: "shop-1".to_owned(),
            number: 1,
            seed: 1,
        },
        target: Target {
            url: "http://shop".to_owned(),
            host: "shop".to_owned(),
            port: 80,
            base_path: String::new(),
        },
        scenarios: vec![scenario],
        series: vec![series("GET /get"), series("GET /buy")],
        checks: vec!["in stock".to_owned()],
        thresholds: Vec::new(),
        runners: 1,
        start_timeout: Duration::from_secs(10),
        max_duration: Duration::from_secs(60),
        results: Results {
            interval: Duration::from_secs(5),
            elasticsearch: Some(Elasticsearch {
                urls: vec![url.to_owned()],
                flavor: Flavor::Auto,
                auth: None,
                ca_file: None,
                raw: RawMode::All,
            }),
            files: None,
            drain_timeout: Duration::from_secs(60),
        },
    }
}

/// What the engine measured in one of ten intervals of one second.
fn interval(sequence: u64) -> Interval {
    let mut set = SeriesSet { by_name: vec![Series::default(); 2], ..SeriesSet::default() };
    set.checks = vec![(990, 10)];
    for k in sequence * RECORDS / 10..(sequence + 1) * RECORDS / 10 {
        let record = record(k);
        let sample = Sample {
            outcome: record.outcome,
            status: record.status,
            latency_us: record.latency_us(),
            service_us: record.service_us(),
            bytes_sent: record.bytes_sent.into(),
            bytes_received: record.bytes_received.into(),
        };
        set.total.record(&sample, 3);
        set.by_name[record.step as usize].record(&sample, 2);
        if record.outcome != Outcome::Ok {
            let message = "status 503".to_owned();
            let outcome = record.outcome;
            set.count_error(ErrorKey { outcome, series: record.step, message }, 1);
        }
    }
    let start_us = WALL_NS / 1_000 + sequence.cast_signed() * 1_000_000;
    Interval {
        sequence,
        start_us,
        end_us: start_us + 1_000_000,
        partial: sequence == 0,
        set,
        users: 64,
        records: RecordCounts { produced: (sequence + 1) * 1_000, ..RecordCounts::default() },
        health: GeneratorHealth { cpu: 0.5, ..GeneratorHealth::default() },
    }
}

fn view(plan: &Plan) -> RunView {
    let mut set = SeriesSet::default();
    (0..10).for_each(|sequence| set.merge(&interval(sequence).set));
    let started = WALL_NS / 1_000;
    RunView {
        phase: Phase::Exporting,
        judgement: Some(Judgement {
            verdict: Verdict::Failed,
            reason: Reason::ThresholdBreached,
            message: "latency.p99 < 1ms was breached".to_owned(),
        }),
        started: Some(started),
        completed: Some(started + 10_000_000),
        start_skew_us: None,
        delivery: Some(loadtest_core::view::Delivery::Delivered),
        runners: loadtest_core::view::RunnerCounts { expected: 1, ready: 1, lost: 0 },
        summary: Some(Summary::new(plan, &set, Duration::from_secs(10), Some(100.0))),
        progress: None,
        generator: loadtest_core::view::Generator::default(),
        thresholds: vec![ThresholdResult {
            name: "fast".to_owned(),
            expr: "latency.p99 < 1ms".to_owned(),
            observed: Some("990ms".to_owned()),
            passed: false,
        }],
        export: Some(loadtest_core::report::ExportCounts::default()),
        aggregates: None,
        export_problem: String::new(),
    }
}

/// A coordinator of one exporter: says what the run came to, and lets it exit when it has ended.
struct Coordinator {
    url: String,
    latest: Arc<Mutex<Option<ExporterReport>>>,
}

impl Coordinator {
    fn start(view: RunView) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let latest = Arc::new(Mutex::new(None));
        let shared = latest.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(report) = stream.ok().and_then(|stream| answer(stream, &view)) else {
                    continue;
                };
                assert!(report.requests.balanced(), "{report:?}");
                *shared.lock().unwrap() = Some(report);
            }
        });
        Self { url, latest }
    }
}

fn answer(mut stream: TcpStream, view: &RunView) -> Option<ExporterReport> {
    let mut bytes = Vec::new();
    let mut part = [0; 4_096];
    let body = loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(head.contains("authorization: bearer token-of-the-test"), "{head}");
        let (_, length) = head.split_once("content-length: ")?;
        let length: usize = length.lines().next()?.parse().ok()?;
        if bytes.len() >= end + 4 + length {
            break bytes.split_off(end + 4);
        }
    };
    let report: ExporterReport = decode(&body).unwrap();
    let desired = match report.state {
        ExporterState::Finished => Desired::Exit,
        ExporterState::Running => Desired::Finish(Box::new(view.clone())),
    };
    let answer = Answer { epoch: 1, acknowledged: None, clock: 0, desired };
    let body = encode(&answer).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    Some(report)
}

/// A directory and a child process that are gone at the end.
struct Exporter {
    dir: PathBuf,
    plan: Plan,
    coordinator: Coordinator,
    child: Option<Child>,
}

impl Exporter {
    fn new(plan: Plan) -> Self {
        let dir = std::env::temp_dir().join(format!(
            "loadtest-search-{}-{}",
            std::process::id(),
            plan.run.id
        ));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("plan.json"), plan.to_bytes().unwrap()).unwrap();
        std::fs::write(dir.join("token"), "token-of-the-test\n").unwrap();
        let coordinator = Coordinator::start(view(&plan));
        Self { dir, plan, coordinator, child: None }
    }

    /// What an engine leaves: always the same records and intervals.
    fn measure(&self) {
        let anchor = Anchor { wall_ns: WALL_NS, mono_ns: 0 };
        let options = PoolOptions { workers: 2, blocks_per_worker: 16, anchor };
        let pool = Pool::create(&self.dir, options).unwrap();
        let mut writers = [pool.writer(0), pool.writer(1)];
        for k in 0..RECORDS {
            writers[(k % 2) as usize].record(&record(k));
        }
        drop(writers);
        let mut aggregates = pool.aggregates().unwrap();
        (0..10).for_each(|sequence| aggregates.append(&interval(sequence)).unwrap());
        pool.finish();
    }

    fn start(&mut self) {
        let hash = identity::plan_hash(&self.plan.to_bytes().unwrap());
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_loadtest-runner"))
            .arg("export")
            .args(["--plan-hash", &hash, "--index", "0", "--control", &self.coordinator.url])
            .arg("--plan")
            .arg(self.dir.join("plan.json"))
            .arg("--token-file")
            .arg(self.dir.join("token"))
            .arg("--pool")
            .arg(&self.dir)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Waits for the end; answers the final report.
    fn finish(&mut self) -> ExporterReport {
        let deadline = Instant::now() + DEADLINE;
        let mut child = self.child.take().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the exporter does not end:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}:\n{}", self.log());
        let report = self.coordinator.latest.lock().unwrap().clone().unwrap();
        assert_eq!(report.state, ExporterState::Finished, "{}", self.log());
        report
    }

    fn run(&mut self) -> ExporterReport {
        self.measure();
        self.start();
        self.finish()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a person would ask the server.
struct Search {
    url: String,
    namespace: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Search {
    fn new(url: &str, namespace: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            url: url.to_owned(),
            namespace: namespace.to_owned(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    fn ask(&self, stream: &str, what: &str, body: &Value) -> Value {
        let url = format!("{}/loadtest-{stream}-{}/{what}", self.url, self.namespace);
        self.runtime.block_on(async {
            let request = self
                .client
                .post(&url)
                .header("content-type", "application/json")
                .body(body.to_string());
            let response = request.send().await.unwrap();
            let (status, text) = (response.status(), response.text().await.unwrap());
            assert!(status.is_success(), "{url}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        })
    }

    fn count(&self, stream: &str) -> u64 {
        self.ask(stream, "_count", &json!({}))["count"].as_u64().unwrap()
    }

    fn aggregate(&self, stream: &str, query: &Value, aggregation: &Value) -> Value {
        let body = json!({"size": 0, "query": query, "aggs": {"a": aggregation}});
        self.ask(stream, "_search", &body)["aggregations"]["a"].clone()
    }
}

fn complete(report: &ExporterReport, exporter: &Exporter) {
    let log = exporter.log();
    assert_eq!(report.problem, "", "{log}");
    assert_eq!(report.requests.produced, RECORDS);
    assert_eq!(report.requests.indexed, RECORDS, "{report:?}\n{log}");
    assert_eq!(report.requests.verified, Some(true), "{log}");
    // Per interval the totals and two names, once the histograms of two names, and the run.
    assert_eq!(report.aggregates.produced, 10 * 3 + 2 + 2, "{log}");
    assert_eq!(report.aggregates.indexed, report.aggregates.produced, "{report:?}\n{log}");
    assert_eq!(report.aggregates.verified, Some(true), "{log}");
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn every_request_is_in_the_server_once_however_often_it_is_sent() {
    for url in urls() {
        let namespace = namespace("once");
        let mut exporter = Exporter::new(plan(&url, &namespace));
        let report = exporter.run();
        complete(&report, &exporter);
        let search = Search::new(&url, &namespace);
        let counts = || ["requests", "metrics", "runs"].map(|stream| search.count(stream));
        assert_eq!(counts(), [RECORDS, 32, 2], "{url}");

        // The same run again, as after an exporter whose memory was lost: nothing is added.
        let report = exporter.run();
        complete(&report, &exporter);
        assert_eq!(counts(), [RECORDS, 32, 2], "{url}");
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn an_exporter_killed_again_and_again_delivers_exactly() {
    for url in urls() {
        let namespace = namespace("kill");
        let mut exporter = Exporter::new(plan(&url, &namespace));
        exporter.measure();
        for moment in [120, 200, 310, 430, 560] {
            exporter.start();
            std::thread::sleep(Duration::from_millis(moment));
            exporter.kill();
        }
        exporter.start();
        let report = exporter.finish();
        complete(&report, &exporter);
        assert_eq!(Search::new(&url, &namespace).count("requests"), RECORDS, "{url}");
    }
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn what_people_ask_gets_the_true_answer() {
    for url in urls() {
        let namespace = namespace("ask");
        let mut exporter = Exporter::new(plan(&url, &namespace));
        complete(&exporter.run(), &exporter);
        let search = Search::new(&url, &namespace);
        let all = json!({"match_all": {}});
        percentiles_are_those_of_the_records(&search, &all);

        let names = json!({"terms": {"field": "loadtest.request.name"}});
        let names = search.aggregate("requests", &all, &names);
        let found: BTreeSet<_> = names["buckets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bucket| (bucket["key"].as_str().unwrap(), bucket["doc_count"].as_u64().unwrap()))
            .collect();
        assert_eq!(found, BTreeSet::from([("GET /buy", 5_000), ("GET /get", 5_000)]), "{url}");

        let failures = json!({"term": {"event.outcome": "failure"}});
        let body = json!({"query": failures});
        let count = search.ask("requests", "_count", &body)["count"].clone();
        assert_eq!(count, RECORDS / 10, "{url}");
        let labels = json!({"query": {"term": {"labels.page": "a \"quoted\" page"}}});
        assert_eq!(search.ask("requests", "_count", &labels)["count"], RECORDS, "{url}");

        // Interval documents cover the run: totals add up to all requests.
        let totals = json!({"bool": {"filter": [
            {"term": {"loadtest.scope": "total"}},
            {"term": {"loadtest.doc": "interval"}},
        ]}});
        let sum = json!({"sum": {"field": "loadtest.requests.count"}});
        let sum = search.aggregate("metrics", &totals, &sum);
        assert_eq!(sum["value"].as_f64(), Some(RECORDS as f64), "{url}");

        let end = json!({"query": {"term": {"event.action": "end"}}});
        let hits = search.ask("runs", "_search", &end);
        let document = &hits["hits"]["hits"][0]["_source"]["loadtest"];
        assert_eq!(document["verdict"], "Failed", "{url}");
        assert_eq!(document["requests"]["count"], RECORDS, "{url}");
        assert_eq!(document["thresholds"][0]["expr"], "latency.p99 < 1ms", "{url}");
        assert_eq!(document["by_name"][0]["name"], "GET /get", "{url}");
        nothing_secret_is_stored(&search);
    }
}

/// `hdr` over raw documents answers alike on every server; the truth is `k` times 100 µs.
fn percentiles_are_those_of_the_records(search: &Search, all: &Value) {
    let percentiles = json!({"percentiles": {
        "field": "loadtest.request.time.from_schedule_us",
        "percents": [50.0, 95.0, 99.0],
        "hdr": {"number_of_significant_value_digits": 3},
    }});
    let values = search.aggregate("requests", all, &percentiles)["values"].clone();
    for (percent, share) in [("50.0", 0.5), ("95.0", 0.95), ("99.0", 0.99)] {
        let truth = record((RECORDS as f64 * share) as u64 - 1).latency_us() as f64;
        let observed = values[percent].as_f64().unwrap();
        assert!(
            (observed / truth - 1.0).abs() < 0.002,
            "p{percent} is {observed} instead of {truth} at {}",
            search.url
        );
    }
}

fn nothing_secret_is_stored(search: &Search) {
    let hits = search.ask("requests", "_search", &json!({"size": 20}));
    let text = hits.to_string();
    assert!(text.contains("token=REDACTED") && !text.contains("geheim"), "{text}");
}

#[test]
#[ignore = "needs real search servers: make test-search"]
fn the_committed_templates_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    for url in urls() {
        let search = Search::new(&url, "none");
        let put = |name: &str, body: String| {
            let url = format!("{url}/_index_template/{name}");
            search.runtime.block_on(async {
                let request = search.client.put(&url).header("content-type", "application/json");
                let response = request.body(body).send().await.unwrap();
                (response.status().as_u16(), response.text().await.unwrap())
            })
        };
        // Each server takes its own set, whichever it is; a priority of their own keeps these out
        // of the way of the other tests' streams.
        let taken = ["opensearch", "elasticsearch-without-histogram"].map(|flavor| {
            ["requests", "metrics", "runs"].iter().all(|stream| {
                let path = folder.join(format!("{stream}.{flavor}.json"));
                let mut template: Value =
                    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
                template["index_patterns"] = json!([format!("committed-{flavor}-{stream}-*")]);
                put(&format!("committed-{flavor}-{stream}"), template.to_string()).0 == 200
            })
        });
        assert!(taken.contains(&true), "{url} takes neither set of templates");
    }
}
