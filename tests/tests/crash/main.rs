//! Crash anywhere: the operator, as a process with the chart's own rights, makes a run from a
//! `LoadTest` through a proxy that lets one of its calls to the real API server fail. Whatever call
//! that is, the same objects are there in the end.
//!
//! No runner ever starts, because no node will do: a run then goes from nothing to its verdict in
//! `startTimeout`. Run by `make test-crash`.

mod world;

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loadtest_tests::{
    cluster::OperatorAway,
    proxy::{Call, Fault, Which},
    wait,
};
use serde_json::Value;

use world::World;

/// Worlds at once; each waits most of the time.
const AT_ONCE: usize = 16;

/// No two runs make the very same calls: so many more than in the undisturbed one are tried, and so many
/// fewer may be made where looks at the same thing come together.
const MORE: usize = 2;
const FEWER: usize = 8;

/// One world, from apply to the end, with one fault.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// It happens to one of these calls.
    which: Which,
    /// Which of them; 0: none.
    number: usize,
    fault: Fault,
    /// Whether the operator dies with the call.
    dies: bool,
}

/// What is left of it.
#[derive(Debug)]
struct Outcome {
    struck: bool,
    calls: Vec<Call>,
    objects: Value,
    runs_made: usize,
    jobs_made: usize,
}

impl Trial {
    /// `settled` tells whether objects are what is left in the end.
    fn go(self, settled: impl Fn(&Value) -> bool) -> Result<Outcome> {
        let world = World::new(&format!("crash-{}", self.number))?;
        world.proxy.arm(self.which, self.number, self.fault);
        world.apply()?;
        let mut operator = world.start()?;
        if self.dies {
            let over =
                || operator.has_ended().unwrap_or(true) || world.is_finished().unwrap_or(true);
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
            objects: world.objects_when(settled)?,
            runs_made: made("loadtestruns"),
            jobs_made: made("jobs"),
            calls,
        })
    }
}

impl Outcome {
    /// How many of its calls are of these.
    fn count(&self, which: Which) -> usize {
        self.calls.iter().filter(|call| which(call)).count()
    }
}

/// Any but those about the lease.
fn any(call: &Call) -> bool {
    !call.is_about_the_lease()
}

/// One that somebody waits for.
fn awaited(call: &Call) -> bool {
    any(call) && !call.feeds_a_cache()
}

/// Makes all trials, many at once; fails with what is wrong of each.
fn make(
    trials: &[Trial],
    settled: impl Fn(&Value) -> bool + Sync,
    judge: impl Fn(&Outcome) -> Option<String> + Sync,
) -> Result<()> {
    let undisturbed = undisturbed()?;
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
            let sure = trial.number + FEWER <= undisturbed.count(trial.which);
            let problem = match trial.go(&settled) {
                Ok(outcome) if sure && !outcome.struck => Some("it was never made".to_owned()),
                Ok(outcome) => judge(&outcome),
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(problem) = problem {
                let Trial { number, fault, .. } = trial;
                let problem = format!("{fault:?} at call {number}: {problem}\n");
                let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                wrong.push(problem);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(wrong.is_empty(), "{}", wrong.concat());
    println!("{} worlds", trials.len());
    Ok(())
}

/// As if nothing had happened.
fn same(outcome: &Outcome, expected: &Value) -> Option<String> {
    if (outcome.runs_made, outcome.jobs_made) != (1, 1) {
        return Some(format!(
            "{} runs and {} Jobs were made",
            outcome.runs_made, outcome.jobs_made
        ));
    }
    (outcome.objects != *expected)
        .then(|| format!("ended in {}", world::difference(expected, &outcome.objects)))
}

/// What comes of it without any fault.
fn undisturbed() -> Result<&'static Outcome> {
    static MADE: OnceLock<Outcome> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made);
    }
    let none = Trial {
        which: any,
        number: 0,
        fault: Fault::Hang,
        dies: false,
    };
    let outcome = none.go(world::is_suspended)?;
    let problem = same(&outcome, &outcome.objects);
    ensure!(problem.is_none(), "not even this: {problem:?}");
    ensure!(
        world::is_suspended(&outcome.objects),
        "the Job is not suspended: {}",
        outcome.objects
    );
    let calls = outcome.count(awaited);
    ensure!(calls > 15, "only {calls} calls");
    Ok(MADE.get_or_init(|| outcome))
}

#[test]
#[ignore = "needs an API server: make test-crash"]
fn every_call_may_be_the_last() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let undisturbed = undisturbed()?;
    let last = undisturbed.count(any) + MORE;
    // To the server one that hangs is one that never came: some of them will do.
    let faults = [
        (Fault::CutBefore, 1),
        (Fault::CutAfter, 1),
        (Fault::Hang, 3),
    ];
    let trials = faults.into_iter().flat_map(|(fault, step)| {
        (1..=last).step_by(step).map(move |number| Trial {
            which: any,
            number,
            fault,
            dies: true,
        })
    });
    let trials: Vec<_> = trials.collect();
    let expected = &undisturbed.objects;
    make(
        &trials,
        |objects| objects == expected,
        |outcome| same(outcome, expected),
    )
}

#[test]
#[ignore = "needs an API server: make test-crash"]
fn refusals_only_delay() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let undisturbed = undisturbed()?;
    let last = undisturbed.count(any) + MORE;
    let codes = [409, 410, 429, 500].into_iter().cycle();
    let trials = (1..=last).zip(codes).map(|(number, code)| Trial {
        which: any,
        number,
        fault: Fault::Answer(code),
        dies: false,
    });
    let trials: Vec<_> = trials.collect();
    let expected = &undisturbed.objects;
    make(
        &trials,
        |objects| objects == expected,
        |outcome| same(outcome, expected),
    )
}

#[test]
#[ignore = "needs an API server: make test-crash"]
fn a_call_that_is_never_answered_is_given_up() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let last = undisturbed()?.count(awaited);
    // Each takes a minute: as many as there are worlds at once.
    let trials = (1..=last)
        .step_by(last.div_ceil(AT_ONCE))
        .map(|number| Trial {
            which: awaited,
            number,
            fault: Fault::Hang,
            dies: false,
        });
    let trials: Vec<_> = trials.collect();
    make(
        &trials,
        |_| true,
        |outcome| {
            // Later than `startTimeout` no Job is made.
            let (runs, jobs) = (outcome.runs_made, outcome.jobs_made);
            (runs != 1 || jobs > 1).then(|| format!("{runs} runs and {jobs} Jobs were made"))
        },
    )
}

#[test]
#[ignore = "needs an API server: make test-crash"]
fn at_the_end_nothing_is_written_however_often_it_is_looked_at() -> Result<()> {
    let _nobody = OperatorAway::new()?;
    let world = World::new("fixpoint")?;
    world.apply()?;
    let mut operator = world.start()?;
    world.wait_finished(&mut operator)?;
    world.proxy.settle(Duration::from_secs(2));
    let writes = || {
        let calls = world.proxy.calls();
        calls.into_iter().filter(Call::writes).collect::<Vec<_>>()
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
