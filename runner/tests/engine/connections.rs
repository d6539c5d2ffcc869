//! How long connections last and where they lead.

use loadtest_core::plan::{Connections, Load, Scenario};

use crate::{
    harness::{get, iterations, plan, run, scenario, step, task},
    site::{Site, header, ok},
};

fn two_steps(connections: Connections, load: Load) -> Scenario {
    let steps = vec![step(get("/one")), step(get("/two"))];
    let mut scenario = scenario(load, vec![task("only", 1, steps)]);
    scenario.connections = connections;
    scenario
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_last_as_long_as_is_asked_for() {
    let [keeping, each, single] = [
        Site::plain(ok).await,
        Site::plain(ok).await,
        Site::plain(ok).await,
    ];
    let of = |site: &Site, connections| {
        plan(
            site.address,
            vec![two_steps(connections, iterations(2, 25))],
        )
    };
    let (kept, each_iteration, requests) = tokio::join!(
        run(of(&keeping, Connections::KeepAlive)),
        run(of(&each, Connections::PerIteration)),
        run(of(&single, Connections::PerRequest)),
    );
    for (measured, site) in [
        (&kept, &keeping),
        (&each_iteration, &each),
        (&requests, &single),
    ] {
        assert_eq!((measured.total.requests, measured.total.failures), (100, 0));
        assert_eq!(site.count(), 100);
        assert_eq!(measured.connections, site.connections());
    }
    assert_eq!(
        [&kept, &each_iteration, &requests].map(|set| set.connections),
        [2, 50, 100]
    );
    // The server is told, so that it need not find out.
    let told = |site: &Site| {
        let seen = site.seen();
        let closes = seen
            .iter()
            .filter(|seen| header(seen, "connection") == Some("close"));
        closes.count()
    };
    assert_eq!((told(&keeping), told(&each), told(&single)), (0, 0, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_keeps_one_connection_to_each_origin() {
    let (first, second) = (
        Site::plain(ok).await,
        Site::start("[::1]:0", None, ok).await,
    );
    let mut elsewhere = get("/elsewhere");
    elsewhere.origin = Some(0);
    let steps = vec![step(get("/here")), step(elsewhere), step(get("/again"))];
    let load = iterations(3, 20);
    let mut plan = plan(
        first.address,
        vec![scenario(load, vec![task("only", 1, steps)])],
    );
    plan.target.other_origins = vec![second.origin()];
    let measured = run(plan).await;
    assert_eq!((measured.total.requests, measured.total.failures), (180, 0));
    assert_eq!((first.count(), second.count()), (120, 60));
    assert_eq!((first.connections(), second.connections()), (3, 3));
    let authority = format!("[::1]:{}", second.address.port());
    assert!(
        second
            .seen()
            .iter()
            .all(|seen| header(seen, "host") == Some(authority.as_str()))
    );
}
