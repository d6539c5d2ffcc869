//! What goes wrong between the exporter and a real server, or in the server itself.

use loadtest_core::identity;
use loadtest_runner::export::role;
use serde_json::{Value, json};

use crate::{
    METRICS, complete,
    exporter::Exporter,
    launched::Launched,
    measured::{RECORDS, WALL_NS, plan},
    namespace,
    proxy::{Fault, Proxy},
    server::Search,
    urls,
};

#[test]
#[ignore = "needs real search servers: make test-search"]
fn no_fault_on_the_way_to_a_real_server_loses_or_doubles_a_document() {
    use Fault::{Drip, HalfAnswer, None, ResetAfter, ResetBefore};
    let faults = [
        ResetBefore,
        ResetAfter,
        HalfAnswer,
        Drip,
        None,
        ResetAfter,
        HalfAnswer,
        ResetBefore,
    ];
    for url in urls() {
        let namespace = namespace("fault");
        let proxy = Proxy::before(&url, &faults);
        let mut exporter = Exporter::new(plan(&proxy.url, &namespace));
        let report = exporter.run();
        complete(&report, &exporter);
        assert_eq!(proxy.left(), 0, "{url}");
        assert!(
            report.requests.retries + report.aggregates.retries >= 6,
            "{report:?}"
        );
        let search = Search::new(&url, &namespace);
        let counts = ["requests", "metrics", "runs"].map(|stream| search.count(stream));
        assert_eq!(counts, [RECORDS, METRICS, 2], "{url}");
    }
}

/// As a server makes its indices when a disk runs above its watermark.
#[test]
#[ignore = "needs real search servers: make test-search"]
fn documents_wait_while_an_index_is_read_only() {
    for url in urls() {
        let namespace = namespace("read-only");
        let search = Search::new(&url, &namespace);
        let mut exporter = Exporter::new(plan(&url, &namespace));
        complete(&exporter.run(), &exporter);
        let writable = |may: bool| {
            let path = format!("loadtest-requests-{namespace}/_settings");
            let set = search.send("PUT", &path, &json!({"index.blocks.write": !may}));
            assert_eq!(set.0, 200, "{url}: {set:?}");
        };
        writable(false);
        let mut plan = plan(&url, &namespace);
        plan.run.id = identity::run_id("the run after it");
        let mut exporter = Exporter::new(plan);
        exporter.start_until_it_says("blocked by: [FORBIDDEN/8/index write (api)]");
        writable(true);
        let report = exporter.finish();
        complete(&report, &exporter);
        assert_eq!(search.count("requests"), 2 * RECORDS, "{url}");
    }
}

/// Somebody made an index of that name: documents would be refused one by one.
#[test]
#[ignore = "needs real search servers: make test-search"]
fn an_index_in_the_place_of_a_stream_is_named_and_left_alone() {
    for url in urls() {
        let namespace = namespace("conflict");
        let search = Search::new(&url, &namespace);
        let conflict = json!({"properties": {"loadtest": {"type": "keyword"}}});
        let name = somebodys_index(&search, &namespace, &conflict);
        let mut exporter = Exporter::new(plan(&url, &namespace));
        exporter.start_until_it_says("reindex or delete it");
        // Whoever reads that need not wait until the exporter gives up.
        exporter.hurry();
        let report = exporter.finish();
        let requests = report.requests;
        assert_eq!(
            (requests.lost, requests.indexed),
            (RECORDS, 0),
            "{report:?}"
        );
        assert!(report.problem.contains(&name), "{}", report.problem);
        assert!(report.problem.contains("data stream"), "{}", report.problem);
        assert_eq!(search.count("metrics"), 0, "{url}");
    }
}

/// One that nothing speaks against gets our fields instead of guessed ones, and is as good.
#[test]
#[ignore = "needs real search servers: make test-search"]
fn an_empty_index_in_the_place_of_a_stream_is_used() {
    for url in urls() {
        let namespace = namespace("empty");
        let search = Search::new(&url, &namespace);
        let name = somebodys_index(&search, &namespace, &json!({}));
        let mut exporter = Exporter::new(plan(&url, &namespace));
        complete(&exporter.run(), &exporter);
        assert_eq!(search.count("metrics"), METRICS, "{url}");
        let (_, mapping) = search.send("GET", &format!("{name}/_mapping"), &Value::Null);
        assert_eq!(mapping[&name]["mappings"]["dynamic"], "strict", "{url}");
    }
}

/// Makes a plain index where the stream of metrics should be.
fn somebodys_index(search: &Search, namespace: &str, mappings: &Value) -> String {
    let name = format!("loadtest-metrics-{namespace}");
    let template = json!({"index_patterns": [name], "priority": 1_000, "template": {
        "settings": {"number_of_replicas": 0}, "mappings": mappings,
    }});
    assert!(search.takes_template(&format!("somebodys-{name}"), &template));
    let made = search.send("PUT", &name, &Value::Null);
    assert_eq!(made.0, 200, "{made:?}");
    name
}

/// A machine without a battery believes that it is 1970; one in a laboratory that it is 2200.
#[test]
#[ignore = "needs real search servers: make test-search"]
fn a_clock_that_is_far_off_costs_no_document() {
    const YEARS: i64 = 365 * 86_400 * 1_000_000_000;
    for url in urls() {
        let namespace = namespace("clock");
        for (run, wall_ns) in [("1970", 1_000_000_000), ("2200", WALL_NS + 174 * YEARS)] {
            let mut plan = plan(&url, &namespace);
            plan.run.id = identity::run_id(run);
            let mut exporter = Exporter::new(plan);
            exporter.measure_at(wall_ns);
            exporter.start();
            let report = exporter.finish();
            complete(&report, &exporter);
        }
        let search = Search::new(&url, &namespace);
        assert_eq!(search.count("requests"), 2 * RECORDS, "{url}");
    }
}

/// It confirms only what it still has afterwards.
#[test]
#[ignore = "needs a real search server: make test-search"]
fn a_server_that_is_killed_and_comes_back_has_every_document_once() {
    let namespace = namespace("killed");
    let data = std::env::temp_dir().join(&namespace);
    let flags = ["--data", data.to_str().unwrap()];
    let mut server = Launched::start("opensearch", &flags, &[]);
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let plan = plan(&server.url, &namespace);
    let mut exporter = Exporter::new(plan);
    exporter.measure();
    exporter.start();
    exporter.wait_for(|report| report.requests.indexed > 0, "something is there");
    server.kill();
    let again = [flags[0], flags[1], "--port", &port];
    let server = Launched::start("opensearch", &again, &[]);
    let report = exporter.finish();
    complete(&report, &exporter);
    assert_eq!(
        Search::new(&server.url, &namespace).count("requests"),
        RECORDS
    );
    drop(server);
    std::fs::remove_dir_all(&data).unwrap();
}

/// The bulk request is taken, its items are not: a right is missing.
#[test]
#[ignore = "needs real search servers: make test-search"]
fn documents_wait_for_a_right_and_are_taken_when_it_comes() {
    use crate::secure::Server;
    for kind in [role::Server::Elasticsearch, role::Server::OpenSearch] {
        let server = Server::start(kind, &[]);
        let namespace = namespace("right");
        server.admit_exporter_as(&without_writing(kind));
        let mut exporter = Exporter::new(server.plan(&namespace));
        exporter.start_until_it_says("documents off: 403 security_exception");
        server.admit_exporter_as(&role::exporter_role(kind, "loadtest"));
        complete(&exporter.finish(), &exporter);
    }
}

/// The printed role without what documents are made with.
fn without_writing(kind: role::Server) -> Value {
    let mut role = role::exporter_role(kind, "loadtest");
    let (pointer, needed): (_, &[&str]) = match kind {
        role::Server::Elasticsearch => ("/indices/0/privileges", &["create_doc"]),
        role::Server::OpenSearch => (
            "/index_permissions/0/allowed_actions",
            &["indices:data/write/bulk*", "indices:data/write/index"],
        ),
    };
    let rights = role.pointer_mut(pointer).unwrap().as_array_mut().unwrap();
    let before = rights.len();
    rights.retain(|right| !needed.contains(&right.as_str().unwrap()));
    assert_eq!(rights.len(), before - needed.len());
    if kind == role::Server::Elasticsearch {
        // Who may write nowhere at all is refused the whole request.
        let another = json!({"names": ["another-index"], "privileges": ["create_doc"]});
        role["indices"].as_array_mut().unwrap().push(another);
    }
    role
}
