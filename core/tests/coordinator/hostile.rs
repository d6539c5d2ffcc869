//! Reports of an image that means harm: what is refused, and that it is refused before there is
//! memory for it.

use loadtest_core::{
    coordinator::Refused,
    histogram::{Histogram, MAX_MICROS, NAME_DIGITS, TOTAL_DIGITS},
    plan::MAX_SERIES,
    report::{self, Delta, EngineReport, EngineState},
    series::{ErrorKey, GroupSeries, MAX_ERROR_KINDS, Outcome, Sample, Series, SeriesSet},
};

use crate::harness::*;

/// One request by name, counted with so many digits.
fn row(digits: u8) -> Series {
    let mut series = Series::default();
    let sample = Sample {
        outcome: Outcome::Ok,
        status: 200,
        latency_us: 5,
        service_us: 5,
        bytes_sent: 1,
        bytes_received: 1,
    };
    series.record(&sample, digits);
    series
}

fn group(digits: u8) -> GroupSeries {
    let mut group = GroupSeries::default();
    group.record(false, 5, digits);
    group
}

/// What reading a report of this says.
fn refusal(set: SeriesSet) -> Option<String> {
    let delta = Delta {
        sequence: 1,
        full: true,
        set,
        warm_up: Series::default(),
    };
    let report = Engine::new(0).report(EngineState::Running, Some(delta));
    let bytes = report::encode(&report).unwrap();
    let read = report::decode::<EngineReport>(&bytes);
    read.err().map(|error| error.to_string())
}

fn named(by_name: Vec<Series>) -> SeriesSet {
    SeriesSet {
        by_name,
        ..SeriesSet::default()
    }
}

#[test]
fn lists_longer_than_any_plan_has_are_refused() {
    let most = MAX_SERIES;
    let groups = |count| SeriesSet {
        groups: vec![group(NAME_DIGITS); count],
        ..SeriesSet::default()
    };
    let checks = |count| SeriesSet {
        checks: vec![(1, 0); count],
        ..SeriesSet::default()
    };
    for set in [
        named(vec![row(NAME_DIGITS); most]),
        groups(most),
        checks(most),
    ] {
        assert_eq!(refusal(set), None);
    }
    let said = "cannot decode the message: a list is longer than 200";
    for set in [
        named(vec![Series::default(); most + 1]),
        groups(most + 1),
        checks(most + 1),
    ] {
        assert_eq!(refusal(set).as_deref(), Some(said));
    }
}

#[test]
fn kinds_of_errors_are_bounded_on_the_wire_as_they_are_in_memory() {
    let mut set = SeriesSet::default();
    for outcome in Outcome::ALL {
        for number in 0..MAX_ERROR_KINDS {
            let message = format!("{} {number}", outcome.name());
            let (series, count) = (0, 1);
            set.count_error(
                ErrorKey {
                    outcome,
                    series,
                    message,
                },
                count,
            );
        }
    }
    assert_eq!(refusal(set.clone()), None, "as many as a runner can have");
    for number in 0..MAX_ERROR_KINDS as u32 {
        let key = ErrorKey {
            outcome: Outcome::Status,
            series: number,
            message: String::new(),
        };
        set.errors.insert(key, 1);
    }
    let said = "cannot decode the message: a list is longer than 83";
    assert_eq!(refusal(set).as_deref(), Some(said));
}

#[test]
fn what_an_engine_tells_beside_its_numbers_is_bounded_too() {
    let read = |report: &EngineReport| {
        let bytes = report::encode(report).unwrap();
        report::decode::<EngineReport>(&bytes)
            .err()
            .map(|error| error.to_string())
    };
    let said = Some("cannot decode the message: a list is longer than 200".to_owned());
    let mut report = Engine::new(0).report(EngineState::Running, None);
    report.exhausted = vec![0; MAX_SERIES];
    report.setup = Some(
        (0..MAX_SERIES)
            .map(|n| (n.to_string(), String::new()))
            .collect(),
    );
    assert_eq!(read(&report), None);
    report.exhausted.push(0);
    assert_eq!(read(&report), said);
    report.exhausted.clear();
    report.setup = Some(
        (0..=MAX_SERIES)
            .map(|n| (n.to_string(), String::new()))
            .collect(),
    );
    assert_eq!(read(&report), said);
}

#[test]
fn a_list_that_is_too_long_is_refused_by_its_length_alone() {
    // `by_name` begins after the field's name with its length: 20,000 rows, of which none is there.
    let mut bytes = report::encode(&named(vec![Series::default(); 20_000])).unwrap();
    let name = b"by_name";
    let place = bytes.windows(name.len()).position(|part| part == name);
    let end = place.unwrap() + name.len() + 3;
    bytes.truncate(end);
    let error = report::decode::<SeriesSet>(&bytes).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot decode the message: a list is longer than 200"
    );
}

#[test]
fn only_totals_have_the_precision_of_totals() {
    let said = "cannot decode the message: a histogram of a name has the precision of totals";
    assert_eq!(
        refusal(named(vec![row(TOTAL_DIGITS)])).as_deref(),
        Some(said)
    );
    let groups = SeriesSet {
        groups: vec![group(NAME_DIGITS), group(TOTAL_DIGITS)],
        ..SeriesSet::default()
    };
    assert_eq!(refusal(groups).as_deref(), Some(said));
    let total = SeriesSet {
        total: row(TOTAL_DIGITS),
        ..named(vec![row(NAME_DIGITS), Series::default()])
    };
    assert_eq!(refusal(total), None);
}

/// A histogram as it travels, with another header.
fn histogram(change: impl Fn(&mut Vec<u8>)) -> Option<String> {
    let mut histogram = Histogram::default();
    histogram.record(5, TOTAL_DIGITS);
    let mut bytes = report::encode(&histogram).unwrap();
    // An array of four: three numbers of a byte, and bytes with their length.
    let mut hdr = bytes.split_off(6);
    change(&mut hdr);
    bytes[5] = u8::try_from(hdr.len()).unwrap();
    bytes.extend(hdr);
    let read = report::decode::<Histogram>(&bytes);
    read.err().map(|error| error.to_string())
}

#[test]
fn a_histogram_is_made_only_when_its_header_is_ours() {
    assert_eq!(histogram(|_| ()), None);
    let said = "cannot decode the message: histogram has bounds that no runner uses";
    let put = |at: usize, value: &[u8]| {
        let value = value.to_vec();
        histogram(move |hdr| hdr[at..at + value.len()].copy_from_slice(&value))
    };
    // Of HDR's V2: cookie, length of the counts, offset, digits, lowest, highest, ratio.
    let cases = [
        (
            "a quarter of a gigabyte of counts",
            put(4, &(1_u32 << 28).to_be_bytes()),
        ),
        ("fewer counts than there are", put(4, &1_u32.to_be_bytes())),
        ("compressed counts", put(0, &0x1c84_9314_u32.to_be_bytes())),
        ("another precision", put(12, &5_u32.to_be_bytes())),
        ("another lowest value", put(16, &2_u64.to_be_bytes())),
        (
            "another highest value",
            put(24, &(2 * MAX_MICROS).to_be_bytes()),
        ),
        ("no counts", histogram(|hdr| hdr.truncate(39))),
    ];
    for (what, refusal) in cases {
        assert_eq!(refusal.as_deref(), Some(said), "{what}");
    }
}

#[test]
fn more_rows_than_the_plan_has_are_refused_and_nothing_is_changed() {
    let mut plan = plan(1, &[], false);
    plan.checks = vec!["in stock".into()];
    let mut coordinator = new(plan);
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let good = SeriesSet {
        by_name: vec![row(NAME_DIGITS)],
        checks: vec![(1, 0)],
        ..requests(1, 5, Outcome::Ok)
    };
    let mut longer = [good.clone(), good.clone(), good.clone()];
    longer[0].by_name.push(row(NAME_DIGITS));
    longer[1].checks.push((1, 0));
    longer[2].groups.push(group(NAME_DIGITS));
    let expected = [("request names", 2, 1), ("checks", 2, 1), ("groups", 1, 0)];
    for (set, (rows, found, most)) in longer.into_iter().zip(expected) {
        let delta = Delta {
            sequence: 1,
            full: true,
            set,
            warm_up: Series::default(),
        };
        let report = engine.report(EngineState::Finished, Some(delta));
        let refused = coordinator.engine_report(0, report, start + SECOND);
        let too_many = Refused::TooManyRows {
            runner: 0,
            rows,
            found,
            most,
        };
        assert_eq!(refused, Err(too_many));
    }
    let mut report = engine.report(EngineState::Finished, None);
    report.exhausted = vec![0];
    let refused = coordinator.engine_report(0, report, start + SECOND);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "runner 0 reports 1 feeders, the plan has 0"
    );
    assert_eq!(coordinator.merged().total.requests, 0);
    assert!(coordinator.unconfirmed_judgement().is_none());
    engine.send(
        &mut coordinator,
        good,
        EngineState::Finished,
        start + SECOND,
    );
    assert_eq!(coordinator.merged().by_name.len(), 1);
    assert!(coordinator.unconfirmed_judgement().is_some());
}

#[test]
fn times_that_cannot_be_are_no_end_of_the_arithmetic() {
    let mut coordinator = new(plan(1, &[], false));
    let mut engine = Engine::new(0);
    let start = started(&mut coordinator, std::slice::from_mut(&mut engine), 0);
    let end = start + 10 * SECOND;
    let mut report = engine.report(EngineState::Finished, None);
    report.began = Some(i64::MIN);
    report.load_ended = Some(i64::MIN);
    coordinator.engine_report(0, report, end).unwrap();
    let view = coordinator.unconfirmed_judgement().unwrap();
    let summary = view.summary.as_ref().unwrap();
    assert_eq!(summary.duration, std::time::Duration::ZERO);
}
