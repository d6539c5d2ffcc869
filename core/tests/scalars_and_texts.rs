//! What people write and read: scalars, templates, threshold expressions.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::{collections::BTreeMap, time::Duration};

use loadtest_core::{
    identity,
    scalar::{
        Rate, StatusRange, format_duration, format_latency, format_ratio, format_rounded_duration,
        parse_duration, parse_percent,
    },
    template::{Names, Position, Segment, Slot, Template},
    threshold::Threshold,
};
use proptest::prelude::*;

#[test]
fn durations_are_whole_numbers_with_units() {
    for (text, millis) in [
        ("500ms", 500),
        ("30s", 30_000),
        ("1m30s", 90_000),
        ("1h", 3_600_000),
        ("0s", 0),
    ] {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
    for text in [
        "",
        "5",
        "s",
        "1.5s",
        "-1s",
        "1 s",
        "1d",
        "1s1",
        "99999999999999999999s",
        "9999999h",
    ] {
        assert!(parse_duration(text).is_err(), "{text:?} was taken");
    }
}

proptest! {
    #[test]
    fn a_written_duration_reads_back(micros in 0_u64..10_000_000_000) {
        let duration = Duration::from_micros(micros);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn a_latency_has_three_significant_digits(micros in 1_000_u64..900_000_000) {
        let text = format_latency(micros);
        let digits = text.trim_end_matches(char::is_alphabetic);
        let value: f64 = digits.parse().unwrap();
        let unit = if text.ends_with("ms") { 1e3 } else { 1e6 };
        prop_assert!((value * unit - micros as f64).abs() <= micros as f64 * 0.0051, "{text}");
        prop_assert!(digits.chars().filter(char::is_ascii_digit).count() >= 3, "{text}");
    }
}

#[test]
fn durations_are_read_by_people() {
    for (millis, text) in [
        (0, "0s"),
        (200, "200ms"),
        (20_013, "20s"),
        (20_349, "20.3s"),
        (90_600, "1m31s"),
    ] {
        let duration = std::time::Duration::from_millis(millis);
        assert_eq!(format_rounded_duration(duration), text);
    }
}

#[test]
fn latencies_read_well_at_the_borders() {
    for (micros, text) in [
        (0, "0us"),
        (999, "999us"),
        (1_000, "1.00ms"),
        (9_994, "9.99ms"),
        (9_996, "10.0ms"),
        (12_449, "12.4ms"),
        (99_960, "100ms"),
        (999_400, "999ms"),
        (999_600, "1.00s"),
        (125_000_000, "125s"),
    ] {
        assert_eq!(format_latency(micros), text);
    }
}

#[test]
fn a_ratio_never_hides_a_failure() {
    for (ratio, text) in [
        (0.0, "0%"),
        (0.000_001, "<0.01%"),
        (0.0025, "0.25%"),
        (0.5, "50%"),
        (0.999_999, "99.99%"),
        (1.0, "100%"),
    ] {
        assert_eq!(format_ratio(ratio), text);
    }
}

#[test]
fn rates_percentages_and_statuses() {
    assert_eq!("200/s".parse::<Rate>().unwrap().to_string(), "200/s");
    assert!(("30/m".parse::<Rate>().unwrap().per_second() - 0.5).abs() < 1e-9);
    for text in ["200", "/s", "1.5/s", "200/h", "-1/s", "9999999999/s"] {
        assert!(text.parse::<Rate>().is_err(), "{text:?} was taken");
    }
    assert_eq!(parse_percent("1%"), Ok(0.01));
    for text in ["1", "%", "101%", "-1%", "1.1.1%"] {
        assert!(parse_percent(text).is_err(), "{text:?} was taken");
    }
    let range: StatusRange = "200-399".parse().unwrap();
    assert!(range.contains(200) && range.contains(399) && !range.contains(400));
    for text in ["2xx", "99", "600", "300-200", "", "200-"] {
        assert!(text.parse::<StatusRange>().is_err(), "{text:?} was taken");
    }
}

#[test]
fn templates_put_variables_in_and_keep_slots() {
    let variables = BTreeMap::from([("q".to_owned(), "a b&\"c".to_owned())]);
    let names = Names::of_variables(variables);
    let parse = |text, position| Template::parse(text, position, &names);
    let url = parse("/s?q=$(var.q)&u=$(user.index)", Position::Url).unwrap();
    assert_eq!(
        url.segments,
        [
            Segment::Text("/s?q=a%20b%26%22c&u=".into()),
            Segment::Slot(Slot::UserIndex)
        ]
    );
    let json = parse("say \"$(var.q)\"", Position::Json).unwrap();
    assert_eq!(json.to_display(), "say \\\"a b&\\\"c\\\"");
    assert_eq!(
        parse("cost $$(5)", Position::Text).unwrap(),
        Template::literal("cost $(5)")
    );
    assert_eq!(parse("", Position::Text).unwrap().segments, []);
}

#[test]
fn templates_refuse_what_no_runner_could_know() {
    let variables = BTreeMap::from([("bad".to_owned(), "a\r\nb".to_owned())]);
    let names = Names::of_variables(variables);
    let refusal = |text, position| {
        Template::parse(text, position, &names)
            .unwrap_err()
            .to_string()
    };
    assert!(refusal("/x/$(var.id)", Position::Url).contains("spec.variables has no \"id\""));
    assert!(refusal("/x/$(products.id)", Position::Url).contains("$(products.id) is not known"));
    assert!(refusal("/x/$(user.index", Position::Url).contains("close it"));
    assert!(refusal("$(var.bad)", Position::Header).contains("control character"));
}

#[test]
fn thresholds_say_what_is_wrong_with_them() {
    for good in [
        "latency.p99 < 250ms",
        "serviceTime.mean <= 1s",
        "errors.ratio < 1%",
        "errors.count == 0",
        "requests.rate > 100/s",
        "delivered.ratio >= 99%",
        "bytes.received > 0",
        "bytes.sent < 4294967296",
        "bytes.sent < 9007199254740992",
    ] {
        assert_eq!(Threshold::parse(None, good).unwrap().name, good);
    }
    for (bad, part) in [
        ("latency.p99 < 250", "not a duration"),
        ("latency.p98 < 250ms", "not a metric"),
        ("latency < 250ms", "not a metric"),
        ("latency.p99 =< 250ms", "not a comparison"),
        ("latency.p99<250ms", "not a threshold"),
        ("errors.ratio < 0.01", "not a percentage"),
        ("errors.count < 1.5", "not a whole number"),
        ("errors.count < -1", "not a whole number"),
        (
            "bytes.sent < 9007199254740993",
            "\"9007199254740993\" is not a whole number from 0 to 9007199254740992",
        ),
        ("requests.rate > 100", "not a rate"),
        ("", "not a threshold"),
    ] {
        let message = Threshold::parse(None, bad).unwrap_err().to_string();
        assert!(message.contains(part), "{bad:?} said {message:?}");
    }
}

#[test]
fn identities_are_derived_and_keep_parts_apart() {
    assert_eq!(identity::run_id("uid-1"), identity::run_id("uid-1"));
    assert_eq!(identity::run_id("uid-1").len(), 32);
    assert_ne!(
        identity::derive(&["ab", "c"]),
        identity::derive(&["a", "bc"])
    );
    let key = |text: &str| identity::run_key(&serde_json::from_str(text).unwrap());
    assert_eq!(key(r#"{"a":1,"b":2}"#), key(r#"{ "b": 2, "a": 1 }"#));
    assert_ne!(key(r#"{"a":1}"#), key(r#"{"a":"1"}"#));
}
