//! `loadtest validate` refuses what a cluster refuses: the same table of manifests that is tried on
//! a real API server.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use common::Place;

fn manifests(below_root: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(below_root);
    let mut found: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no manifests in {}", directory.display());
    found
}

#[test]
fn every_bad_manifest_is_refused_with_its_line() {
    let bad = manifests("crds/tests/manifests/bad");
    assert!(bad.len() >= 25);
    for path in bad {
        let path = path.to_str().unwrap();
        let finished = Place::new().finish(&["validate", path]);
        assert_eq!(finished.status, Some(2), "{path}: {}", finished.stderr);
        assert_eq!(finished.stdout, "");
        for line in finished.stderr.lines() {
            let rest = line
                .strip_prefix(path)
                .and_then(|rest| rest.strip_prefix(':'));
            let numbers: Vec<_> = rest.unwrap_or_default().splitn(3, ':').collect();
            let placed = numbers.len() == 3
                && numbers[..2]
                    .iter()
                    .all(|number| number.parse::<u32>().is_ok_and(|n| n > 0));
            assert!(placed, "no line and column in {line:?}");
        }
    }
}

#[test]
fn every_good_manifest_and_example_is_accepted() {
    for path in manifests("crds/tests/manifests/good")
        .into_iter()
        .chain(manifests("examples"))
    {
        let finished = Place::new()
            .finish(&["validate", path.to_str().unwrap()])
            .exits(0);
        assert!(
            finished.stdout.ends_with("all accepted\n"),
            "{}",
            finished.stdout
        );
    }
}

#[test]
fn one_call_shows_the_problems_of_every_file() {
    let place = Place::new();
    let good = common::manifest(common::SECOND, "/get", &[]);
    place.write("good.yaml", &good);
    place.write("bad.yaml", &good.replace("100/s", "often"));
    place.write("worse.yaml", &good.replace("duration: 1s", "duration: 0s"));
    let finished = place
        .finish(&[
            "validate",
            "absent.yaml",
            "bad.yaml",
            "good.yaml",
            "worse.yaml",
        ])
        .exits(2);
    assert_eq!(finished.stdout, "good.yaml: 1 object, all accepted\n");
    let finished = finished
        .says("absent.yaml")
        .says("bad.yaml:9:31: ")
        .says("worse.yaml:9:44: ");
    assert!(finished.stderr.lines().count() >= 3);
}
