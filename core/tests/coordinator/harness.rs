//! A plan, and engines as the coordinator sees them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use loadtest_core::{
    coordinator::{Coordinator, LONE_START_LEAD, START_LEAD},
    histogram::TOTAL_DIGITS,
    plan::{
        Arrivals, Connections, Cookies, Files, Flows, Inputs, Load, OnLost, PauseRange, Plan,
        RawMode, Request, Results, RunIdentity, Scenario, SeriesKey, Step, Target, Task,
    },
    report::{Answer, Delta, Desired, EngineReport, EngineState, GeneratorHealth, RecordCounts},
    series::{Outcome, Sample, Series, SeriesSet},
    template::Template,
    threshold::Threshold,
    verdict::Judgement,
};

pub const SECOND: i64 = 1_000_000;
pub const HASH: &str = "plan";

pub fn plan(runners: u32, thresholds: &[&str], files: bool) -> Plan {
    let request = Request {
        method: "GET".into(),
        path: Template::literal("/get"),
        timeout: Duration::from_secs(10),
        success: vec!["200-399".parse().unwrap()],
        ..Request::default()
    };
    let pause = PauseRange {
        min: Duration::ZERO,
        max: Duration::from_millis(1),
    };
    Plan {
        run: RunIdentity {
            id: "0".repeat(32),
            namespace: "local".into(),
            test: "t".into(),
            name: "t-1".into(),
            number: 1,
            seed: 1,
        },
        target: Target {
            url: "http://t".into(),
            ..Target::default()
        },
        scenarios: vec![Scenario {
            name: "main".into(),
            start_after: Duration::ZERO,
            load: Load::ConstantRate {
                rate: "100/s".parse().unwrap(),
                duration: Duration::from_secs(10),
                max_users: 100,
                arrivals: Arrivals::Even,
            },
            graceful_stop: Duration::from_secs(5),
            connections: Connections::KeepAlive,
            cookies: Cookies::Iteration,
            tasks: vec![Task {
                name: "task-1".into(),
                weight: 1,
                steps: vec![Step::Request(Box::new(request)), Step::Pause(pause)],
                ..Task::default()
            }],
            flows: Flows::default(),
        }],
        series: vec![SeriesKey {
            scenario: "main".into(),
            name: "GET /get".into(),
            method: "GET".into(),
        }],
        checks: Vec::new(),
        groups: Vec::new(),
        inputs: Inputs::default(),
        once: None,
        thresholds: thresholds
            .iter()
            .map(|t| Threshold::parse(None, t).unwrap())
            .collect(),
        runners,
        on_lost: OnLost::Fail,
        start_timeout: Duration::from_mins(1),
        warm_up: Duration::ZERO,
        max_duration: Duration::from_mins(10),
        results: Results {
            interval: Duration::from_secs(5),
            elasticsearch: None,
            files: files.then_some(Files { raw: RawMode::All }),
            drain_timeout: Duration::from_secs(20),
            spool_limit: 0,
            samples: true,
        },
    }
}

/// An engine as the coordinator sees it.
pub struct Engine {
    pub index: u32,
    pub epoch: u64,
    pub sequence: u64,
    pub full: bool,
    pub produced: u64,
    /// What its setup left, once it has ended.
    pub setup: Option<BTreeMap<String, String>>,
}

impl Engine {
    pub fn new(index: u32) -> Self {
        Self {
            index,
            epoch: 0,
            sequence: 0,
            full: true,
            produced: 0,
            setup: None,
        }
    }

    pub fn report(&self, state: EngineState, delta: Option<Delta>) -> EngineReport {
        EngineReport {
            incarnation: 0,
            plan_hash: HASH.into(),
            state,
            epoch: self.epoch,
            delta,
            began: None,
            load_ended: None,
            users: 3,
            records: RecordCounts {
                produced: self.produced,
                ..RecordCounts::default()
            },
            health: GeneratorHealth::default(),
            interrupted: false,
            failure: None,
            setup: self.setup.clone(),
            teardown_failure: None,
            exhausted: Vec::new(),
        }
    }

    pub fn say(&mut self, to: &mut Coordinator, state: EngineState, now: i64) -> Answer {
        let report = self.report(state, None);
        self.tell(to, report, now)
    }

    pub fn tell(&mut self, to: &mut Coordinator, report: EngineReport, now: i64) -> Answer {
        let answer = report_to(to, self.index, report, now);
        self.epoch = answer.epoch;
        answer
    }

    pub fn send(
        &mut self,
        to: &mut Coordinator,
        set: SeriesSet,
        state: EngineState,
        now: i64,
    ) -> Answer {
        let delta = self.delta(set);
        report_to(to, self.index, self.report(state, Some(delta)), now)
    }

    /// What was measured since the last one.
    pub fn delta(&mut self, set: SeriesSet) -> Delta {
        self.sequence += 1;
        self.produced += set.total.requests;
        let full = std::mem::take(&mut self.full);
        Delta {
            sequence: self.sequence,
            full,
            set,
            warm_up: Series::default(),
        }
    }
}

/// Reports to a driver that makes an early end durable at once: what it came to is in the answer to
/// the same report, repeated.
fn report_to(to: &mut Coordinator, index: u32, report: EngineReport, now: i64) -> Answer {
    let answer = to.engine_report(index, report.clone(), now).unwrap();
    if to.unconfirmed_early_end().is_none() {
        return answer;
    }
    to.confirm_early_end();
    to.engine_report(index, report, now).unwrap()
}

pub fn requests(count: u64, latency_us: u64, outcome: Outcome) -> SeriesSet {
    let mut set = SeriesSet {
        scheduled: count,
        started: count,
        ..SeriesSet::default()
    };
    for _ in 0..count {
        let status = if outcome == Outcome::Ok { 200 } else { 500 };
        let sample = Sample {
            outcome,
            status,
            latency_us,
            service_us: latency_us,
            bytes_sent: 10,
            bytes_received: 20,
        };
        set.total.record(&sample, TOTAL_DIGITS);
    }
    set
}

/// Registers all engines and starts the run; returns the start.
pub fn started(coordinator: &mut Coordinator, engines: &mut [Engine], now: i64) -> i64 {
    for engine in engines.iter_mut() {
        assert_eq!(
            engine.say(coordinator, EngineState::Ready, now).desired,
            Desired::Wait
        );
    }
    let start = coordinator.proposed_start().unwrap();
    let lead = if engines.len() == 1 {
        LONE_START_LEAD
    } else {
        START_LEAD
    };
    assert_eq!(start, now + i64::try_from(lead.as_micros()).unwrap());
    let unconfirmed = engines[0].say(coordinator, EngineState::Ready, now).desired;
    assert_eq!(
        unconfirmed,
        Desired::Wait,
        "nobody is told before the start is durable"
    );
    coordinator.confirm_start();
    for engine in engines.iter_mut() {
        let desired = engine.say(coordinator, EngineState::Ready, now).desired;
        assert_eq!(desired, Desired::StartAt(start));
    }
    start
}

pub fn new(plan: Plan) -> Coordinator {
    Coordinator::new(Arc::new(plan), HASH.into(), 7, 0)
}

/// What the run came to.
pub fn judgement(coordinator: &Coordinator) -> Judgement {
    let view = coordinator.unconfirmed_judgement().unwrap();
    view.judgement.clone().unwrap()
}
