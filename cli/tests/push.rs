//! The results of a local run in a search server afterwards.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "../../runner/tests/export/null_server.rs"]
#[allow(dead_code, reason = "shared with the exporter's tests")]
mod null_server;

use std::net::TcpListener;

use common::{Place, SECOND, Target, manifest, run_args};
use null_server::NullServer;

#[test]
fn pushing_twice_adds_nothing() {
    let (place, target) = (Place::new(), Target::start());
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    let run = run_args(&target.url);
    place.finish_delivered(&run).exits(0);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = NullServer::on(listener);
    let push = ["push", "out", "--elasticsearch", &url];
    let first = place.finish(&push).exits(0).stdout;
    let intervals = std::fs::read_to_string(place.path().join("out/intervals.ndjson")).unwrap();
    let intervals = intervals.lines().count();
    assert!(intervals >= 2);
    assert_eq!(
        first,
        format!("{} documents are in {url}\n", 100 + intervals + 2)
    );
    assert_eq!(place.finish(&push).exits(0).stdout, first);
    assert_eq!(server.documents("requests"), 100);
    assert_eq!(server.documents("metrics"), intervals);
    assert_eq!(server.documents("runs"), 2);
}

/// Nobody sits before a command that says nothing.
#[test]
fn a_server_that_is_away_is_told_of_while_it_is_waited_for() {
    let (place, target) = (Place::new(), Target::start());
    let results =
        "  results: { elasticsearch: { urls: [\"http://127.0.0.1:1\"], drainTimeout: 5s } }\n";
    place.write("test.yaml", &(manifest(SECOND, "/get", &[]) + results));
    place.finish_delivered(&run_args(&target.url)).exits(0);
    let finished = place
        .finish(&["push", "out", "--elasticsearch", "http://127.0.0.1:1"])
        .exits(3)
        .says("waiting for the server: ")
        .says("Ctrl-C loses nothing: push again")
        .says("given up: ");
    assert_eq!(finished.stdout, "0 documents are in http://127.0.0.1:1\n");
}

#[test]
fn what_cannot_be_pushed_is_named() {
    let place = Place::new();
    place
        .finish(&["push", ".", "--elasticsearch", "http://127.0.0.1:1"])
        .exits(2)
        .says("name a directory that `loadtest run` wrote");
}

/// What it allows is tested against a real server in runner/tests/search.
#[test]
fn a_role_is_printed_for_each_kind_of_server() {
    let place = Place::new();
    for (args, privileges) in [
        (&["es-role"][..], "/indices/0/privileges"),
        (&["es-role", "elasticsearch"], "/indices/0/privileges"),
        (
            &["es-role", "opensearch"],
            "/index_permissions/0/allowed_actions",
        ),
    ] {
        let role: serde_json::Value =
            serde_json::from_str(&place.finish(args).exits(0).stdout).unwrap();
        let privileges = role.pointer(privileges).unwrap().as_array().unwrap();
        assert!(
            privileges.contains(&"indices:admin/rollover".into()),
            "{role}"
        );
    }
    place.finish(&["es-role", "solr"]).exits(2);
}
