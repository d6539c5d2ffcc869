//! Samples: the first failed exchanges of each kind, with what the server said.
//!
//! A request that succeeds does nothing for them. One that fails looks into the table in which its
//! kind is counted anyway, and only while samples of it are wanted a text is made. All bounds are
//! here.

use std::{borrow::Cow, cell::RefCell, collections::HashMap};

use loadtest_core::series::Outcome;

use super::{
    connection::{Connection, Exchange, Said},
    message::{self, Values},
    redaction::{Redaction, cut},
    rehearsal::origin_of,
};
use crate::{
    clock::Nanos,
    pool::{FailureSample, Stage},
    step_kind::Reply,
};

/// Samples of one kind of failure: one may be chance, three show what they have in common.
pub const PER_KIND: u32 = 3;

/// Samples of one runner over all kinds. Together at most 400 KiB of text, and a thousand runners
/// do not send more documents of them than of a few minutes of intervals.
pub const PER_RUNNER: u32 = 100;

/// What is shown of a body: an error and its reason, not a page of HTML.
const BODY_BYTES: usize = 1 << 10;

/// What is shown of a url.
pub const URL_BYTES: usize = 2 << 10;

/// What is shown of a content type.
const CONTENT_TYPE_BYTES: usize = 256;

/// What the meter knows of a failure that is to be kept.
#[derive(Debug)]
pub struct Wanted {
    /// Warm-up or load.
    pub stage: Stage,
    /// How it failed.
    pub outcome: Outcome,
    /// How it failed, in words.
    pub message: String,
    /// Name of the check that did not hold, if it was one.
    pub check: Option<String>,
    /// When it was sent, from the runner's anchor on.
    pub sent_ns: u64,
    /// From the intended start to the end.
    pub latency_us: u64,
}

/// Bytes of a body that are needed to show its beginning without a part of a secret.
pub fn bytes_needed(values: &Values<'_>) -> usize {
    BODY_BYTES + redaction_of(values).longest()
}

/// Of what is secret for everybody, and of what the user and the setup have made of it.
fn redaction_of(values: &Values<'_>) -> Redaction {
    let inputs = &values.shared.inputs;
    let mut made = Vec::new();
    let memory = values.memory.map(RefCell::borrow);
    for index in inputs.private.values() {
        let value = memory.as_ref().and_then(|memory| memory.get(index));
        let name = inputs.value_names.get(index as usize);
        if let (Some(value), Some(name)) = (value, name) {
            made.push((value.as_str().to_owned(), format!("[{name}]")));
        }
    }
    let setup = inputs.setup.get();
    for index in inputs.private.setup() {
        let value = setup.and_then(|values| values.get(index as usize));
        made.extend(value.map(|value| (value.clone(), "[setup]".to_owned())));
    }
    Redaction::of(inputs).and_of_made(&made)
}

/// Makes a sample of a request that has just ended; `status` is 0 without a whole answer.
#[cold]
pub fn take(
    connection: &Connection,
    exchange: &Exchange<'_>,
    status: u16,
    wanted: Wanted,
) -> FailureSample {
    let (worker, values) = (exchange.worker, &exchange.values);
    let head = connection.sent_head(exchange);
    let redaction = redaction_of(values).and_of(&String::from_utf8_lossy(&head));
    let origin = origin_of(worker, exchange.sending.origin);
    let url = origin + message::request_target(&head);
    let needed = BODY_BYTES + redaction.longest();
    let said = if status == 0 {
        Said::default()
    } else {
        connection.said(exchange.request, wanted.outcome, needed)
    };
    let request = (values, exchange.request.series);
    sample(request, &url, (status, &said), &redaction, wanted)
}

/// Makes a sample of a step that is no request and has just ended: its code may have said where it
/// went, and what came back.
#[cold]
pub fn take_of_step(
    request: (&Values<'_>, u32),
    url: &str,
    reply: &Reply,
    wanted: Wanted,
) -> FailureSample {
    let redaction = redaction_of(request.0);
    let said = Said {
        body: reply.body.clone(),
        is_whole: true,
        length: reply.body.len() as u64,
        ..Said::default()
    };
    sample(request, url, (reply.status, &said), &redaction, wanted)
}

fn sample(
    (values, series): (&Values<'_>, u32),
    url: &str,
    (status, said): (u16, &Said),
    redaction: &Redaction,
    wanted: Wanted,
) -> FailureSample {
    let needed = BODY_BYTES + redaction.longest();
    let (body, note) = shown(said, needed, redaction);
    let Wanted {
        stage,
        outcome,
        message,
        check,
        sent_ns,
        latency_us,
    } = wanted;
    FailureSample {
        // The control thread numbers what it admits.
        number: 0,
        sent_ns,
        stage,
        series,
        scenario: values.scenario,
        step: values.step,
        user: values.user,
        iteration: values.iteration,
        sequence: values.sequence,
        outcome,
        message,
        check,
        url: redaction.apply_up_to(url, URL_BYTES).into_owned(),
        status,
        latency_us,
        content_type: redaction
            .apply_up_to(&said.content_type, CONTENT_TYPE_BYTES)
            .into_owned(),
        body,
        body_bytes: said.length,
        note,
    }
}

/// What is shown of a body, and what has to be said about it.
fn shown(said: &Said, needed: usize, redaction: &Redaction) -> (String, String) {
    let mut notes = Vec::new();
    notes.extend(said.missing.map(str::to_owned));
    let beginning = said.body.get(..needed).unwrap_or(&said.body);
    let is_cut = !said.is_whole || beginning.len() < said.body.len();
    let (text, is_text) = text_of(beginning, is_cut);
    let shown = redaction.apply_up_to(&text, BODY_BYTES);
    if !shown.is_empty() && (is_cut || text.len() > BODY_BYTES) {
        notes.push(format!("cut, the body has {} bytes", said.length));
    }
    if !is_text {
        notes.push("not UTF-8, other bytes are shown as \u{fffd}".to_owned());
    }
    (shown.into_owned(), notes.join("; "))
}

/// Bytes as text, and whether they are text. A character that the cut has split is left out.
fn text_of(bytes: &[u8], is_cut: bool) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), true),
        Err(error) if is_cut && error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            (String::from_utf8_lossy(whole), true)
        }
        Err(_) => (String::from_utf8_lossy(bytes), false),
    }
}

/// Bounds the samples of all workers to those of one runner.
#[derive(Debug, Default)]
pub struct Admission {
    /// With the end of the window that they are of: other workers may have earlier ones.
    waiting: Vec<(Nanos, FailureSample)>,
    kinds: HashMap<(Stage, u32, Outcome, String), u32>,
    admitted: u32,
}

impl Admission {
    /// A worker's samples of a window that ended at a time.
    pub fn add(&mut self, window_end: Nanos, samples: Vec<FailureSample>) {
        let waiting = samples.into_iter().map(|sample| (window_end, sample));
        self.waiting.extend(waiting);
    }

    /// Those that are kept of the windows up to a time, all of which have been added.
    pub fn take_until(&mut self, end: Nanos) -> Vec<FailureSample> {
        let (mut ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(window_end, _)| *window_end <= end);
        self.waiting = waiting;
        ready.sort_by_key(|(_, sample)| sample.sent_ns);
        let samples = ready.into_iter().map(|(_, sample)| sample);
        samples.filter_map(|sample| self.admit(sample)).collect()
    }

    /// Gives a sample its number, unless there are enough of its kind, or of all.
    fn admit(&mut self, mut sample: FailureSample) -> Option<FailureSample> {
        if self.admitted >= PER_RUNNER {
            return None;
        }
        let message = cut(&sample.message, URL_BYTES).to_owned();
        let kind = (sample.stage, sample.series, sample.outcome, message);
        let known = self.kinds.entry(kind).or_default();
        if *known >= PER_KIND {
            return None;
        }
        *known += 1;
        sample.number = self.admitted;
        self.admitted += 1;
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::script::Inputs;

    fn said(body: &[u8], length: u64) -> Said {
        Said {
            body: body.to_vec(),
            is_whole: body.len() as u64 == length,
            length,
            ..Said::default()
        }
    }

    #[test]
    fn a_body_is_shown_as_text_up_to_a_limit() {
        let none = Redaction::of(&Inputs::default());
        let of = |body: &[u8], length| shown(&said(body, length), BODY_BYTES, &none);
        let plain = |text: &str, note: &str| (text.to_owned(), note.to_owned());
        assert_eq!(of(b"no stock", 8), plain("no stock", ""));
        assert_eq!(of(b"", 0), plain("", ""));
        let long = "x".repeat(2_000);
        let cut = plain(&long[..1_024], "cut, the body has 2000 bytes");
        assert_eq!(of(long.as_bytes(), 2_000), cut);
        assert_eq!(of(&long.as_bytes()[..1_024], 2_000), cut);
        // A character that the cut has split is no sign of bytes that are not text.
        let split = [&long.as_bytes()[..1_023], "é".as_bytes()].concat();
        let expected = plain(&long[..1_023], "cut, the body has 1025 bytes");
        assert_eq!(of(&split, 1_025), expected);
        let lossy = plain("a\u{fffd}b", "not UTF-8, other bytes are shown as \u{fffd}");
        assert_eq!(of(b"a\xffb", 3), lossy);
    }

    #[test]
    fn the_first_of_each_kind_are_kept_whichever_worker_told_first() {
        let sample = |series, sent_ns| FailureSample {
            sent_ns,
            series,
            ..crate::pool::tests::failure_sample(0)
        };
        let mut admission = Admission::default();
        let take = |admission: &mut Admission, until| -> Vec<_> {
            let taken = admission.take_until(until).into_iter();
            taken.map(|s| (s.number, s.series, s.sent_ns)).collect()
        };
        admission.add(2, vec![sample(0, 15), sample(0, 16), sample(0, 17)]);
        assert_eq!(take(&mut admission, 1), []);
        admission.add(2, vec![sample(1, 14), sample(0, 12), sample(0, 13)]);
        assert_eq!(
            take(&mut admission, 2),
            [(0, 0, 12), (1, 0, 13), (2, 1, 14), (3, 0, 15)]
        );
        admission.add(3, vec![sample(0, 25), sample(1, 24)]);
        assert_eq!(take(&mut admission, 3), [(4, 1, 24)]);
        admission.add(4, (2..200).map(|series| sample(series, 30)).collect());
        assert_eq!(take(&mut admission, Nanos::MAX).len(), 95);
    }
}
