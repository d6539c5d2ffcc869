//! Answers that were met or made up, one a file in `corpus`, and what each comes to:
//! `corpus/outcomes.txt`. They are the seeds of the mutations in `fuzz` too.
//!
//! Those named after a server are what it sent; the others are made by hand.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::outcome::{self, Outcome};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "http", "corpus"]
        .iter()
        .collect()
}

/// Every answer by its name.
pub fn answers() -> BTreeMap<String, Vec<u8>> {
    let mut answers = BTreeMap::new();
    for entry in fs::read_dir(folder()).expect("the corpus") {
        let path = entry.expect("a file").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "http")
        {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let answer = fs::read(&path).expect("an answer");
            answers.insert(name.into_owned(), answer);
        }
    }
    answers
}

/// One line on what came of a response to a request other than `HEAD`.
fn describe(outcome: &Outcome, len: usize) -> String {
    let (status, body) = (outcome.status, outcome.body.len());
    match (outcome.end, outcome.closed) {
        (Err(error), _) => format!("{error:?}"),
        (Ok(None), Err(error)) => format!("needs more; closed here: {error:?}"),
        (Ok(None), Ok(())) => format!("{status}, body of {body}, ended by the close"),
        (Ok(Some(end)), _) if end < len => {
            format!("{status}, body of {body}, {} bytes too many", len - end)
        }
        (Ok(Some(_)), _) if outcome.keep_alive => format!("{status}, body of {body}, reusable"),
        (Ok(Some(_)), _) => format!("{status}, body of {body}, not reusable"),
    }
}

#[test]
fn each_answer_comes_to_what_the_list_says_however_it_is_cut() {
    let mut seen = Vec::new();
    for (name, answer) in answers() {
        let whole = outcome::of(&answer);
        for size in 1..20 {
            let cut = outcome::of_pieces(false, answer.chunks(size));
            assert_eq!(cut, whole, "{name} in pieces of {size}");
        }
        seen.push(format!("{name}: {}", describe(&whole, answer.len())));
    }
    let expected = fs::read_to_string(folder().join("outcomes.txt")).expect("the list");
    for (seen, expected) in seen.iter().zip(expected.lines()) {
        assert_eq!(
            seen, expected,
            "left is what was seen, right what outcomes.txt says"
        );
    }
    assert_eq!(seen.len(), expected.lines().count());
}
