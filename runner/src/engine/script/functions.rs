//! The functions of templates, a closed list.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use jiff::{SignedDuration, Timestamp};
use loadtest_core::{
    identity,
    scalar::parse_duration,
    template::{self, Argument, Function, Source, percent_encode},
};
use ring::{digest, hmac};

use super::{
    Compiler, ScriptError,
    jwt::{Algorithm, Jwt},
    term::Term,
};
use crate::engine::{message::Values, rng::Rng};

/// A function with its arguments.
#[derive(Debug)]
pub(super) enum Call {
    Uuid,
    RandomInt {
        min: i64,
        max: i64,
    },
    RandomString(usize),
    RandomChoice(Box<[Term]>),
    Now(TimeForm, SignedDuration),
    Base64(Term, Coding),
    Hex(Term),
    Sha256(Term, Coding),
    HmacSha256 {
        key: Term,
        text: Term,
        coding: Coding,
    },
    UrlEncode(Term),
    Jwt(Box<Jwt>),
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeForm {
    Rfc3339,
    Unix,
    UnixMs,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Hex,
    Base64,
    /// Without padding.
    Base64Url,
}

impl Coding {
    fn of(word: Option<&str>, otherwise: Self) -> Self {
        match word {
            Some("hex") => Self::Hex,
            Some("base64" | "standard") => Self::Base64,
            Some("base64url" | "url") => Self::Base64Url,
            _ => otherwise,
        }
    }

    fn write(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => identity::hex(bytes),
            Self::Base64 => BASE64_STANDARD.encode(bytes),
            Self::Base64Url => BASE64_URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

impl Call {
    /// Makes a function ready.
    ///
    /// # Errors
    /// When it has not the arguments that it takes, or a key that is none.
    pub fn compile(call: &template::Call, compiler: &Compiler<'_>) -> Result<Self, ScriptError> {
        let refused = |reason: String| ScriptError::Call {
            call: Source::Call(Box::new(call.clone())).to_string(),
            reason,
        };
        let term = |place: usize| match call.arguments.get(place) {
            Some(argument) => Term::argument(argument, compiler),
            None => Err(refused(format!("argument {} is missing", place + 1))),
        };
        let word = |place: usize| match call.arguments.get(place) {
            Some(Argument::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let number = |place: usize| {
            let parsed = word(place).and_then(|text| text.parse::<i64>().ok());
            parsed.ok_or_else(|| refused(format!("argument {} is no number", place + 1)))
        };
        Ok(match call.function {
            Function::Uuid => Self::Uuid,
            Function::RandomInt => Self::RandomInt {
                min: number(0)?,
                max: number(1)?,
            },
            Function::RandomString => {
                Self::RandomString(usize::try_from(number(0)?).unwrap_or_default())
            }
            Function::RandomChoice => {
                let terms = (0..call.arguments.len()).map(term);
                Self::RandomChoice(terms.collect::<Result<_, _>>()?)
            }
            Function::Now => {
                let (form, offset) = time(call.arguments.len(), word).map_err(refused)?;
                Self::Now(form, offset)
            }
            Function::Base64 => Self::Base64(term(0)?, Coding::of(word(1), Coding::Base64)),
            Function::Hex => Self::Hex(term(0)?),
            Function::Sha256 => Self::Sha256(term(0)?, Coding::of(word(1), Coding::Hex)),
            Function::HmacSha256 => Self::HmacSha256 {
                key: term(0)?,
                text: term(1)?,
                coding: Coding::of(word(2), Coding::Hex),
            },
            Function::UrlEncode => Self::UrlEncode(term(0)?),
            Function::Jwt => {
                let algorithm = Algorithm::of(word(0).unwrap_or_default())
                    .ok_or_else(|| refused("the algorithm is not known".to_owned()))?;
                let jwt = Jwt::new(algorithm, term(1)?, term(2)?, compiler.inputs);
                Self::Jwt(Box::new(jwt.map_err(refused)?))
            }
        })
    }

    /// What it makes as of now.
    pub fn text(&self, values: &Values<'_>) -> String {
        let rng = || values.shared.rng.borrow_mut();
        match self {
            Self::Uuid => uuid(&mut values.shared.unique.borrow_mut()),
            Self::RandomInt { min, max } => random_int(&mut rng(), *min, *max).to_string(),
            Self::RandomString(length) => random_string(&mut rng(), *length),
            Self::RandomChoice(terms) => {
                let place = rng().below(terms.len() as u64) as usize;
                let chosen = terms.get(place);
                chosen.map_or_else(String::new, |term| term.with(values, str::to_owned))
            }
            Self::Now(form, offset) => now(Timestamp::now(), *form, *offset),
            Self::Base64(term, coding) => term.with(values, |text| coding.write(text.as_bytes())),
            Self::Hex(term) => term.with(values, |text| identity::hex(text.as_bytes())),
            Self::Sha256(term, coding) => term.with(values, |text| {
                coding.write(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
            }),
            Self::HmacSha256 { key, text, coding } => key.with(values, |key| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
                text.with(values, |text| {
                    coding.write(hmac::sign(&key, text.as_bytes()).as_ref())
                })
            }),
            Self::UrlEncode(term) => term.with(values, percent_encode),
            Self::Jwt(jwt) => jwt.text(values).unwrap_or_else(|problem| {
                values.shared.complain(format!("$(jwt): {problem}"));
                String::new()
            }),
        }
    }
}

/// The words of `now`: perhaps a format, perhaps an offset.
fn time<'w>(
    words: usize,
    word: impl Fn(usize) -> Option<&'w str>,
) -> Result<(TimeForm, SignedDuration), String> {
    let (mut form, mut offset) = (TimeForm::Rfc3339, SignedDuration::ZERO);
    for text in (0..words).filter_map(word) {
        match text {
            "rfc3339" => form = TimeForm::Rfc3339,
            "unix" => form = TimeForm::Unix,
            "unixMs" => form = TimeForm::UnixMs,
            _ => {
                let (sign, length) = text.split_at_checked(1).unwrap_or_default();
                let length = parse_duration(length).map_err(|error| error.to_string())?;
                let length = SignedDuration::try_from(length).map_err(|error| error.to_string())?;
                offset = if sign == "-" { -length } else { length };
            }
        }
    }
    Ok((form, offset))
}

fn now(now: Timestamp, form: TimeForm, offset: SignedDuration) -> String {
    let then = now.saturating_add(offset).unwrap_or(now);
    match form {
        TimeForm::Rfc3339 => format!("{then:.3}"),
        TimeForm::Unix => then.as_second().to_string(),
        TimeForm::UnixMs => then.as_millisecond().to_string(),
    }
}

/// RFC 9562, 5.4.
fn uuid(rng: &mut Rng) -> String {
    let random = u128::from(rng.next()) << 64 | u128::from(rng.next());
    let uuid = random & !(0xf << 76) & !(3 << 62) | 4 << 76 | 2 << 62;
    let text = identity::hex(&uuid.to_be_bytes());
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

fn random_int(rng: &mut Rng, min: i64, max: i64) -> i64 {
    // As a number without a sign: the widest range has 2^64 numbers.
    let width = max.wrapping_sub(min).cast_unsigned();
    let above = match width.checked_add(1) {
        Some(count) => rng.below(count),
        None => rng.next(),
    };
    min.wrapping_add(above.cast_signed())
}

fn random_string(rng: &mut Rng, length: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut letter = || LETTERS.get(rng.below(62) as usize).copied().unwrap_or(b'0');
    (0..length).map(|_| char::from(letter())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use loadtest_core::template::{Position, Template};

    use super::*;
    use crate::engine::script::{
        Text,
        testing::{inputs, names, shared, values},
    };

    fn rendered(template: &str) -> String {
        let inputs = inputs();
        let template = Template::parse(template, Position::Text, &names()).unwrap();
        let text = Text::compile(&template, &Compiler::new(&inputs)).unwrap();
        let shared = shared(inputs);
        let text = text.render(&values(&shared, None));
        assert_eq!(shared.take_problem(), None);
        text
    }

    #[test]
    fn codings_and_signatures_are_those_of_their_standards() {
        for (template, expected) in [
            // RFC 4648, 10.
            ("$(base64 foob)", "Zm9vYg=="),
            ("$(base64 foob url)", "Zm9vYg"),
            ("$(base64 '??>~~?' url)", "Pz8-fn4_"),
            ("$(base64 '??>~~?' standard)", "Pz8+fn4/"),
            ("$(hex 'J\u{e9}')", "4ac3a9"),
            ("$(urlEncode 'a b&c/\u{e9}~')", "a%20b%26c%2F%C3%A9~"),
            // FIPS 180-2, B.1.
            (
                "$(sha256 abc)",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "$(sha256 abc base64)",
                "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
            ),
            (
                "$(sha256 abc base64url)",
                "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
            ),
            // RFC 4231, 4.3.
            (
                "$(hmacSha256 Jefe 'what do ya want for nothing?')",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            ("$(hex secret.key)", "733363726574"),
        ] {
            assert_eq!(rendered(template), expected, "{template}");
        }
        let signed = rendered("$(hmacSha256 secret.key user.index base64url)");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret");
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signed).unwrap();
        hmac::verify(&key, b"3", &signature).unwrap();
    }

    #[test]
    fn times_are_written_as_asked_for() {
        let at = Timestamp::from_millisecond(1_700_000_000_007).unwrap();
        let hour = SignedDuration::from_hours(1);
        for (form, offset, expected) in [
            (
                TimeForm::Rfc3339,
                SignedDuration::ZERO,
                "2023-11-14T22:13:20.007Z",
            ),
            (TimeForm::Rfc3339, -hour, "2023-11-14T21:13:20.007Z"),
            (TimeForm::Unix, hour, "1700003600"),
            (TimeForm::UnixMs, SignedDuration::ZERO, "1700000000007"),
        ] {
            assert_eq!(now(at, form, offset), expected);
        }
        let before = Timestamp::now().as_second() - 300;
        let written: i64 = rendered("$(now unix -5m)").parse().unwrap();
        assert!((0..5).contains(&(written - before)), "{written} {before}");
        let soon: Timestamp = rendered("$(now +1h)").parse().unwrap();
        assert!(soon.as_second() - Timestamp::now().as_second() > 3_500);
    }

    #[test]
    fn random_values_keep_their_form_and_range() {
        let mut rng = Rng::new(&[5]);
        let uuids: BTreeSet<String> = (0..1_000).map(|_| uuid(&mut rng)).collect();
        assert_eq!(uuids.len(), 1_000);
        for uuid in &uuids {
            let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            let bytes = uuid.as_bytes();
            assert!(bytes[14] == b'4' && b"89ab".contains(&bytes[19]), "{uuid}");
        }
        let drawn: BTreeSet<_> = (0..200).map(|_| random_int(&mut rng, -1, 2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-1, 0, 1, 2]);
        let widest: Vec<_> = (0..64)
            .map(|_| random_int(&mut rng, i64::MIN, i64::MAX))
            .collect();
        assert!(widest.iter().any(|n| *n < 0) && widest.iter().any(|n| *n > 0));
        assert_eq!(random_int(&mut rng, 9, 9), 9);
        let text = random_string(&mut rng, 300);
        assert!(text.len() == 300 && text.bytes().all(|b| b.is_ascii_alphanumeric()));
        let choices: BTreeSet<_> = (0..100)
            .map(|_| rendered("$(randomChoice red secret.key)"))
            .collect();
        assert!(
            choices
                .iter()
                .all(|choice| choice == "red" || choice == "s3cret")
        );
    }

    #[test]
    fn the_seed_repeats_all_but_what_must_be_unique() {
        let inputs = inputs();
        let template = Template::parse("$(randomString 20) $(uuid)", Position::Text, &names());
        let text = Text::compile(&template.unwrap(), &Compiler::new(&inputs)).unwrap();
        let of_run = |run: &str| {
            let shared = super::super::Shared::new(inputs.clone(), run, 42, 1, 0);
            let text = text.render(&values(&shared, None));
            let (random, uuid) = text.split_once(' ').unwrap();
            (random.to_owned(), uuid.to_owned())
        };
        let (one, other) = (of_run("00000000000000000000000000000001"), of_run("2"));
        assert_eq!(one.0, other.0);
        assert_ne!(one.1, other.1);
    }
}
