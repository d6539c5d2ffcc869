//! What may stand inside `$(…)`, and what is said of everything else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a panic is the report"
)]

use std::collections::{BTreeMap, BTreeSet};

use loadtest_core::template::{
    Argument, Call, DataNames, Escape, Expression, Function, Names, Position, Segment, Slot,
    Source, Template,
};

fn names() -> Names {
    Names {
        variables: BTreeMap::from([("region".to_owned(), "eu west".to_owned())]),
        values: BTreeMap::from([("token".to_owned(), 0), ("payload".to_owned(), 1)]),
        data: vec![
            DataNames {
                name: "products".to_owned(),
                columns: Some(vec!["id".to_owned(), "name".to_owned()]),
            },
            DataNames {
                name: "users".to_owned(),
                columns: None,
            },
        ],
        secrets: vec!["key".to_owned()],
        setup: vec!["tenant".to_owned()],
        made: BTreeSet::from(["token", "payload", "cart"].map(str::to_owned)),
    }
}

fn parse(text: &str, position: Position) -> Template {
    Template::parse(text, position, &names()).unwrap()
}

fn refusal(text: &str) -> String {
    let error = Template::parse(text, Position::Url, &names());
    error.unwrap_err().to_string()
}

/// The only thing that a text is made of.
fn source(text: &str) -> Source {
    match parse(text, Position::Text).segments.as_slice() {
        [Segment::Expression(expression)] => expression.source.clone(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_namespace_is_known() {
    assert_eq!(source("$(token)"), Source::Value(0, "token".into()));
    assert_eq!(source("$( token )"), Source::Value(0, "token".into()));
    assert_eq!(source("$(setup.tenant)"), Source::Setup(0, "tenant".into()));
    assert_eq!(source("$(secret.key)"), Source::Secret(0, "key".into()));
    assert_eq!(
        source("$(response.status)"),
        Source::Slot(Slot::ResponseStatus)
    );
    let column = |feeder, name: &str, column: &str| Source::Data {
        feeder,
        name: name.into(),
        column: column.into(),
    };
    assert_eq!(source("$(products.name)"), column(0, "products", "name"));
    assert_eq!(source("$(users.anything)"), column(1, "users", "anything"));
}

#[test]
fn values_are_escaped_by_where_they_stand_unless_raw() {
    let escape = |text, position| match parse(text, position).segments.as_slice() {
        [Segment::Expression(expression)] => expression.escape,
        other => panic!("{other:?}"),
    };
    assert_eq!(escape("$(token)", Position::Url), Escape::Url);
    assert_eq!(escape("$(token)", Position::Json), Escape::Json);
    assert_eq!(escape("$(token)", Position::Form), Escape::Url);
    assert_eq!(escape("$(token:raw)", Position::Form), Escape::None);
    assert_eq!(escape("$(token)", Position::Header), Escape::None);
    assert_eq!(escape("$(token:raw)", Position::Url), Escape::None);
    assert_eq!(escape("$(token :raw)", Position::Json), Escape::None);
    let constant = |text| parse(text, Position::Url).to_display();
    assert_eq!(constant("$(var.region)"), "eu%20west");
    assert_eq!(constant("$(var.region:raw)"), "eu west");
}

#[test]
fn what_stands_around_values_is_escaped_where_all_of_it_is_a_text() {
    let display = |text, position| parse(text, position).to_display();
    let text = "a \"\\\" $$(b) é $(sha256 'c \"\\')";
    assert_eq!(
        display(text, Position::Json),
        r#"a \"\\\" $(b) é $(sha256 "c \"\\")"#
    );
    assert_eq!(
        display(text, Position::Form),
        r#"a%20%22%5C%22%20%24%28b%29%20%C3%A9%20$(sha256 "c \"\\")"#
    );
    for position in [Position::Url, Position::Header, Position::Text] {
        let expected = r#"a "\" $(b) é $(sha256 "c \"\\")"#;
        assert_eq!(display(text, position), expected, "{position:?}");
    }
    assert_eq!(parse(text, Position::Json).segments.len(), 2);
}

#[test]
fn a_raw_value_is_alone_in_its_text() {
    for (text, is_raw) in [
        ("$(token:raw)", true),
        ("$(randomInt 1 9 :raw)", true),
        ("$(randomChoice \")\" b:raw)", true),
        ("$(token)", false),
        (" $(token:raw)", false),
        ("$(token:raw)0", false),
        ("token:raw", false),
    ] {
        assert_eq!(Template::is_raw_value(text), is_raw, "{text}");
    }
}

#[test]
fn functions_take_words_texts_and_names() {
    let call = |function, arguments| {
        Source::Call(Box::new(Call {
            function,
            arguments,
        }))
    };
    let text = |text: &str| Argument::Text(text.into());
    assert_eq!(
        source("$(hmacSha256 secret.key payload base64)"),
        call(
            Function::HmacSha256,
            vec![
                Argument::Source(Source::Secret(0, "key".into())),
                Argument::Source(Source::Value(1, "payload".into())),
                text("base64"),
            ]
        )
    );
    assert_eq!(
        source("$(randomChoice red \"dark (blue)\" 'token' v1.2 token)"),
        call(
            Function::RandomChoice,
            vec![
                text("red"),
                text("dark (blue)"),
                text("token"),
                text("v1.2"),
                Argument::Source(Source::Value(0, "token".into())),
            ]
        )
    );
    assert_eq!(
        source("$(sha256 var.region)"),
        call(Function::Sha256, vec![text("eu west")])
    );
    for good in [
        "$(uuid)",
        "$(randomInt -5 5)",
        "$(randomString 16)",
        "$(now)",
        "$(now unix)",
        "$(now -1h)",
        "$(now unixMs +90s)",
        "$(base64 token url)",
        "$(hex token)",
        "$(urlEncode token)",
        "$(jwt HS256 secret.key payload)",
        "$(jwt HS256 secret.key '{\"sub\": \"a b\"}')",
        "$(sha256 abc)",
        "$(sha256 \"product.id\")",
        "$(sha256 'uuid')",
        "$(base64 'cart' url)",
        "$(randomChoice uuid product.id cart it's)",
    ] {
        source(good);
    }
}

#[test]
fn what_is_shown_is_what_was_written() {
    for text in [
        "/a/$(token)/$(products.id)?u=$(user.index)",
        "$(hmacSha256 secret.key payload \"hex\")",
        "$(setup.tenant)",
    ] {
        assert_eq!(parse(text, Position::Text).to_display(), text);
    }
}

#[test]
fn refusals_say_what_there_is() {
    for (text, expected) in [
        (
            "$(tokens)",
            "use one of user.index, user.iteration, run.id, runner.index, response.status, var.region, payload, token, products.id, products.name, users.COLUMN, secret.key, setup.tenant, or a function",
        ),
        ("$(orders.id)", "$(orders.id) is not known"),
        (
            "$(products.price)",
            "with the columns id, name, has no \"price\"",
        ),
        ("$(secret.other)", "spec.secrets has no \"other\""),
        ("$(setup.other)", "the flow of spec.setup has no \"other\""),
        ("$(var.other)", "spec.variables has no \"other\""),
        ("$()", "is empty"),
        (
            "$(random 1 2)",
            "\"random\" is not a function: use one of uuid, randomInt,",
        ),
        (
            "$(randomInt 1)",
            "it has 1 arguments; it is written $(randomInt MIN MAX)",
        ),
        ("$(randomInt 9 1)", "9 is above 1"),
        ("$(randomInt a 1)", "\"a\" is not a whole number"),
        ("$(randomString 0)", "\"0\" is not a length"),
        (
            "$(now tomorrow)",
            "\"tomorrow\" is neither a format nor an offset",
        ),
        (
            "$(sha256 token md5)",
            "\"md5\" is not one of hex, base64, base64url",
        ),
        (
            "$(jwt none secret.key payload)",
            "\"none\" is not one of HS256, RS256, ES256",
        ),
        (
            "$(jwt HS256 secret.key '{\"sub\": }')",
            "the claims are no JSON object",
        ),
        (
            "$(jwt HS256 secret.key var.region)",
            "the claims are no JSON object",
        ),
        ("$(base64 secret.other)", "spec.secrets has no \"other\""),
        (
            "$(base64 uuid)",
            "$(base64 uuid): uuid is a function, and functions do not nest: set a value to it first, or put it in quotes if it is a text; it is written $(base64 TEXT [standard|url])",
        ),
        (
            "$(sha256 product.id)",
            "$(sha256 product.id): product.id is no name that is known here: put it in quotes if it is a text; it is written $(sha256 TEXT [hex|base64|base64url])",
        ),
        ("$(hmacSha256 key.key payload)", "key.key is no name"),
        (
            "$(hex cart)",
            "$(hex cart): cart is no name that is known here: put it in quotes if it is a text",
        ),
        (
            "$(randomChoice 'light blue' 'dark red)",
            "'dark begins with a quote that is not closed; it is written $(randomChoice A B …)",
        ),
        (
            "$(now \"unix)",
            "\"unix begins with a quote that is not closed",
        ),
        ("$(it's", "close it"),
        ("$(it's)", "$(it's) is not known"),
    ] {
        let said = refusal(text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn a_plan_keeps_its_templates() {
    let template = parse("/x/$(token)$(randomInt 1 2)$(user.index)", Position::Url);
    let json = serde_json::to_string(&template).unwrap();
    assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
    let expression = Expression {
        source: Source::Authorization,
        escape: Escape::None,
    };
    let json = serde_json::to_string(&expression).unwrap();
    assert_eq!(
        serde_json::from_str::<Expression>(&json).unwrap(),
        expression
    );
}
