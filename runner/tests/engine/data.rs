//! Rows of data: each once, over all runners, until there are none.

use std::{collections::BTreeMap, time::Duration};

use loadtest_core::plan::{
    DataFormat, DataOrder, DataScope, DataShare, DataSource, Feeder, Load, OnExhausted, Plan,
    UserStage,
};

use crate::{
    harness::{Run, iterations, rate, run, run_to_end, scenario, task, users},
    language::{Language, by_path},
    site::{Site, ok},
};

pub fn feeder(rows: usize) -> Feeder {
    let rows = (0..rows).map(|row| format!("{row},name {row}"));
    let lines: Vec<_> = std::iter::once("id,name".to_owned()).chain(rows).collect();
    Feeder {
        name: "people".to_owned(),
        source: DataSource::Inline(lines.join("\n")),
        format: DataFormat::Csv,
        order: DataOrder::Sequential,
        share: DataShare::Split,
        scope: DataScope::Iteration,
        on_exhausted: OnExhausted::Recycle,
        sha256: None,
    }
}

fn plan(site: &Site, load: Load, feeder: Feeder, runners: u32) -> Plan {
    let say = Language::default().data(feeder);
    let steps = vec![say.go("/$(people.id)/$(people.name)")];
    let mut plan = say.plan(
        site.address,
        scenario(load, vec![task("all", 1, steps)]),
        &[],
    );
    plan.runners = runners;
    plan
}

/// A crowd that could come and go, and does not.
fn ramp(users: u32, duration: Duration) -> Load {
    Load::RampingUsers {
        start_users: users,
        stages: vec![UserStage { duration, users }],
    }
}

/// How many rows were seen so often.
fn spread(site: &Site) -> BTreeMap<u64, usize> {
    let mut spread = BTreeMap::new();
    for (path, count) in by_path(site) {
        let (id, name) = path.trim_start_matches('/').split_once('/').unwrap();
        assert_eq!(name, format!("name%20{id}"));
        *spread.entry(count).or_insert(0) += 1;
    }
    spread
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runners_give_out_every_row_equally_often() {
    for order in [DataOrder::Sequential, DataOrder::Random] {
        let site = Site::plain(ok).await;
        let mut people = feeder(100);
        people.order = order;
        // 300 iterations: three passes through 50 rows on each runner.
        let ended = run(plan(&site, iterations(10, 30), people, 2)).await;
        assert_eq!((ended.iterations, ended.total.failures), (300, 0));
        assert_eq!(spread(&site), BTreeMap::from([(3, 100)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_that_have_all_rows_give_out_all() {
    let site = Site::plain(ok).await;
    let mut people = feeder(20);
    people.share = DataShare::Each;
    run(plan(&site, iterations(4, 10), people, 2)).await;
    assert_eq!(spread(&site), BTreeMap::from([(2, 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_keep_its_row_for_life() {
    let site = Site::plain(ok).await;
    let mut people = feeder(10);
    people.scope = DataScope::User;
    people.on_exhausted = OnExhausted::Stop;
    let ended = run_to_end(plan(&site, iterations(10, 7), people, 2)).await;
    assert_eq!(spread(&site), BTreeMap::from([(7, 10)]));
    assert_eq!(ended.merged.iterations, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_ends_with_its_rows_and_says_which() {
    for (load, counts) in [
        (users(4, Duration::from_secs(50)), false),
        (iterations(4, 1_000), true),
        (rate("200/s", Duration::from_secs(50), 20), true),
        (ramp(4, Duration::from_secs(50)), false),
    ] {
        let site = Site::plain(ok).await;
        let mut people = feeder(41);
        people.on_exhausted = OnExhausted::Stop;
        let begin = std::time::Instant::now();
        let mut run = Run::start(plan(&site, load, people, 2)).await;
        let ended = run.end().await;
        assert!(begin.elapsed() < Duration::from_secs(25));
        assert_eq!(ended.codes, [Some(0); 2]);
        assert_eq!(spread(&site), BTreeMap::from([(1, 41)]));
        assert_eq!(ended.merged.iterations, 41);
        if counts {
            assert_eq!(ended.merged.started, 41);
            assert!(ended.merged.scheduled > 41);
        }
        let reports = run.server.reports();
        let last = reports.iter().filter(|report| report.exhausted == [0]);
        assert!(last.count() >= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_cannot_be_used_fails_the_run_before_it_begins() {
    let file = std::env::temp_dir().join(format!("loadtest-people-{}.csv", std::process::id()));
    std::fs::write(&file, "id,name\n1,x\n2\n").unwrap();
    let path = file.display().to_string();
    let mut ragged = feeder(0);
    ragged.source = DataSource::File(path.clone());
    let mut missing = feeder(0);
    missing.source = DataSource::File("/nowhere/people.csv".to_owned());
    let mut changed = feeder(3);
    changed.sha256 = Some("0".repeat(64));
    let mut column = feeder(0);
    column.source = DataSource::Inline("id,nom\n1,x\n2,y\n".to_owned());
    let expected = [
        (
            ragged,
            format!("data \"people\" ({path}): line 3 has 1 field"),
        ),
        (
            missing,
            "data \"people\": cannot open /nowhere/people.csv".to_owned(),
        ),
        (
            changed,
            "data \"people\" has changed since the test was accepted".to_owned(),
        ),
        (
            feeder(1),
            "data \"people\" has 1 rows for 2 runners, and runner 1 gets none".to_owned(),
        ),
        (
            column,
            "data \"people\" has no column \"name\", which the test uses; it has id, nom"
                .to_owned(),
        ),
    ];
    let site = Site::plain(ok).await;
    for (feeder, message) in expected {
        let mut run = Run::start(plan(&site, iterations(1, 1), feeder, 2)).await;
        let ended = run.end().await;
        assert!(ended.codes.contains(&Some(1)), "{:?}", ended.codes);
        let failures: Vec<_> = run
            .server
            .reports()
            .into_iter()
            .filter_map(|r| r.failure)
            .collect();
        assert!(
            failures.iter().any(|f| f.starts_with(&message)),
            "{failures:?}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(site.count(), 0);
}
