//! `run` and `rerun`: which objects they make.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{Here, LIMIT, common::Started, manifest};

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_run_of_a_load_test_refers_to_it_and_has_a_copy() -> Result<()> {
    let here = Here::new("run")?;
    here.test("shop")?;
    let said = here.run(&["run", "shop"]).exits(0).stdout;
    let name = here.only_run()?;
    ensure!(
        said == format!("loadtestrun.loadtest.dev/{name} created\n"),
        "{said}"
    );
    ensure!(name.starts_with("shop-"), "{name}");
    let run = here.namespace.get(&format!("ltrun/{name}"))?;
    let mut test = here.namespace.get("ltest/shop")?["spec"].take();
    for field in ["start", "runToken"] {
        test.as_object_mut().unwrap().remove(field);
    }
    ensure!(
        run["spec"] == json!({"loadTestRef": {"name": "shop"}, "test": test}),
        "{}",
        run["spec"]
    );
    ensure!(
        run["metadata"]["labels"]["loadtest.dev/test"] == "shop",
        "{run}"
    );

    let args = [
        "run",
        "shop",
        "--target",
        "http://canary",
        "--var",
        "page=b",
        "-o",
        "json",
    ];
    let made: Value = serde_json::from_str(&here.run(&args).exits(0).stdout)?;
    let test = &made["spec"]["test"];
    ensure!(
        test["target"]["url"] == "http://canary" && test["variables"]["page"] == "b",
        "{made}"
    );
    ensure!(
        test.get("start").is_none() && test.get("runToken").is_none(),
        "{made}"
    );

    // Done again with the same options.
    let args = [
        "rerun",
        made["metadata"]["name"].as_str().unwrap(),
        "-o",
        "json",
    ];
    let again: Value = serde_json::from_str(&here.run(&args).exits(0).stdout)?;
    ensure!(again["spec"] == made["spec"], "{again}");
    ensure!(here.runs()?.len() == 3);
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_run_is_done_again_as_it_was_though_the_test_has_changed() -> Result<()> {
    let here = Here::new("again")?;
    let url = |made: &str| -> Result<Value> {
        let made: Value = serde_json::from_str(made)?;
        Ok(made["spec"]["test"]["target"]["url"].clone())
    };
    here.test("shop")?;
    here.run(&["run", "shop"]).exits(0);
    let moved = manifest("shop").replace("http://shop", "http://moved");
    here.namespace.apply(&moved)?;
    let again = here.run(&["rerun", "shop", "-o", "json"]).exits(0).stdout;
    ensure!(url(&again)? == "http://shop", "{again}");
    let anew = here.run(&["run", "shop", "-o", "json"]).exits(0).stdout;
    ensure!(url(&anew)? == "http://moved", "{anew}");
    Ok(())
}

#[test]
#[ignore = "needs an API server: make test-api"]
fn a_file_is_run_where_it_says_that_it_is() -> Result<()> {
    let here = Here::new("there")?;
    here.test("shop")?;
    let there = format!("namespace: {}, name:", here.namespace.name());
    let inline = manifest("shop").replace("name: shop }", "name: other }");
    here.place
        .write("test.yaml", &inline.replacen("name:", &there, 1));
    here.place.write(
        "run.yaml",
        &format!(
            "apiVersion: loadtest.dev/v1alpha1
kind: LoadTestRun
metadata: {{ {there} once }}
spec: {{ loadTestRef: {{ name: shop }} }}
"
        ),
    );
    // The kubeconfig's own namespace is `default`, which has no LoadTest of this name.
    let run = |args: &[&str]| -> Result<Value> {
        let mut command = here.anywhere(args);
        command.args(["-o", "json"]);
        let made = Started::new(command).wait(LIMIT).exits(0).stdout;
        Ok(serde_json::from_str(&made)?)
    };
    let made = run(&["run", "-f", "test.yaml"])?;
    ensure!(
        made["metadata"]["namespace"] == here.namespace.name(),
        "{made}"
    );
    let made = run(&["run", "-f", "run.yaml", "--var", "page=b"])?;
    ensure!(
        made["metadata"]["namespace"] == here.namespace.name(),
        "{made}"
    );
    ensure!(made["spec"]["test"]["variables"]["page"] == "b", "{made}");
    ensure!(here.runs()?.len() == 2);
    Ok(())
}
