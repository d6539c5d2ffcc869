//! One user with a step kind that does whatever can go wrong.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicU32, atomic::Ordering::Relaxed},
    time::Duration,
};

use loadtest_core::{
    plan::{
        Cookies, Flows, Inputs as PlanInputs, Load, OnLost, Results, RunIdentity, SecretFile,
        SeriesKey, Step as PlanStep, Target, Task, ValueKey, ValueScope,
    },
    scalar::StatusRange,
    series::SeriesSet,
    shard::Shard,
    template::{Names, Position},
};

use super::*;
use crate::{
    clock::WallAnchor,
    engine::{compile::Compiled, feeder::Feeders, rehearsal::iterate, script::Inputs},
    step_kind::StepKind,
};

/// Does what `with.do` says, and tells what it was given.
#[derive(Default)]
struct Probe {
    told: Mutex<Vec<String>>,
    sessions: Arc<AtomicU32>,
}

/// How many steps it has been through, and how many of them there are.
#[derive(Default)]
struct Counted {
    steps: u32,
    all: Option<Arc<AtomicU32>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.fetch_sub(1, Relaxed);
        }
    }
}

impl StepKind for Arc<Probe> {
    type Session = Counted;

    async fn run(&self, session: &mut Counted, step: &mut Step) -> Result<Reply, Failed> {
        if session.all.is_none() {
            self.sessions.fetch_add(1, Relaxed);
            session.all = Some(Arc::clone(&self.sessions));
            step.connected();
        }
        session.steps += 1;
        let text = step.given("text").unwrap_or_default().to_owned();
        let known = step.value("made").unwrap_or("nothing");
        let told = format!("{} {text:?} {known:?}", session.steps);
        self.told.lock().unwrap().push(told);
        match step.with("do")? {
            "set" => step.set("made", format!("by {}", step.user()))?,
            "set another" => step.set("other", "x")?,
            "panic" => panic!("no {text}"),
            "hang" => std::future::pending().await,
            "fail" => return Err(Failed::new(format!("no {text}"))),
            "reset" => return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()),
            "block" => {
                let blocked = || std::thread::sleep(Duration::from_millis(30));
                let done = tokio::task::spawn_blocking(blocked).await;
                done.map_err(|error| Failed::new(error.to_string()))?;
            }
            _ => {}
        }
        step.sent(3);
        step.received(5);
        Ok(Reply::of(text).status(204))
    }
}

fn names() -> Names {
    Names {
        values: BTreeMap::from([("made".to_owned(), 0)]),
        secrets: vec!["key".to_owned()],
        ..Names::default()
    }
}

/// A plan of one user who does these steps once, each with a row of its own: what to do, and a text.
fn plan(steps: &[(&str, &str)]) -> Plan {
    let template = |text: &str| Template::parse(text, Position::Text, &names()).unwrap();
    let custom = |(number, (what, text)): (usize, &(&str, &str))| {
        PlanStep::Custom(Box::new(Custom {
            kind: "probe".to_owned(),
            with: BTreeMap::from([
                ("do".to_owned(), template(what)),
                ("text".to_owned(), template(text)),
            ]),
            sets: vec![0],
            request: Request {
                step: number as u32,
                series: number as u32,
                method: "probe".to_owned(),
                // A panic may be told with its whole backtrace, which takes its time.
                timeout: Duration::from_millis(if *what == "hang" { 200 } else { 20_000 }),
                success: vec![StatusRange { from: 100, to: 599 }],
                ..Request::default()
            },
        }))
    };
    let row = |number: usize| SeriesKey {
        scenario: "main".to_owned(),
        name: number.to_string(),
        method: "probe".to_owned(),
    };
    Plan {
        run: RunIdentity::nobody(),
        target: Target::default(),
        scenarios: vec![Scenario {
            name: "main".to_owned(),
            start_after: Duration::ZERO,
            load: Load::PerUserIterations {
                users: 1,
                iterations: 1,
                max_duration: Duration::from_secs(30),
            },
            graceful_stop: Duration::ZERO,
            connections: Connections::KeepAlive,
            cookies: Cookies::Off,
            tasks: vec![Task {
                name: "task".to_owned(),
                weight: 1,
                steps: steps.iter().enumerate().map(custom).collect(),
                ..Task::default()
            }],
            flows: Flows::default(),
        }],
        series: (0..steps.len()).map(row).collect(),
        checks: Vec::new(),
        groups: Vec::new(),
        inputs: PlanInputs {
            values: vec![ValueKey {
                name: "made".to_owned(),
                scope: ValueScope::Iteration,
            }],
            secrets: vec![SecretFile {
                name: "key".to_owned(),
                path: String::new(),
            }],
            ..PlanInputs::default()
        },
        once: None,
        thresholds: Vec::new(),
        runners: 1,
        on_lost: OnLost::Fail,
        start_timeout: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        max_duration: Duration::from_secs(30),
        results: Results {
            interval: Duration::from_secs(1),
            elasticsearch: None,
            files: None,
            drain_timeout: Duration::from_secs(1),
            spool_limit: 0,
            samples: false,
        },
    }
}

fn done(steps: &[(&str, &str)]) -> (SeriesSet, Arc<Probe>) {
    let plan = plan(steps);
    let probe = Arc::new(Probe::default());
    let kinds = StepKinds::default().with("probe", Arc::clone(&probe));
    let inputs = Inputs {
        scopes: vec![ValueScope::Iteration].into(),
        value_names: vec!["made".to_owned()].into(),
        secrets: vec!["s3cret".to_owned().into()].into(),
        secret_names: vec!["key".to_owned()].into(),
        ..Inputs::default()
    };
    let compiled = Compiled::with_inputs(&plan, &Arc::new(inputs), &kinds).unwrap();
    let feeders = Feeders::load(&plan, Shard::WHOLE).unwrap();
    let measured = iterate(&Arc::new(compiled), &Arc::new(feeders), WallAnchor::now());
    (measured.unwrap(), probe)
}

fn failures(set: &SeriesSet) -> Vec<(u32, Outcome, &str)> {
    let errors = set.errors.keys();
    let mut all: Vec<_> = errors
        .map(|key| (key.series, key.outcome, key.message.as_str()))
        .collect();
    all.sort_unstable_by_key(|(row, ..)| *row);
    all
}

#[test]
fn each_step_is_a_request_and_values_and_the_session_go_from_one_to_the_next() {
    let (set, probe) = done(&[("set", ""), ("", "after $(made)"), ("block", "")]);
    assert_eq!(failures(&set), []);
    assert_eq!(
        *probe.told.lock().unwrap(),
        [
            r#"1 "" "nothing""#,
            r#"2 "after by 0" "by 0""#,
            r#"3 "" "by 0""#
        ]
    );
    assert_eq!((set.iterations, set.iterations_failed), (1, 0));
    assert_eq!((set.total.requests, set.connections), (3, 1));
    assert_eq!((set.total.bytes_sent, set.total.bytes_received), (9, 15));
    assert_eq!(set.total.status_classes, [0, 3, 0, 0, 0]);
    assert!(set.by_name[2].service_time.max() >= 30_000);
}

#[test]
fn whatever_happens_has_a_name_and_the_iteration_goes_on() {
    let (set, probe) = done(&[
        ("panic", "way"),
        ("hang", ""),
        ("fail", "way, $(secret.key)"),
        ("reset", ""),
        ("set another", ""),
        ("", "end"),
    ]);
    assert_eq!(
        failures(&set),
        [
            (0, Outcome::Panic, "no way"),
            (1, Outcome::Timeout, "no whole answer within 200ms"),
            (2, Outcome::Step, "no way, [secret.key]"),
            (3, Outcome::Reset, "broken pipe"),
            (
                4,
                Outcome::Step,
                "sets a value other, which is not in the step's sets"
            ),
        ]
    );
    assert_eq!((set.iterations, set.iterations_failed), (1, 0));
    assert_eq!((set.total.requests, set.total.failures), (6, 5));
    // Each failure but the last one has cost the session.
    assert_eq!(set.connections, 5);
    let told = probe.told.lock().unwrap();
    assert!(
        told[4].starts_with("1 ") && told[5].starts_with("2 "),
        "{told:?}"
    );
}

#[test]
fn sessions_end_with_their_user() {
    let (_, probe) = done(&[("", ""), ("hang", ""), ("", "")]);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while probe.sessions.load(Relaxed) > 0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_kind_that_is_not_there_is_refused() {
    let kinds = StepKinds::default()
        .with("b", Arc::new(Probe::default()))
        .with("a", Arc::new(Probe::default()));
    let plan = plan(&[("", "")]);
    let refused = |kinds: &StepKinds| {
        let inputs = Inputs {
            scopes: vec![ValueScope::Iteration].into(),
            ..Inputs::default()
        };
        let compiled = Compiled::with_inputs(&plan, &Arc::new(inputs), kinds);
        compiled.unwrap_err().to_string()
    };
    let told = refused(&kinds);
    assert!(
        told.starts_with(
            "task \"task\" of scenario \"main\" has a step of the kind \"probe\", which the runner /"
        ) && told.contains(" does not know: it knows a, b. Use a runner that has it: "),
        "{told}"
    );
    let told = refused(&StepKinds::default());
    assert!(told.contains(" does not know: it knows none. "), "{told}");
}
