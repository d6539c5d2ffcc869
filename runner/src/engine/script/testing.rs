//! What unit tests make texts of.

use std::{cell::RefCell, sync::Arc};

use loadtest_core::{plan::ValueScope, template::Names};

use super::{Inputs, Memory, Shared, inputs::Secret};
use crate::{
    engine::message::Values,
    http::{Keep, ResponseParser},
};

pub const RUN_ID: &str = "0123456789abcdef0123456789abcdef";

/// Two values, a value of the setup and a secret.
pub fn inputs() -> Arc<Inputs> {
    Arc::new(Inputs {
        scopes: vec![ValueScope::Iteration; 2].into(),
        value_names: ["first", "second"].map(str::to_owned).into(),
        secrets: [Secret::from("s3cret".to_owned())].into(),
        ..Inputs::default()
    })
}

/// Their names.
pub fn names() -> Names {
    Names {
        values: [("first".to_owned(), 0), ("second".to_owned(), 1)].into(),
        secrets: vec!["key".to_owned()],
        setup: vec!["shop".to_owned()],
        ..Names::default()
    }
}

pub fn shared(inputs: Arc<Inputs>) -> Shared {
    Shared::new(inputs, RUN_ID, 42, 1, 0)
}

pub fn values<'a>(shared: &'a Shared, memory: Option<&'a RefCell<Memory>>) -> Values<'a> {
    Values {
        user: 3,
        iteration: 7,
        scenario: 0,
        step: 0,
        sequence: 0,
        memory,
        shared,
    }
}

/// An answer whose head is kept, and its body.
pub fn response(headers: &str, body: &[u8]) -> (ResponseParser, Vec<u8>) {
    let mut parser = ResponseParser::new();
    let keep = Keep {
        all: true,
        ..Keep::NOTHING
    };
    parser.reset_keeping(false, keep);
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n");
    let mut kept = Vec::new();
    let bytes = [head.as_bytes(), body].concat();
    parser
        .feed(&bytes, |part| kept.extend_from_slice(part))
        .unwrap();
    assert_eq!(parser.status(), 200);
    (parser, kept)
}
