//! What a server's answer to a bulk request means. Decisions look at statuses only: the types and
//! texts of errors differ between servers and versions.

use serde::Deserialize;

use super::client::Answer;

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server has it: made now (201) or before (409, our ids are our own).
    Indexed,
    /// Not now, in the server's words (429, 5xx; 401 and 403, which speak of the server's state and
    /// not of the document: missing rights, a disk that is too full): to be sent again.
    Again(String),
    /// Never, for this reason.
    Rejected(String),
}

/// What a whole answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A verdict for each item, in order.
    Verdicts(Vec<Verdict>),
    /// The request was too large (413).
    TooLarge,
    /// The credentials were refused (401, 403).
    Refused(String),
    /// The server has too much to do (429), perhaps with a request of this size alone: the same
    /// items again, in smaller requests.
    Busy(String),
    /// Nothing is known: the same items again.
    Again(String),
}

#[derive(Deserialize)]
struct BulkAnswer {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<ItemError>,
    failure_store: Option<String>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Longest reason that is kept.
const REASON_CHARACTERS: usize = 512;

/// The meaning of an answer to a request with `items` items.
pub(super) fn read(answer: &Answer, items: usize) -> Meaning {
    match answer.status {
        200..=299 => match serde_json::from_str::<BulkAnswer>(&answer.text) {
            Ok(bulk) if bulk.items.len() == items => Meaning::Verdicts(
                bulk.items
                    .into_iter()
                    .map(|item| verdict(item.create))
                    .collect(),
            ),
            Ok(bulk) => Meaning::Again(format!(
                "the answer to a bulk request has {} items instead of {items}",
                bulk.items.len()
            )),
            Err(error) => Meaning::Again(format!(
                "the answer to a bulk request is no whole JSON: {error}"
            )),
        },
        413 => Meaning::TooLarge,
        401 | 403 => Meaning::Refused(describe(answer)),
        429 => Meaning::Busy(describe(answer)),
        _ => Meaning::Again(describe(answer)),
    }
}

/// Status and beginning of an answer that is no success.
pub(super) fn describe(answer: &Answer) -> String {
    let text = sentence(answer.text.trim());
    format!("the search server answered {}: {text}", answer.status)
}

/// The beginning of what a server says, which may end in a terminal: it neither breaks a line nor
/// steers it.
fn sentence(text: &str) -> String {
    let shown = text.chars().take(REASON_CHARACTERS);
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn verdict(outcome: Outcome) -> Verdict {
    if outcome.failure_store.as_deref() == Some("used") {
        return Verdict::Rejected("the document went to the failure store".to_owned());
    }
    let status = outcome.status;
    if matches!(status, 200..=299 | 409) {
        return Verdict::Indexed;
    }
    let (kind, reason) = match outcome.error {
        Some(error) => (error.kind, error.reason.unwrap_or_default()),
        None => Default::default(),
    };
    let text = sentence(&format!("{status} {kind}: {reason}"));
    match status {
        401 | 403 | 429 | 500.. => Verdict::Again(text),
        _ => Verdict::Rejected(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, text: &str, items: usize) -> Meaning {
        read(
            &Answer {
                status,
                text: text.to_owned(),
            },
            items,
        )
    }

    #[test]
    fn what_a_server_says_is_one_line_of_text() {
        let answer = Answer {
            status: 500,
            text: "\u{1b}[31mno\n\nroom\r".to_owned(),
        };
        let said = "the search server answered 500:  [31mno  room";
        assert_eq!(describe(&answer), said);
    }

    #[test]
    fn every_item_gets_its_verdict() {
        let text = r#"{"took":3,"errors":true,"items":[
            {"create":{"status":201}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception"}}},
            {"create":{"status":429,"error":{"type":"whatever"}}},
            {"create":{"status":503}},
            {"create":{"status":403,"error":{"type":"cluster_block","reason":"read-only"}}},
            {"create":{"status":400,"error":{"type":"strict","reason":"field [x]"}}},
            {"create":{"status":201,"failure_store":"used"}},
            {"create":{"status":201,"failure_store":"not_applicable_or_unknown"}}]}"#;
        let rejected = |text: &str| Verdict::Rejected(text.to_owned());
        let again = |text: &str| Verdict::Again(text.to_owned());
        assert_eq!(
            meaning(200, text, 8),
            Meaning::Verdicts(vec![
                Verdict::Indexed,
                Verdict::Indexed,
                again("429 whatever: "),
                again("503 : "),
                again("403 cluster_block: read-only"),
                rejected("400 strict: field [x]"),
                rejected("the document went to the failure store"),
                Verdict::Indexed,
            ])
        );
    }

    #[test]
    fn an_answer_that_is_not_whole_says_nothing() {
        for text in [
            "",
            "{\"items\":[{\"create\":{\"status\":20",
            "{\"items\":[]}",
            "[]",
        ] {
            assert!(matches!(meaning(200, text, 1), Meaning::Again(_)), "{text}");
        }
    }

    #[test]
    fn requests_are_judged_by_status() {
        assert_eq!(meaning(413, "", 1), Meaning::TooLarge);
        assert!(matches!(meaning(401, "who?", 1), Meaning::Refused(_)));
        assert!(matches!(meaning(429, "busy", 1), Meaning::Busy(_)));
        for status in [400, 404, 500, 502, 503, 504] {
            assert!(
                matches!(meaning(status, "x", 1), Meaning::Again(_)),
                "{status}"
            );
        }
    }
}
