//! A worker: one thread with one loop that owns everything it touches.
//!
//! The loop's own task is the clock of all users: it begins iterations when they are due, wakes
//! users whose pause has ended, times requests out, closes windows, and moves scenarios through
//! their phases. It looks at the clock once per turn and then waits for the system's timer.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    rc::Rc,
    sync::{Arc, mpsc as std_mpsc},
    task::Poll,
};

use loadtest_core::{series::SeriesSet, shard::Shard};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, watch},
};

use super::{
    compile::{Compiled, CompiledRequest},
    deadlines::Deadlines,
    meter::{FromWorker, Meter, RawLane},
    resolver::Resolver,
    scenario::{OpenModel, Phase, ScenarioRun, Seat},
    timers::Timers,
    user,
};
use crate::clock::{self, MICRO, MILLI, Nanos, WallAnchor};

/// Room for one read. Shared by all users of a worker, since a read is parsed at once.
const READ_BUFFER: usize = 64 << 10;

/// How exactly timeouts are kept: requests are checked this often.
const TIMEOUT_SWEEP: Nanos = 10 * MILLI;

/// A start later than this, with a user ready for it, is the generator's own fault and counted so.
const LATE_START: Nanos = 100 * MILLI;

/// What the control thread tells workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The start is not known yet.
    Wait,
    /// Begin at this time.
    Start(Nanos),
    /// Begin no more iterations.
    Stop,
    /// Cut off what is under way.
    Abort,
}

/// What a worker is given.
#[derive(Debug)]
pub struct Assignment {
    /// The compiled plan.
    pub compiled: Arc<Compiled>,
    /// The runner's part of the whole.
    pub runner: Shard,
    /// Number of this worker.
    pub worker: u32,
    /// How many workers the runner has.
    pub workers: u32,
    /// The runner's wall clock.
    pub anchor: WallAnchor,
    /// Where raw records go.
    pub raw: RawLane,
    /// What to do.
    pub commands: watch::Receiver<Command>,
    /// To the control thread.
    pub outbox: mpsc::Sender<FromWorker>,
    /// Sets that came back.
    pub spares: std_mpsc::Receiver<Box<SeriesSet>>,
}

/// What the users of a worker share.
#[derive(Debug)]
pub struct Worker {
    /// The compiled plan.
    pub compiled: Arc<Compiled>,
    /// Number of the runner.
    pub runner: u32,
    /// What is measured.
    pub meter: Meter,
    /// All waiting.
    pub timers: Timers,
    /// The target's addresses.
    pub resolver: Resolver,
    /// For rendering one request.
    pub render: RefCell<Vec<u8>>,
    /// For one read.
    pub read: RefCell<Box<[u8]>>,
    deadlines: RefCell<Deadlines>,
    next_sweep: Cell<Nanos>,
    run_start: Cell<Nanos>,
    seats: RefCell<Vec<Rc<Seat>>>,
    scenarios: Vec<Rc<ScenarioRun>>,
}

/// Runs a worker on the calling thread until all its users have ended.
///
/// # Errors
/// When the system refuses the loop its descriptors.
pub fn run(assignment: Assignment) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        // Lookups of the target's name; there is one at a time.
        .max_blocking_threads(1)
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let mut commands = assignment.commands.clone();
        let worker = Rc::new(Worker::new(assignment)?);
        worker.turn_until_over(&mut commands).await?;
        worker.meter.finish(clock::now()).await;
        Ok(())
    })
}

impl Worker {
    fn new(assignment: Assignment) -> io::Result<Self> {
        let Assignment {
            compiled,
            runner,
            worker,
            workers,
            anchor,
            raw,
            outbox,
            spares,
            ..
        } = assignment;
        let scenarios = (0..compiled.scenarios.len())
            .filter_map(|index| ScenarioRun::new(&compiled, index, runner, worker, workers))
            .map(Rc::new)
            .collect();
        let meter = Meter::new(
            worker as usize,
            Arc::clone(&compiled),
            anchor,
            raw,
            outbox,
            spares,
        );
        Ok(Self {
            runner: runner.index,
            meter,
            timers: Timers::new()?,
            resolver: Resolver::new(&compiled.host, compiled.port),
            render: RefCell::default(),
            read: RefCell::new(vec![0; READ_BUFFER].into_boxed_slice()),
            deadlines: RefCell::new(Deadlines::new(compiled.timeouts.len())),
            next_sweep: Cell::new(0),
            run_start: Cell::new(Nanos::MAX),
            seats: RefCell::default(),
            scenarios,
            compiled,
        })
    }

    /// The timeout of a request.
    pub fn timeout(&self, request: &CompiledRequest) -> Nanos {
        self.compiled
            .timeouts
            .get(request.timeout)
            .copied()
            .unwrap_or(Nanos::MAX)
    }

    /// From now on the request may run out of time.
    pub fn set_deadline(&self, seat: &Seat, request: &CompiledRequest, now: Nanos) {
        seat.timed_out.set(false);
        let deadline = now.saturating_add(self.timeout(request));
        self.deadlines
            .borrow_mut()
            .insert(seat.slot, request.timeout, deadline);
        // A timeout shorter than all that the loop waits for; later ones are found by it.
        if deadline.max(self.next_sweep.get()) < self.timers.armed() {
            self.timers.arm(deadline.max(self.next_sweep.get()));
        }
    }

    /// The request has ended.
    pub fn clear_deadline(&self, seat: &Seat) {
        self.deadlines.borrow_mut().remove(seat.slot);
    }

    /// An open-model user has begun or ended an iteration.
    pub fn user_is_busy(&self, busy: bool) {
        let users = self.meter.users.get();
        self.meter.users.set(if busy {
            users + 1
        } else {
            users.saturating_sub(1)
        });
    }

    /// A user has ended for good.
    pub fn user_ended(&self, scenario: &ScenarioRun) {
        scenario.alive.set(scenario.alive.get().saturating_sub(1));
        if scenario.open.is_none() {
            self.user_is_busy(false);
        }
        if scenario.alive.get() == 0 && scenario.phase.get() >= Phase::Stopping {
            // The loop may be waiting for this alone.
            self.timers.arm(clock::now());
        }
    }

    /// Counts an arrival that begins now.
    pub fn count_start(&self, intended: Nanos, now: Nanos, waited_for_user: bool) {
        let lateness = now.saturating_sub(intended);
        self.meter.count(now, |set| {
            set.started += 1;
            set.worst_lateness_us = set.worst_lateness_us.max(lateness / MICRO);
            set.late_by_generator += u64::from(!waited_for_user && lateness > LATE_START);
        });
    }

    async fn turn_until_over(
        self: &Rc<Self>,
        commands: &mut watch::Receiver<Command>,
    ) -> io::Result<()> {
        let timer = self.timers.fd().watch()?;
        let mut begun = false;
        let mut seen = Command::Wait;
        loop {
            let now = clock::now();
            let command = *commands.borrow_and_update();
            if command != seen {
                self.obey(command, now);
                seen = command;
            }
            if !begun && self.run_start.get() <= now {
                begun = true;
                self.meter.begin(now);
            }
            let mut next = self.turn(now);
            if !begun {
                next = next.min(self.run_start.get());
            }
            if self.scenarios.iter().all(|scenario| scenario.is_over()) {
                return Ok(());
            }
            self.timers.arm(next);
            self.wait(&timer, commands).await?;
            if begun {
                self.meter
                    .lagged(clock::now().saturating_sub(self.timers.armed()));
            }
        }
    }

    /// Waits for the timer or a command.
    async fn wait(
        &self,
        timer: &AsyncFd<Rc<crate::sys::TimerFd>>,
        commands: &mut watch::Receiver<Command>,
    ) -> io::Result<()> {
        let mut changed = std::pin::pin!(commands.changed());
        let mut gone = false;
        poll_fn(|context| {
            if !gone && let Poll::Ready(result) = changed.as_mut().poll(context) {
                if result.is_ok() {
                    return Poll::Ready(Ok(()));
                }
                // The control thread is gone; the load ends by its own schedule.
                gone = true;
            }
            timer
                .poll_read_ready(context)
                .map_ok(|mut guard| guard.clear_ready())
        })
        .await
    }

    fn obey(&self, command: Command, now: Nanos) {
        if let Command::Start(at) = command {
            self.run_start.set(at);
        }
        for scenario in &self.scenarios {
            let Some(compiled) = self.compiled.scenarios.get(scenario.index) else {
                continue;
            };
            match command {
                Command::Wait => {}
                Command::Start(at) => {
                    scenario.schedule(compiled, at, self.compiled.max_duration);
                }
                Command::Stop => scenario.stop_early(now, compiled.graceful_stop),
                Command::Abort => {
                    scenario.stop_early(now, 0);
                    scenario.abort.set(scenario.abort.get().min(now));
                }
            }
        }
    }

    /// Does all that is due; returns when there is more to do.
    fn turn(self: &Rc<Self>, now: Nanos) -> Nanos {
        self.meter.roll(now);
        let mut next = self.meter.window_end();
        for scenario in &self.scenarios {
            next = next.min(self.advance(scenario, now));
        }
        while let Some(slot) = self.timers.due(now) {
            self.wake(slot);
        }
        next.min(self.sweep(now))
            .min(self.timers.earliest().unwrap_or(Nanos::MAX))
    }

    /// Moves a scenario on; returns when it wants to be looked at again.
    fn advance(self: &Rc<Self>, scenario: &Rc<ScenarioRun>, now: Nanos) -> Nanos {
        if scenario.phase.get() == Phase::Waiting && now >= scenario.start.get() {
            scenario.phase.set(Phase::Running);
            if scenario.open.is_none() && now < scenario.stop.get() {
                for _ in 0..scenario.max_users {
                    self.add_user(scenario, None);
                    self.user_is_busy(true);
                }
            }
        }
        if scenario.phase.get() == Phase::Running {
            if let Some(open) = &scenario.open {
                // Before the stop: an arrival that was due before the end counts, however late
                // this turn is.
                self.dispatch(scenario, open, now);
            }
            if now >= scenario.stop.get() {
                self.change_phase(scenario, Phase::Stopping);
            }
        }
        if scenario.phase.get() == Phase::Stopping && now >= scenario.abort.get() {
            self.change_phase(scenario, Phase::Aborting);
        }
        match scenario.phase.get() {
            Phase::Waiting => scenario.start.get(),
            Phase::Running => {
                let gap = scenario.open.as_ref().map_or(0, |open| open.gap);
                let arrival = scenario
                    .next_arrival()
                    .map_or(Nanos::MAX, |at| at.max(now + gap));
                arrival.min(scenario.stop.get())
            }
            Phase::Stopping => scenario.abort.get(),
            Phase::Aborting => Nanos::MAX,
        }
    }

    fn change_phase(&self, scenario: &ScenarioRun, phase: Phase) {
        scenario.phase.set(phase);
        for seat in self
            .seats
            .borrow()
            .iter()
            .filter(|seat| seat.scenario == scenario.index)
        {
            seat.wake();
        }
    }

    /// Begins an iteration for every arrival that is due, or lets it wait for a user.
    fn dispatch(self: &Rc<Self>, scenario: &Rc<ScenarioRun>, open: &OpenModel, now: Nanos) {
        while let Some(intended) = scenario.next_arrival().filter(|due| *due <= now) {
            open.next.set(open.next.get() + 1);
            let idle = open.idle.borrow_mut().pop();
            let can_grow = scenario.made.get() < scenario.max_users;
            self.meter.count(now, |set| {
                set.scheduled += 1;
                set.late_by_target += u64::from(idle.is_none() && !can_grow);
            });
            if let Some(slot) = idle {
                self.count_start(intended, now, false);
                if let Some(seat) = self.seats.borrow().get(slot as usize) {
                    seat.arrival.set(Some(intended));
                    seat.wake();
                }
            } else if can_grow {
                self.count_start(intended, now, false);
                self.add_user(scenario, Some(intended));
            } else {
                open.queue.borrow_mut().push_back(intended);
            }
        }
    }

    fn add_user(self: &Rc<Self>, scenario: &Rc<ScenarioRun>, arrival: Option<Nanos>) {
        let number = scenario.made.get();
        scenario.made.set(number + 1);
        scenario.alive.set(scenario.alive.get() + 1);
        let slot = self.seats.borrow().len() as u32;
        let seat = Rc::new(Seat::new(slot, scenario.index, arrival));
        self.seats.borrow_mut().push(Rc::clone(&seat));
        let index = scenario.users.global(u64::from(number)) as u32;
        tokio::task::spawn_local(user::live(
            Rc::clone(self),
            Rc::clone(scenario),
            seat,
            index,
        ));
    }

    /// Times requests out; returns when to look again.
    fn sweep(&self, now: Nanos) -> Nanos {
        let mut deadlines = self.deadlines.borrow_mut();
        if now >= self.next_sweep.get() {
            self.next_sweep.set(now + TIMEOUT_SWEEP);
            while let Some(slot) = deadlines.expire(now) {
                if let Some(seat) = self.seats.borrow().get(slot as usize) {
                    seat.timed_out.set(true);
                    seat.wake();
                }
            }
        }
        deadlines
            .earliest()
            .map_or(Nanos::MAX, |at| at.max(self.next_sweep.get()))
    }

    fn wake(&self, slot: u32) {
        if let Some(seat) = self.seats.borrow().get(slot as usize) {
            seat.wake();
        }
    }
}
