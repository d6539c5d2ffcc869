//! The whole way from the pool to a server that answers by script.

mod ancestor;
mod damage;
mod faults;
mod outage;
mod push;
mod rollover;
pub(super) mod runner;
mod samples;
mod server;

use loadtest_core::{
    plan::{
        Connections, Cookies, DEFAULT_DATA_STREAM_PREFIX, DEFAULT_SPOOL_LIMIT, Elasticsearch,
        Files, Flavor, Flows, Inputs, Load, OnLost, Origin, Plan, RawMode, Request, Results,
        RunIdentity, Scenario, Scheme, SeriesKey, Step, Target, Task,
    },
    template::Template,
};

use super::*;

/// A plan with one request, exported to nowhere.
pub(super) fn plan() -> Plan {
    let request = Request {
        method: "GET".to_owned(),
        path: Template::literal("/get"),
        timeout: Duration::from_secs(10),
        ..Request::default()
    };
    let task = Task {
        name: "main".to_owned(),
        weight: 1,
        steps: vec![Step::Request(Box::new(request))],
        ..Task::default()
    };
    let scenario = Scenario {
        name: "shop".to_owned(),
        start_after: Duration::ZERO,
        load: Load::ConstantUsers {
            users: 1,
            duration: Duration::from_secs(1),
        },
        graceful_stop: Duration::ZERO,
        connections: Connections::KeepAlive,
        cookies: Cookies::Iteration,
        tasks: vec![task],
        flows: Flows::default(),
    };
    Plan {
        run: RunIdentity {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            namespace: "shop-ns".to_owned(),
            test: "shop".to_owned(),
            name: "shop-1".to_owned(),
            number: 1,
            seed: 1,
        },
        target: Target {
            url: "http://shop".to_owned(),
            origin: Origin {
                scheme: Scheme::Http,
                host: "shop".to_owned(),
                port: 80,
            },
            ..Target::default()
        },
        scenarios: vec![scenario],
        series: vec![SeriesKey {
            scenario: "shop".to_owned(),
            name: "GET /get".to_owned(),
            method: "GET".to_owned(),
        }],
        checks: Vec::new(),
        groups: Vec::new(),
        inputs: Inputs::default(),
        once: None,
        thresholds: Vec::new(),
        runners: 1,
        on_lost: OnLost::Fail,
        start_timeout: Duration::from_secs(10),
        warm_up: Duration::ZERO,
        max_duration: Duration::from_secs(10),
        results: Results {
            interval: Duration::from_secs(5),
            elasticsearch: None,
            files: None,
            drain_timeout: Duration::from_mins(5),
            spool_limit: DEFAULT_SPOOL_LIMIT,
            samples: true,
        },
    }
}

/// The plan, exported to `urls`.
fn searchable_plan(urls: &[&str]) -> Plan {
    let mut plan = plan();
    plan.results.elasticsearch = Some(Elasticsearch {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        flavor: Flavor::Auto,
        data_stream_prefix: DEFAULT_DATA_STREAM_PREFIX.to_owned(),
        manage_templates: true,
        auth: None,
        ca_file: None,
        client_certificate: None,
        raw: RawMode::All,
    });
    plan
}

/// The plan, exported to files.
fn files_plan() -> Plan {
    let mut plan = plan();
    plan.results.files = Some(Files { raw: RawMode::All });
    plan
}
