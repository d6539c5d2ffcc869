use proptest::prelude::*;

use super::*;

/// A record that owns its text.
pub(crate) type Owned = (Record<'static>, Option<String>);

pub(crate) fn any_record() -> impl Strategy<Value = Owned> {
    let phases = prop::array::uniform6(prop_oneof![Just(0_u32), 1..100_000_u32, any::<u32>()]);
    let numbers = (
        0..200_u32,
        any::<u32>(),
        (
            any::<u32>(),
            prop_oneof![Just(0_u32), 1..50_u32, any::<u32>()],
        ),
        0..200_000_u32,
        0..200_000_u32,
    );
    let ends = (
        prop_oneof![Just(200_u16), any::<u16>()],
        0..17_u8,
        any::<bool>(),
        any::<bool>(),
    );
    let checks = prop_oneof![3 => Just(0_u64), 1 => any::<u64>()];
    let error = prop_oneof![4 => Just(None), 1 => ".{0,40}".prop_map(Some), 1 => ".{900,1100}".prop_map(Some)];
    (any::<u64>(), phases, numbers, ends, checks, error).prop_map(
        |(sent_ns, [late, dns, connect, send, wait, receive], numbers, ends, checks, error)| {
            let (step, user, (iteration, sequence), bytes_sent, bytes_received) = numbers;
            let record = Record {
                sent_ns,
                late_us: late,
                dns_us: dns,
                connect_us: connect,
                tls_us: connect / 2,
                send_us: send,
                wait_us: wait,
                receive_us: receive,
                step,
                user,
                iteration,
                sequence,
                status: ends.0,
                outcome: Outcome::from_u8(ends.1).unwrap(),
                failed_checks: checks,
                bytes_sent,
                bytes_received,
                reused: ends.2,
                warm_up: ends.3,
                error: None,
            };
            (record, error)
        },
    )
}

pub(crate) fn with_text((record, error): &Owned) -> Record<'_> {
    Record {
        error: error.as_deref(),
        ..*record
    }
}

/// As it comes back: with its text cut.
pub(crate) fn cut<'a>(record: &Record<'a>) -> Record<'a> {
    let error = record
        .error
        .map(|text| &text[..text.floor_char_boundary(MAX_ERROR_BYTES)]);
    Record { error, ..*record }
}

proptest! {
    #[test]
    fn what_is_packed_comes_back(records in prop::collection::vec((any_record(), 0..300_u64), 1..40)) {
        let begin = records[0].0.0.sent_ns;
        let (mut context, mut n) = (Context::new(begin, 7), 7);
        let (mut packed, mut bytes, mut expected) = (Packed::new(), Vec::new(), Vec::new());
        for (owned, gap) in &records {
            let record = with_text(owned);
            n += gap;
            packed.pack(&record, n, &mut context);
            prop_assert!(packed.bytes().len() <= room_for(&record));
            bytes.extend_from_slice(packed.bytes());
            expected.push((n, cut(&record)));
            n += 1;
        }
        let unpacked: Vec<_> = Records::new(&bytes, Context::new(begin, 7)).collect();
        prop_assert_eq!(unpacked, expected);
    }

    #[test]
    fn foreign_bytes_end_the_records_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Records::new(&bytes, Context::new(0, 0)).count() <= bytes.len());
    }
}

#[test]
fn a_usual_record_takes_about_13_bytes() {
    let (mut context, mut packed, mut bytes) = (Context::new(0, 0), Packed::new(), 0);
    for n in 0..1_000_u32 {
        let record = Record {
            sent_ns: u64::from(n) * 25_000,
            late_us: 3,
            dns_us: 0,
            connect_us: 0,
            tls_us: 0,
            send_us: 11,
            wait_us: 950 + n % 100,
            receive_us: 9,
            step: n % 4,
            user: n % 64,
            iteration: n / 64,
            sequence: n % 4,
            status: 200,
            outcome: Outcome::Ok,
            failed_checks: 0,
            bytes_sent: 120,
            bytes_received: 400 + n % 3,
            reused: true,
            warm_up: false,
            error: None,
        };
        packed.pack(&record, n.into(), &mut context);
        bytes += packed.bytes().len();
    }
    assert!(bytes / 1_000 <= 15, "{bytes} bytes for 1000 records");
}
