//! Drives the coordinator of a local run: time, processes, signals, and what is made durable.
//!
//! Every decision about the run is the coordinator's, the same one that the operator uses. What is
//! decided here is only what belongs to this machine: when a process is started again or given up.

use std::{io, time::Duration};

use loadtest_core::{
    plan::Plan,
    report::{Part, UnixMicros},
    series::{Series, SeriesSet},
    verdict::Reason,
    view::RunView,
};
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    children::{Children, Ended},
    clock::Clock,
    control::Control,
    history::History,
    progress::Progress,
    signals::Signals,
};
use crate::output::locust::{HistoryWriter, Moment};

/// Between two looks at the run: a tenth of the shortest thing that people notice.
const TICK: Duration = Duration::from_millis(100);

/// Between two rows of the history.
const SECOND: UnixMicros = 1_000_000;

/// Between two writings of the status while nothing is decided, as in a cluster.
const RECORD_EVERY: UnixMicros = 5 * SECOND;

/// How long processes may take to exit after they were told that all is over; they ask once a
/// second.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// How often the exporter of one runner is started again: it resumes from the pool, so an accident
/// costs nothing; one that fails for good is given up soon.
const EXPORTER_RESTARTS: u32 = 3;

/// What came of driving a run.
#[derive(Debug)]
pub struct Driven {
    /// The final view.
    pub view: RunView,
    /// Everything that was measured.
    pub merged: SeriesSet,
    /// The last seconds of it.
    pub last_window: Series,
    /// Somebody asked twice to stop, and the processes were killed.
    pub killed: bool,
    /// Every exporter made its final report, so its files are whole.
    pub files_whole: bool,
}

/// Where the status of a run is written; the driver does not know its shape.
pub type Record<'a> = dyn Fn(&RunView) -> io::Result<()> + 'a;

/// A run under way.
pub struct Driver<'a> {
    /// Answers the runners.
    pub control: &'a Control,
    /// The processes.
    pub children: Children,
    /// The coordinator's clock.
    pub clock: Clock,
    /// The picture.
    pub progress: Progress,
    /// Makes a view durable.
    pub record: &'a Record<'a>,
    /// Rows of the last seconds.
    pub rows: Option<HistoryWriter>,
    /// The plan of the run.
    pub plan: &'a Plan,
}

/// What a driver remembers.
#[derive(Debug, Default)]
struct State {
    restarts: Vec<u32>,
    /// Why an exporter was given up.
    export_problem: String,
    interrupts: u32,
    /// What a second interrupt cut off.
    killed: Option<&'static str>,
    next_row: UnixMicros,
    next_picture: UnixMicros,
    next_record: UnixMicros,
    /// When processes that have not exited are killed.
    exit_deadline: Option<Instant>,
}

impl Driver<'_> {
    /// Starts the runners and stays until the run is complete and every process has ended. Runners
    /// that cannot be started become the run's verdict.
    pub async fn drive(mut self, signals: &mut Signals) -> Driven {
        let mut state = State {
            restarts: vec![0; self.plan.runners as usize],
            ..State::default()
        };
        self.start_runners();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                ended = self.children.next_end() => self.child_ended(&mut state, &ended),
                () = signals.next() => self.interrupted(&mut state),
            }
            if self.step(&mut state) {
                return self.finish(&state);
            }
        }
    }

    fn start_runners(&mut self) {
        let exports = self.plan.results.exports();
        for index in 0..self.plan.runners {
            for part in [Part::Engine, Part::Exporter] {
                if part == Part::Exporter && !exports {
                    continue;
                }
                if let Err(error) = self.children.start(index, part) {
                    let message = format!(
                        "runner {index}'s {} cannot be started: {error}",
                        part.name()
                    );
                    let now = self.clock.now();
                    self.control
                        .lock()
                        .coordinator
                        .fail(Reason::RunnerFailed, &message, now);
                    return;
                }
            }
        }
    }

    /// Lets time pass; whether all is over.
    fn step(&mut self, state: &mut State) -> bool {
        let now = self.clock.now();
        let complete = self.advance(state, now);
        self.write_row(state, now);
        if now >= state.next_record && !complete {
            state.next_record = now + RECORD_EVERY;
            let view = self.view(state);
            self.make_durable(&view);
        }
        if now >= state.next_picture {
            state.next_picture = now + SECOND / 4;
            let view = self.view(state);
            self.progress.show(&view);
        }
        if !complete {
            return false;
        }
        let deadline = *state
            .exit_deadline
            .get_or_insert_with(|| Instant::now() + EXIT_GRACE);
        if Instant::now() >= deadline {
            self.children.kill_all();
        }
        self.children.alive() == 0
    }

    /// Makes durable what waits for it, and only then confirms it.
    fn advance(&mut self, state: &State, now: UnixMicros) -> bool {
        let control = self.control;
        let mut shared = control.lock();
        let coordinator = &mut shared.coordinator;
        coordinator.tick(now);
        if let Some(start) = coordinator.proposed_start() {
            let mut view = coordinator.view(now);
            view.started = Some(start);
            self.make_durable(&view);
            coordinator.confirm_start();
        }
        // Nobody succeeds this driver.
        coordinator.confirm_early_end();
        if coordinator.unconfirmed_judgement().is_some() {
            self.make_durable(&completed(coordinator.view(now), state));
            coordinator.confirm_judgement();
            coordinator.tick(now);
        }
        let complete = coordinator.is_complete();
        if complete && state.exit_deadline.is_none() {
            self.make_durable(&completed(coordinator.view(now), state));
            coordinator.confirm_completion();
        }
        complete
    }

    fn make_durable(&mut self, view: &RunView) {
        // The run goes on: its answer is printed whether or not the disk takes it.
        if let Err(error) = (self.record)(view) {
            self.progress
                .note(&format!("warning: the status cannot be written: {error}"));
        }
    }

    fn view(&self, state: &State) -> RunView {
        completed(
            self.control.lock().coordinator.view(self.clock.now()),
            state,
        )
    }

    fn write_row(&mut self, state: &mut State, now: UnixMicros) {
        if now < state.next_row {
            return;
        }
        let mut shared = self.control.lock();
        let shared = &mut *shared;
        let view = shared.coordinator.view(now);
        let (Some(started), Some(progress)) = (view.started, &view.progress) else {
            return;
        };
        if now < started {
            return;
        }
        state.next_row = now + SECOND;
        let window = shared.history.window(now);
        let moment = Moment {
            at: now,
            users: progress.users,
            window: &window,
            window_length: History::window_length(progress.elapsed),
            total: &shared.coordinator.merged().total,
        };
        if let Some(Err(error)) = self.rows.as_mut().map(|rows| rows.write(&moment)) {
            self.rows = None;
            self.progress.note(&format!(
                "warning: stats_history.csv cannot be written: {error}"
            ));
        }
    }

    fn child_ended(&mut self, state: &mut State, ended: &Ended) {
        let Ended { index, part, how } = ended;
        let now = self.clock.now();
        match part {
            Part::Engine => {
                let mut shared = self.control.lock();
                let reason = if shared.coordinator.view(now).started.is_some() {
                    Reason::RunnerLost
                } else {
                    Reason::RunnerFailed
                };
                let message = format!("runner {index}'s engine {how}");
                shared
                    .coordinator
                    .lose_engine(*index, reason, &message, now);
            }
            Part::Exporter => self.exporter_ended(state, *index, how, now),
        }
    }

    fn exporter_ended(&mut self, state: &mut State, index: u32, how: &str, now: UnixMicros) {
        let over = {
            let shared = self.control.lock();
            shared.coordinator.exporter_ended(index) || shared.coordinator.is_complete()
        };
        if over {
            return;
        }
        if let Some(restarts) = state.restarts.get_mut(index as usize)
            && *restarts < EXPORTER_RESTARTS
            && state.interrupts < 2
        {
            *restarts += 1;
            self.progress.note(&format!(
                "runner {index}'s exporter {how}; it is started again"
            ));
            if self.children.start(index, Part::Exporter).is_ok() {
                return;
            }
        }
        state.export_problem = format!("runner {index}'s exporter {how}");
        self.control.lock().coordinator.lose_exporter(index, now);
    }

    fn interrupted(&mut self, state: &mut State) {
        state.interrupts += 1;
        let now = self.clock.now();
        if state.interrupts == 1 {
            let mut shared = self.control.lock();
            let judged = shared.coordinator.view(now).judgement.is_some();
            shared.coordinator.cancel(now);
            drop(shared);
            self.progress.note(if judged {
                "the load is over; results are still being stored. Ctrl-C again gives up on them"
            } else {
                "stopping: requests under way may end, results are stored. Ctrl-C again kills at once"
            });
        } else {
            let judged = self
                .control
                .lock()
                .coordinator
                .view(now)
                .judgement
                .is_some();
            state
                .killed
                .get_or_insert(if judged { KILLED_EXPORT } else { KILLED_LOAD });
            self.children.kill_all();
        }
    }

    fn finish(mut self, state: &State) -> Driven {
        let view = self.view(state);
        self.progress.show(&view);
        self.progress.clear();
        let mut shared = self.control.lock();
        let files_whole =
            state.interrupts < 2 && state.restarts.iter().all(|restarts| *restarts == 0);
        Driven {
            view,
            merged: shared.coordinator.merged().clone(),
            last_window: shared.history.last_window(),
            killed: state.killed.is_some(),
            files_whole: files_whole && state.export_problem.is_empty(),
        }
    }
}

/// Adds to a view what only the driver knows.
fn completed(mut view: RunView, state: &State) -> RunView {
    if view.export_problem.is_empty() {
        view.export_problem.clone_from(&state.export_problem);
    }
    if let (Some(killed), Some(judgement)) = (state.killed, &mut view.judgement) {
        judgement.message.push_str(killed);
    }
    view
}

const KILLED_LOAD: &str =
    "; its processes were killed before they had ended, so up to its last second may be missing";
const KILLED_EXPORT: &str =
    "; its exporters were killed, so results that were not stored by then are counted as lost";
