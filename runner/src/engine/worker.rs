//! A worker: one thread with one loop that owns everything it touches.
//!
//! The loop's own task is the clock of all users: it begins iterations when they are due, wakes
//! users whose pause has ended, times requests out, closes windows, and moves scenarios through
//! their phases. It looks at the clock once per turn and then waits for the system's timer.

mod scenarios;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering, mpsc as std_mpsc},
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
    feeder::Feeders,
    meter::{FromWorker, Meter, RawLane},
    network::Network,
    once::Left,
    reach::needs_general,
    scenario::{ScenarioRun, Seat},
    script::{Memory, Shared},
    steps::CompiledRepeat,
    timers::Timers,
};
use crate::{
    clock::{self, MICRO, MILLI, Nanos, WallAnchor},
    http::HeadMemory,
};

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
    /// Rows of data.
    pub feeders: Arc<Feeders>,
    /// Of what is done once for the whole run: what is to be left of it.
    pub left: Option<Left>,
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
    /// What texts are made of.
    pub shared: Shared,
    /// Rows of data.
    pub feeders: Arc<Feeders>,
    /// What is measured.
    pub meter: Meter,
    /// All waiting.
    pub timers: Timers,
    /// Where connections go and how they are made.
    pub network: Network,
    /// For rendering one request.
    pub render: RefCell<Vec<u8>>,
    /// For one read.
    pub read: RefCell<Box<[u8]>>,
    /// Heads of the last answers, by the index of the request's name: most are the same again.
    pub heads: RefCell<Box<[HeadMemory]>>,
    deadlines: RefCell<Deadlines>,
    next_sweep: Cell<Nanos>,
    run_start: Cell<Nanos>,
    seats: RefCell<Vec<Rc<Seat>>>,
    /// Seats that nobody has any more.
    free_seats: RefCell<Vec<Rc<Seat>>>,
    /// Of what is done once for the whole run: what is left of it.
    left: Option<RefCell<Left>>,
    /// Why a value could not be set, as it was told last.
    unset: RefCell<String>,
    scenarios: Vec<Rc<ScenarioRun>>,
}

/// Runs a worker on the calling thread until all its users have ended. Returns what is left of what
/// is done once for the whole run, if that was its work.
///
/// # Errors
/// When the system refuses the loop its descriptors.
pub fn run(assignment: Assignment) -> io::Result<Option<Left>> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // Lookups of names; there is one at a time for each, so one that hangs holds up no other.
    builder.enable_io().max_blocking_threads(4);
    if needs_general(&assignment.compiled.target) {
        // The general client has timers of its own; nothing else here uses the runtime's.
        builder.enable_time();
    }
    let runtime = builder.build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let mut commands = assignment.commands.clone();
        let worker = Rc::new(Worker::new(assignment)?);
        worker.turn_until_over(&mut commands).await?;
        let load_end = worker.scenarios.iter().map(|scenario| scenario.load_end());
        worker
            .meter
            .finish(clock::now(), load_end.max().unwrap_or(0))
            .await;
        Ok(worker.left.as_ref().map(RefCell::take))
    })
}

impl Worker {
    fn new(assignment: Assignment) -> io::Result<Self> {
        let Assignment {
            compiled,
            feeders,
            left,
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
        let shared = Shared::new(
            Arc::clone(&compiled.inputs),
            &compiled.run_id,
            compiled.seed,
            runner.index,
            left.as_ref().map_or(worker, |left| left.number),
        );
        Ok(Self {
            shared,
            feeders,
            left: left.map(RefCell::new),
            unset: RefCell::default(),
            meter,
            timers: Timers::new()?,
            network: Network::new(&compiled),
            render: RefCell::default(),
            read: RefCell::new(vec![0; READ_BUFFER].into_boxed_slice()),
            heads: RefCell::new((0..compiled.series).map(|_| HeadMemory::new()).collect()),
            deadlines: RefCell::new(Deadlines::new(compiled.timeouts.len())),
            next_sweep: Cell::new(0),
            run_start: Cell::new(Nanos::MAX),
            seats: RefCell::default(),
            free_seats: RefCell::default(),
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

    /// A user of an open model has begun or ended an iteration; one of a closed model has come or
    /// gone.
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
        if scenario.alive.get() == 0 {
            // The loop may be waiting for this alone.
            self.timers.arm(clock::now());
        }
    }

    /// Counts an arrival that begins now.
    pub fn count_start(&self, intended: Nanos, now: Nanos, waited_for_user: bool) {
        let lateness = now.saturating_sub(intended);
        self.meter.count(now, intended, |set| {
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
                self.meter.begin(now, self.run_start.get());
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

    /// A seat that nobody has.
    pub fn take_seat(&self, scenario: usize, arrival: Option<Nanos>) -> Rc<Seat> {
        let mut free = self.free_seats.borrow_mut();
        let known = free.iter().position(|seat| seat.scenario == scenario);
        if let Some(place) = known {
            let seat = free.swap_remove(place);
            seat.arrival.set(arrival);
            return seat;
        }
        let mut seats = self.seats.borrow_mut();
        let seat = Rc::new(Seat::new(seats.len() as u32, scenario, arrival));
        seats.push(Rc::clone(&seat));
        seat
    }

    /// Its owner is gone, and waits for nothing.
    pub fn give_seat_back(&self, seat: Rc<Seat>) {
        self.free_seats.borrow_mut().push(seat);
    }

    /// Somebody found no row for an iteration: the loop ends what needs one.
    pub fn out_of_rows(&self) {
        self.timers.arm(clock::now());
    }

    /// What a new user remembers, if there is anything.
    pub fn new_memory(&self) -> Option<Rc<RefCell<Memory>>> {
        let inputs = &self.shared.inputs;
        let memory = || Rc::new(RefCell::new(Memory::new(inputs)));
        self.compiled.needs_memory.then(memory)
    }

    /// Whether this is done once for the whole run, so that nothing of it may fail.
    pub fn is_errand(&self) -> bool {
        self.left.is_some()
    }

    /// An iteration has ended because a value could not be set: no request failed by it, so that it
    /// is in no count of failures. Of what is done once it is the reason; else it is logged when it
    /// is another one than the last, for it may come at the rate of the load.
    #[cold]
    pub fn note_unset(&self, problem: String) {
        let mut last = self.unset.borrow_mut();
        if *last == problem {
            return;
        }
        if let Some(left) = &self.left {
            left.borrow_mut().unset = Some(problem.clone());
        } else {
            tracing::warn!(problem, "an iteration ended: a value could not be set");
        }
        *last = problem;
    }

    /// A repeat has ended at its `max`, with more to do: told once, for it may come at the rate of
    /// the load.
    #[cold]
    pub fn note_cut_off(&self, repeat: &CompiledRepeat) {
        if repeat.cut_off.swap(true, Ordering::Relaxed) {
            return;
        }
        let CompiledRepeat { name, max, .. } = repeat;
        let note = format!("repeat of flow {name:?} was cut off at its max of {max}: raise `max`");
        if let Some(witness) = &self.shared.inputs.witness {
            witness.note(note);
        } else {
            tracing::warn!("{note}");
        }
    }

    /// An iteration has ended well: of what is done once, its values are left.
    pub fn keep_what_is_left(&self, memory: Option<&RefCell<Memory>>) {
        if let Some(left) = &self.left {
            left.borrow_mut().keep(memory);
        }
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
