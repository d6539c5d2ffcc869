//! A local run and a push to a server behind TLS that asks who is there.

use crate::{
    common::{Place, SECOND, Target, manifest, run_args},
    launched::{self, Launched},
};

/// The user that the server of the tests begins with.
const ADMINISTRATOR: (&str, &str) = ("admin", "loadtest-secret");

#[test]
#[ignore = "needs a real search server: make test-search"]
fn a_run_and_a_push_show_what_the_options_name() {
    let server = Launched::start("elasticsearch-security", &[], &[]);
    let (place, target) = (Place::new(), Target::start());
    place.write("test.yaml", &manifest(SECOND, "/get", &[]));
    place.write("username", ADMINISTRATOR.0);
    place.write("password", ADMINISTRATOR.1);
    let ca = launched::certificates()
        .join("ca.crt")
        .display()
        .to_string();
    let named = |password: &'static str| {
        [
            "--elasticsearch",
            &server.url,
            "--elasticsearch-ca",
            &ca,
            "--elasticsearch-username-file",
            "username",
            "--elasticsearch-password-file",
            password,
        ]
        .map(str::to_owned)
    };
    let with = |command: &[&str], password| {
        let mut args: Vec<String> = command.iter().map(|&arg| arg.to_owned()).collect();
        args.extend(named(password));
        args
    };

    let run = with(&run_args(&target.url), "password");
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    let status = place.finish_delivered(&run).exits(0).run_status();
    let export = status.export.unwrap();
    assert_eq!(
        (export.produced, export.indexed, export.verified),
        (100, 100, Some(true)),
        "{export:?}"
    );

    // The same documents by the same names: nothing is added.
    let push = |password| {
        let args = with(&["push", "out"], password);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        place.finish(&args)
    };
    let pushed = push("password").exits(0).stdout;
    assert!(
        pushed.ends_with(&format!("in {}\n", server.url)),
        "{pushed}"
    );
    push("absent")
        .exits(2)
        .says("error: --elasticsearch-password-file: cannot read absent: ");
}
