//! Crash anywhere: the operator, as a process with the chart's own rights, makes a run from a
//! `LoadTest` through a proxy that lets one of its calls to the real API server fail. Whatever call
//! that is, the same objects are there in the end.
//!
//! No runner ever starts, because no node will do: a run then goes from nothing to its verdict in
//! `startTimeout`. Run by `make test-api`.

mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{cluster::OperatorAway, proxy::Fault, wait};
use serde_json::Value;

use world::World;

/// Worlds at once; each waits most of the time.
const AT_ONCE: usize = 16;

/// No run has more calls than this.
const CALLS: usize = 120;

/// One world, from apply to the end, with one fault.
struct Trial {
    number: usize,
    fault: Fault,
    /// Whether the operator dies with the call.
    dies: bool,
}

/// What is left of it.
struct Outcome {
    struck: bool,
    objects: Value,
    runs_made: usize,
    jobs_made: usize,
}

impl Trial {
    fn go(&self) -> Result<Outcome> {
        let world = World::new(&format!("crash-{}", self.number))?;
        world.proxy.arm(self.number, self.fault);
        world.apply()?;
        let mut operator = world.start()?;
        if self.dies {
            let over = || operator.has_ended().unwrap_or(true) || world.is_finished();
            world.proxy.wait_struck(over);
            drop(operator);
            world.proxy.disarm();
            world.installation.free_lease()?;
            operator = world.start()?;
        }
        world.wait_finished(&mut operator)?;
        world.proxy.settle(Duration::from_secs(1));
        let calls = world.proxy.calls();
        let made = |resource: &str| calls.iter().filter(|call| call.made(resource)).count();
        Ok(Outcome {
            struck: world.proxy.struck(),
            objects: world.objects()?,
            runs_made: made("loadtestruns"),
            jobs_made: made("jobs"),
        })
    }
}

/// Faults at each `step`-th call, until no call has the number; how many calls there are.
fn sweep(fault: &(dyn Fn(usize) -> Fault + Sync), step: usize, dies: bool) -> Result<usize> {
    let expected = undisturbed()?;
    let (next, over) = (AtomicUsize::new(1), AtomicBool::new(false));
    let wrong = Mutex::new(BTreeMap::new());
    let calls = AtomicUsize::new(0);
    let work = || {
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(step, Ordering::Relaxed);
            if number > CALLS {
                break;
            }
            let fault = fault(number);
            let outcome = Trial {
                number,
                fault,
                dies,
            }
            .go();
            match &outcome {
                Ok(outcome) if outcome.struck => calls.fetch_max(number, Ordering::Relaxed),
                _ => usize::from(over.swap(true, Ordering::Relaxed)),
            };
            let problem = match outcome {
                Ok(outcome) => judge(&outcome, &expected),
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(problem) = problem {
                let problem = format!("{fault:?} at call {number}: {problem}\n");
                let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                wrong.insert(number, problem);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(
        wrong.is_empty(),
        "{}",
        wrong.into_values().collect::<String>()
    );
    let calls = calls.into_inner();
    ensure!(calls > 15, "only {calls} calls");
    Ok(calls)
}

fn judge(outcome: &Outcome, expected: &Value) -> Option<String> {
    if (outcome.runs_made, outcome.jobs_made) != (1, 1) {
        return Some(format!(
            "{} runs and {} Jobs were made",
            outcome.runs_made, outcome.jobs_made
        ));
    }
    (outcome.objects != *expected)
        .then(|| format!("ended in {}", world::difference(expected, &outcome.objects)))
}

/// The objects without any fault.
fn undisturbed() -> Result<Value> {
    let none = Trial {
        number: 0,
        fault: Fault::Hang,
        dies: false,
    };
    let outcome = none.go()?;
    ensure!(
        judge(&outcome, &outcome.objects.clone()).is_none(),
        "not even this"
    );
    Ok(outcome.objects)
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn every_call_may_be_the_last() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    // To the server one that hangs is one that never came: some of them will do.
    for (fault, step) in [
        (Fault::CutBefore, 1),
        (Fault::CutAfter, 1),
        (Fault::Hang, 3),
    ] {
        let calls = sweep(&|_| fault, step, true)?;
        println!("{fault:?}: of {calls} calls, each {step}. was the last");
    }
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn refusals_only_delay() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let codes = [409, 410, 429, 500];
    let fault = |number: usize| Fault::Answer(codes.get(number % 4).copied().unwrap_or(500));
    let calls = sweep(&fault, 1, false)?;
    println!("each of {calls} calls was refused, with {codes:?} by turns");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn at_the_end_nothing_is_written_however_often_it_is_looked_at() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let world = World::new("fixpoint")?;
    world.apply()?;
    let mut operator = world.start()?;
    world.wait_finished(&mut operator)?;
    world.proxy.settle(Duration::from_secs(2));
    let writes = || {
        let calls = world.proxy.calls();
        calls
            .into_iter()
            .filter(loadtest_tests::proxy::Call::writes)
            .collect::<Vec<_>>()
    };
    let before = writes().len();
    // Changes that are not ours, each with watches that live, and then with watches that were cut.
    for round in 0..6 {
        if round == 3 {
            world.proxy.cut_watches();
        }
        let reconciles = operator.metric("loadtest_reconciles_total")?;
        world.nudge(round)?;
        wait::until("both to be looked at", Duration::from_mins(1), || {
            let now = operator.metric("loadtest_reconciles_total")?;
            Ok((now >= reconciles + 2.0).then_some(()))
        })
        .with_context(|| operator.log())?;
    }
    // A new process looks at everything.
    drop(operator);
    world.installation.free_lease()?;
    let operator = world.start()?;
    operator.coordination()?;
    world.proxy.settle(Duration::from_secs(3));
    let after = writes();
    ensure!(
        after.len() == before,
        "was written: {:#?}",
        after.get(before..)
    );
    Ok(())
}
