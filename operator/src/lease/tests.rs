//! A model of three replicas, their clocks, the network and the API server, and the law that at no
//! moment two of them act.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;

use super::election::{Answer, Election, Record, Request, Step, Stored, Timing};

/// Microseconds of the model's own, true time.
type True = u64;

const TICK: True = 20_000;
const SECOND: True = 1_000_000;
/// A client gives up waiting for an answer after this long, on its own clock.
const GIVE_UP: Duration = Duration::from_secs(3);
/// A process that has ended is started anew after this long.
const RESTART: True = 2 * SECOND;

/// What the network does with one request.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// On its way to the API server for this long.
    there: True,
    /// On its way back.
    back: True,
    /// Never arrives.
    lost: bool,
    /// Is done, but nobody hears of it.
    unheard: bool,
}

const GOOD: Fate = Fate {
    there: 20_000,
    back: 20_000,
    lost: false,
    unheard: false,
};

/// What happens to one process, some time after the event before.
#[derive(Debug, Clone, Copy)]
struct Event {
    after: True,
    process: usize,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// Stops running, goes on as if nothing had happened.
    Freeze(True),
    /// Is gone at once.
    Kill,
    /// Is asked to end.
    Resign,
    /// Its wall clock is set.
    SetClock(i64),
    /// Somebody changes labels of the Lease.
    Touch,
}

struct Underway {
    request: Request,
    /// On the sender's clock.
    sent: Duration,
    arrives: True,
    fate: Fate,
    answer: Option<(Answer, True)>,
}

struct Process {
    election: Election,
    /// Of its monotonic clock, per true second.
    rate: f64,
    wall_offset: i64,
    frozen_until: True,
    down_until: Option<True>,
    /// Nothing that it sends arrives.
    cut: bool,
    underway: Option<Underway>,
}

impl Process {
    fn local(&self, now: True) -> Duration {
        Duration::from_secs_f64(now as f64 * self.rate / 1e6)
    }

    fn acts(&self, now: True) -> bool {
        let runs = self.down_until.is_none() && self.frozen_until <= now;
        runs && self
            .election
            .valid_until()
            .is_some_and(|until| self.local(now) < until)
    }
}

struct World {
    now: True,
    lease: Option<Stored>,
    versions: u64,
    processes: Vec<Process>,
    /// Writes whose senders are gone or have given up. They still arrive.
    stray: Vec<(Request, True)>,
    fates: VecDeque<Fate>,
    born: u32,
}

impl World {
    fn new(rates: &[f64], fates: Vec<Fate>) -> Self {
        let mut world = Self {
            now: 0,
            lease: None,
            versions: 0,
            processes: Vec::new(),
            stray: Vec::new(),
            fates: fates.into(),
            born: 0,
        };
        for (index, rate) in (0i64..).zip(rates) {
            let process = Process {
                election: world.newborn(),
                rate: *rate,
                wall_offset: index * 7_000_000_000,
                frozen_until: 0,
                down_until: None,
                cut: false,
                underway: None,
            };
            world.processes.push(process);
        }
        world
    }

    fn newborn(&mut self) -> Election {
        self.born += 1;
        Election::new(format!("replica-{}", self.born), Timing::DEFAULT)
    }

    fn actors(&self) -> Vec<usize> {
        let all = self.processes.iter().enumerate();
        all.filter(|(_, process)| process.acts(self.now))
            .map(|(index, _)| index)
            .collect()
    }

    /// The API server.
    fn serve(&mut self, request: &Request) -> Answer {
        match (request, &self.lease) {
            (Request::Read, Some(stored)) => Answer::Stored(stored.clone()),
            (Request::Read | Request::Replace { .. }, None) => Answer::Missing,
            (Request::Create(_), Some(_)) => Answer::Refused,
            (Request::Replace { version, .. }, Some(stored)) if *version != stored.version => {
                Answer::Refused
            }
            (Request::Create(record) | Request::Replace { record, .. }, _) => {
                let record = record.clone();
                Answer::Stored(self.store(record))
            }
        }
    }

    fn store(&mut self, record: Record) -> Stored {
        self.versions += 1;
        let version = self.versions.to_string();
        let stored = Stored { version, record };
        self.lease = Some(stored.clone());
        stored
    }

    fn happen(&mut self, Event { process, what, .. }: Event) {
        let now = self.now;
        let index = process % self.processes.len();
        match what {
            What::Freeze(long) => self.processes[index].frozen_until = now + long,
            What::Kill => self.end(index),
            What::Resign => self.processes[index].election.resign(),
            What::SetClock(offset) => self.processes[index].wall_offset = offset,
            What::Touch => {
                if let Some(stored) = self.lease.clone() {
                    self.store(stored.record);
                }
            }
        }
    }

    fn end(&mut self, index: usize) {
        let process = &mut self.processes[index];
        process.down_until = Some(self.now + RESTART);
        if let Some(underway) = process.underway.take() {
            self.stray.extend(late(underway));
        }
    }

    fn advance(&mut self) {
        self.now += TICK;
        let now = self.now;
        let (due, waiting) = std::mem::take(&mut self.stray)
            .into_iter()
            .partition(|(_, arrives)| *arrives <= now);
        self.stray = waiting;
        for (request, _) in due {
            self.serve(&request);
        }
        for index in 0..self.processes.len() {
            self.arrive(index);
            let process = &mut self.processes[index];
            if process.down_until.is_some_and(|until| until <= now) {
                process.down_until = None;
                process.frozen_until = 0;
                self.processes[index].election = self.newborn();
            }
            let process = &self.processes[index];
            if process.down_until.is_none() && process.frozen_until <= now {
                self.turn(index);
            }
        }
    }

    /// The request of a process reaches the API server, whatever its sender does.
    fn arrive(&mut self, index: usize) {
        let now = self.now;
        let Some(underway) = &self.processes[index].underway else {
            return;
        };
        if underway.answer.is_some() || underway.fate.lost || underway.arrives > now {
            return;
        }
        let (request, back) = (underway.request.clone(), now + underway.fate.back);
        let answer = self.serve(&request);
        if let Some(underway) = &mut self.processes[index].underway {
            underway.answer = Some((answer, back));
        }
    }

    fn turn(&mut self, index: usize) {
        let mut fate = self.fates.front().copied().unwrap_or(GOOD);
        let now = self.now;
        let process = &mut self.processes[index];
        fate.lost |= process.cut;
        let local = process.local(now);
        if let Some(underway) = process.underway.take() {
            let answer = match &underway.answer {
                Some((answer, back)) if *back <= now && !underway.fate.unheard => answer.clone(),
                _ if local >= underway.sent + GIVE_UP => Answer::Unknown,
                _ => {
                    process.underway = Some(underway);
                    return;
                }
            };
            process
                .election
                .take(&underway.request, underway.sent, local, answer);
            self.stray.extend(late(underway));
        }
        let process = &mut self.processes[index];
        let wall = now.cast_signed() + process.wall_offset;
        match process.election.step(local, wall) {
            Step::Ask(request) => {
                process.underway = Some(Underway {
                    request,
                    sent: local,
                    arrives: now + fate.there,
                    fate,
                    answer: None,
                });
                self.fates.pop_front();
            }
            Step::Wait(until) => assert!(until > local, "waits for the past"),
            Step::Over => self.end(index),
        }
    }
}

/// A write that has not arrived yet still will.
fn late(underway: Underway) -> Option<(Request, True)> {
    let arrives = !underway.fate.lost && underway.answer.is_none();
    arrives.then_some((underway.request, underway.arrives))
}

fn fate() -> impl Strategy<Value = Fate> {
    let way = || {
        prop_oneof![
            6 => 0..200_000u64,
            2 => 0..4 * SECOND,
            1 => 0..40 * SECOND,
        ]
    };
    let happens = || prop::bool::weighted(0.1);
    (way(), way(), happens(), happens()).prop_map(|(there, back, lost, unheard)| Fate {
        there,
        back,
        lost,
        unheard,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        (0..30 * SECOND).prop_map(What::Freeze),
        Just(What::Kill),
        Just(What::Resign),
        (-100_000_000_000i64..100_000_000_000).prop_map(What::SetClock),
        Just(What::Touch),
    ];
    (0..20 * SECOND, 0..3usize, what).prop_map(|(after, process, what)| Event {
        after,
        process,
        what,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the network delays, drops and leaves unheard, whoever freezes, dies, resigns or
    /// sets a clock: never two actors, and when all is well again, one.
    #[test]
    fn never_two_actors_and_one_when_all_is_well(
        rates in prop::collection::vec(0.85f64..1.2, 3),
        fates in prop::collection::vec(fate(), 0..120),
        events in prop::collection::vec(event(), 0..16),
    ) {
        let mut world = World::new(&rates, fates);
        let mut events = VecDeque::from(events);
        let mut due = events.front().map_or(0, |event| event.after);
        while !events.is_empty() || world.now < 60 * SECOND {
            world.advance();
            while world.now >= due && let Some(event) = events.pop_front() {
                world.happen(event);
                due = world.now + events.front().map_or(0, |event| event.after);
            }
            let actors = world.actors();
            prop_assert!(actors.len() <= 1, "{actors:?} act at {} us", world.now);
        }
        world.fates.clear();
        // The last freeze and the last stray write, then a lease duration of the slowest clock.
        for _ in 0..(75 * SECOND / TICK) {
            world.advance();
            let actors = world.actors();
            prop_assert!(actors.len() <= 1, "{actors:?} act at {} us", world.now);
        }
        prop_assert_eq!(world.actors().len(), 1, "{:?}", world.lease);
    }
}

/// Until somebody acts; how long it took.
fn until_somebody_acts(world: &mut World) -> f64 {
    let begun = world.now;
    while world.actors().is_empty() {
        world.advance();
        assert!(world.now < begun + 90 * SECOND, "nobody acts");
    }
    (world.now - begun) as f64 / 1e6
}

/// Two replicas, one of which acts, for a while.
fn pair() -> (World, usize) {
    let mut world = World::new(&[1.0, 1.0], Vec::new());
    world.store(Record::default());
    let took = until_somebody_acts(&mut world);
    assert!(
        took < 1.0,
        "a lease that nobody held was taken after {took} s"
    );
    for _ in 0..(20 * SECOND / TICK) {
        world.advance();
    }
    let leader = world.actors()[0];
    (world, leader)
}

#[test]
fn a_dead_leader_is_replaced_within_twenty_seconds() {
    let (mut world, leader) = pair();
    world.end(leader);
    let took = until_somebody_acts(&mut world);
    // A lease duration after the other saw the last renewal, which it looks for every 2 to 2.5 s.
    assert!((13.0..18.0).contains(&took), "{took} s");
    let lease = world.lease.unwrap().record;
    assert_eq!(lease.transitions, 2, "the first holder, then another");
}

#[test]
fn a_leader_that_resigns_is_replaced_at_once() {
    let (mut world, leader) = pair();
    world.processes[leader].election.resign();
    assert!(!world.processes[leader].acts(world.now), "it stops first");
    let took = until_somebody_acts(&mut world);
    assert!(took < 3.0, "{took} s");
}

#[test]
fn a_leader_that_cannot_renew_stops_before_another_begins() {
    let (mut world, leader) = pair();
    world.processes[leader].cut = true;
    let begun = world.now;
    let mut stopped = None;
    while world.actors() != [1 - leader] {
        world.advance();
        if world.actors().is_empty() {
            stopped.get_or_insert(world.now - begun);
        }
        assert!(world.now < begun + 30 * SECOND, "nobody took over");
    }
    let stopped = stopped.expect("there must be a time in which nobody acts") as f64 / 1e6;
    // The renew deadline after the last renewal was sent, which was up to 2 s before.
    assert!((7.9..10.1).contains(&stopped), "{stopped} s");
}

#[test]
fn a_lease_that_was_deleted_is_made_anew_by_its_holder() {
    let (mut world, leader) = pair();
    world.lease = None;
    for _ in 0..(20 * SECOND / TICK) {
        world.advance();
        assert_eq!(world.actors(), [leader], "at {} us", world.now);
    }
    let holder = world.lease.unwrap().record.holder;
    assert_eq!(
        Some(holder.as_str()),
        world.processes[leader].election.holder()
    );
}

#[test]
fn without_a_lease_a_candidate_waits_for_a_holder_that_may_be_there() {
    let mut world = World::new(&[1.0], Vec::new());
    let took = until_somebody_acts(&mut world);
    assert!((15.0..16.0).contains(&took), "{took} s");
}

#[test]
fn a_claim_for_a_year_is_not_believed() {
    let mut world = World::new(&[1.0], Vec::new());
    world.store(Record {
        holder: "kubectl edit".to_owned(),
        duration: Duration::from_hours(8_760),
        ..Record::default()
    });
    let took = until_somebody_acts(&mut world);
    assert!((60.0..61.0).contains(&took), "{took} s");
}
