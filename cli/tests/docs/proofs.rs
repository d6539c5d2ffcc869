//! Which test does what a command of the pages does, where it is not run by these tests themselves.

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use loadtest_cli::{cluster::plugin::Plugin, command::Cli};

use crate::page::{read, root};

/// A command that is done elsewhere.
struct Proof {
    /// How it begins.
    command: &'static str,
    /// File with a function that does the same, and the function.
    by: (&'static str, &'static str),
    /// What the function says, to show that it does.
    says: &'static [&'static str],
}

const E2E: &str = "tests/tests/e2e/main_job.rs";
const MAIN_JOB: &str = "a_load_test_goes_from_apply_to_one_exact_answer";

const PROOFS: [Proof; 22] = [
    Proof {
        command: "kubectl apply",
        by: (E2E, MAIN_JOB),
        says: &["namespace.apply("],
    },
    Proof {
        command: "kubectl wait",
        by: (E2E, MAIN_JOB),
        says: &["\"wait\"", "\"--for=condition=Finished\""],
    },
    Proof {
        command: "kubectl get",
        by: (E2E, "printer_columns"),
        says: &["\"get\", \"ltest\""],
    },
    Proof {
        command: "kubectl explain",
        by: ("tests/tests/api.rs", "kubectl_explains_every_field"),
        says: &["\"explain\", \"loadtest.spec\", \"--recursive\""],
    },
    Proof {
        command: "kubectl patch",
        by: (
            "tests/tests/e2e/ends.rs",
            "a_cancelled_run_is_aborted_with_what_ran",
        ),
        says: &["\"patch\", \"ltrun\"", "\"--type=merge\""],
    },
    Proof {
        command: "kubectl create",
        by: ("tests/tests/api.rs", "good_manifests_are_taken"),
        says: &["\"create\", \"-f\", \"-\""],
    },
    Proof {
        command: "kubectl loadtest",
        by: ("cli/tests/cluster_api/main.rs", "kubectl_finds_the_plugin"),
        says: &["bin/kubectl", "\"loadtest\""],
    },
    Proof {
        command: "helm install",
        by: (
            "tests/tests/install.rs",
            "a_release_for_one_namespace_comes_changes_and_goes",
        ),
        says: &[
            "\"install\"",
            "\"charts/loadtest-operator\", \"--namespace\"",
        ],
    },
    Proof {
        command: "helm upgrade",
        by: (
            "tests/tests/install.rs",
            "a_release_for_one_namespace_comes_changes_and_goes",
        ),
        says: &["\"upgrade\""],
    },
    Proof {
        command: "helm uninstall",
        by: (
            "tests/tests/install.rs",
            "a_release_for_one_namespace_comes_changes_and_goes",
        ),
        says: &["\"uninstall\""],
    },
    Proof {
        command: "loadtest completions",
        by: (
            "cli/tests/cluster.rs",
            "every_shell_completes_every_command",
        ),
        says: &["[\"bash\", \"zsh\", \"fish\"]", "\"completions\""],
    },
    Proof {
        command: "loadtest push",
        by: ("cli/tests/push.rs", "pushing_twice_adds_nothing"),
        says: &["\"push\""],
    },
    Proof {
        command: "loadtest es-role",
        by: (
            "cli/tests/push.rs",
            "a_role_is_printed_for_each_kind_of_server",
        ),
        says: &["\"es-role\""],
    },
    Proof {
        command: "loadtest run loadtest.yaml",
        by: (
            "cli/tests/pipelines/main.rs",
            "github_actions_on_its_own_machine",
        ),
        says: &[],
    },
    Proof {
        command: "loadtest report results",
        by: (
            "cli/tests/pipelines/main.rs",
            "a_breached_threshold_fails_the_step_and_is_in_the_reports",
        ),
        says: &[],
    },
    Proof {
        command: "loadtest try examples/own-step/test.yaml --runner-binary",
        by: (
            "examples/own-step/tests/run.rs",
            "one_iteration_is_shown_by_the_runner_that_knows_the_kind",
        ),
        says: &[],
    },
    Proof {
        command: "loadtest run examples/own-step/test.yaml --runner-binary",
        by: (
            "examples/own-step/tests/run.rs",
            "every_echo_is_a_request_and_a_document",
        ),
        says: &[],
    },
    // Tools of others, which nothing here runs: what is ours in the line is made or used there.
    Proof {
        command: "curl -X POST $KIBANA/api/saved_objects/_import",
        by: ("dashboards/tests/files.rs", ""),
        says: &[],
    },
    Proof {
        command: "curl -X PUT https://search:9200/_security/role",
        by: (
            "runner/tests/search/secure.rs",
            "the_printed_role_is_enough_for_elasticsearch_and_no_more",
        ),
        says: &[],
    },
    Proof {
        command: "ln -s $(command -v loadtest) /usr/local/bin/kubectl-loadtest",
        by: (
            "cli/tests/cluster.rs",
            "the_name_of_the_binary_decides_what_run_is",
        ),
        says: &["\"kubectl-loadtest\""],
    },
    Proof {
        command: "ln -s $(command -v loadtest) /usr/local/bin/kubectl_complete-loadtest",
        by: ("cli/src/cluster/complete.rs", ""),
        says: &["\"kubectl_complete-loadtest\""],
    },
    Proof {
        command: "skopeo copy oci-archive:target/cluster/images/loadtest-",
        by: ("tests/cluster/images/build-images.sh", ""),
        says: &["tar=$IMAGES/$name.tar"],
    },
];

/// What a shell does itself.
const OF_THE_SHELL: [&str; 4] = ["export", "for", "do", "done"];

/// What is wrong with a command of a page; `played` says that it is run as it stands.
pub fn problem(words: &[String], played: bool) -> Option<String> {
    let line = words.join(" ");
    let first = words.first()?.as_str();
    let ours = match first {
        "loadtest" => parsed(words, false),
        "kubectl" => kubectl(words),
        "helm" => helm(words),
        "make" => make(words),
        "cargo" => cargo(words),
        _ => None,
    };
    if ours.is_some() {
        return ours;
    }
    let proved = match first {
        "loadtest" if played => true,
        "make" | "cargo" => true,
        _ if OF_THE_SHELL.contains(&first) => true,
        _ if first.starts_with("tests/") => return script(words),
        _ => PROOFS.iter().any(|proof| line.starts_with(proof.command)),
    };
    (!proved).then(|| format!("no test does `{line}`: name one in cli/tests/docs/proofs.rs"))
}

/// What is wrong with a command in the middle of a sentence, which may leave out what it is about.
pub fn mentioned(words: &[String]) -> Option<String> {
    match words.first()?.as_str() {
        option if option.starts_with("--") => unknown(option),
        _ if words.len() == 1 => None,
        "loadtest" => parsed(words, true),
        "kubectl" if words.get(1).is_some_and(|word| word == "loadtest") => parsed(words, true),
        "kubectl" if words.len() == 2 => None,
        "kubectl" | "helm" | "make" | "cargo" => problem(words, false),
        _ => None,
    }
}

/// What is wrong with an option that is named without its command.
fn unknown(option: &str) -> Option<String> {
    // Of kubectl and of helm.
    const OF_OTHERS: [&str; 2] = ["--for", "--take-ownership"];
    let name = option.split('=').next().unwrap_or_default();
    let ours = [Cli::command(), Plugin::command()];
    let known = OF_OTHERS.contains(&name) || ours.iter().any(|command| has(command, name));
    (!known).then(|| format!("no command of ours has an option {name}"))
}

fn has(command: &clap::Command, option: &str) -> bool {
    let name = option.trim_start_matches('-');
    command
        .get_arguments()
        .any(|argument| argument.get_long() == Some(name))
        || command.get_subcommands().any(|inner| has(inner, option))
}

/// Why the binary would refuse a command line; nothing of what it says is done.
fn parsed(words: &[String], in_part: bool) -> Option<String> {
    let result = if words.first().is_some_and(|word| word == "kubectl") {
        let plugin = ["kubectl-loadtest".to_owned()].into_iter();
        Plugin::try_parse_from(plugin.chain(words.iter().skip(2).cloned())).map(drop)
    } else {
        Cli::try_parse_from(words).map(drop)
    };
    let error = result.err()?;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if in_part =>
        {
            None
        }
        _ => Some(format!("`{}` is refused: {error}", words.join(" "))),
    }
}

fn kubectl(words: &[String]) -> Option<String> {
    const KINDS: [&str; 8] = [
        "loadtest",
        "loadtests",
        "ltest",
        "loadtestrun",
        "loadtestruns",
        "ltrun",
        "configmap",
        "$run",
    ];
    let verb = words.get(1)?.as_str();
    if verb == "loadtest" {
        return parsed(words, false);
    }
    let about = words.iter().skip(2).find(|word| !word.starts_with('-'));
    let kind = about
        .and_then(|about| about.split(['/', '.']).next())
        .unwrap_or_default();
    if matches!(verb, "get" | "wait" | "patch" | "explain")
        && !kind.is_empty()
        && !KINDS.contains(&kind)
    {
        return Some(format!("{kind} is none of our kinds"));
    }
    let conditions = read("crds/src/status/conditions.rs");
    let waited = words
        .iter()
        .find_map(|word| word.strip_prefix("--for=condition="));
    waited
        .filter(|condition| !conditions.contains(&format!("\"{condition}\"")))
        .map(|condition| format!("there is no condition {condition}"))
}

fn helm(words: &[String]) -> Option<String> {
    let chart = words.iter().find(|word| word.starts_with("charts/"));
    if let Some(chart) = chart.filter(|chart| !root().join(chart).join("Chart.yaml").exists()) {
        return Some(format!("there is no chart {chart}"));
    }
    let documents =
        loadtest_crds::yaml::parse(&read("charts/loadtest-operator/values.yaml")).unwrap();
    let values = documents[0].to_json();
    let set = words
        .iter()
        .zip(words.iter().skip(1))
        .filter(|(option, _)| *option == "--set");
    set.filter_map(|(_, set)| set.split_once('='))
        .find_map(|(key, _)| {
            let pointer = format!("/{}", key.replace('.', "/"));
            values
                .pointer(&pointer)
                .is_none()
                .then(|| format!("the chart has no value {key}"))
        })
}

fn make(words: &[String]) -> Option<String> {
    let makefile = read("Makefile");
    words.iter().skip(1).find_map(|target| {
        let rule = format!("\n{target}: ");
        let Some((_, after)) = makefile.split_once(&rule) else {
            return Some(format!("there is no make target {target}"));
        };
        let recipe = after
            .lines()
            .skip(1)
            .take_while(|line| line.starts_with('\t'));
        let scripts = recipe.filter_map(|line| line.split_whitespace().next());
        let missing = scripts
            .filter(|script| script.starts_with("tests/"))
            .find(|script| !root().join(script).exists());
        missing.map(|script| format!("make {target} runs {script}, which is not there"))
    })
}

/// A build of the Makefile, or a test that there is.
fn cargo(words: &[String]) -> Option<String> {
    let line = words.join(" ");
    let after = |option: &str| words.iter().skip_while(move |word| *word != option).nth(1);
    match words.get(1).map(String::as_str) {
        Some("test") => {
            let package = after("-p").and_then(|package| package.strip_prefix("loadtest-"))?;
            let test = format!("{package}/tests/{}", after("--test")?);
            let exists = root().join(format!("{test}.rs")).exists() || root().join(&test).exists();
            (!exists).then(|| format!("there is no test {test}"))
        }
        Some("build") if words.len() == 4 => {
            let member = format!("\"examples/{}\"", after("-p")?);
            let known = read("Cargo.toml").contains(&member);
            (!known).then(|| format!("{member} is no member of the workspace"))
        }
        Some("deny") => {
            let lists = read("deny.toml");
            let mut checks = words.iter().skip(3);
            let missing = checks.find(|check| !lists.contains(&format!("\n[{check}]")));
            missing.map(|check| format!("deny.toml says nothing of {check}"))
        }
        _ => {
            let done = ["Makefile", "tests/run.sh", ".github/workflows/ci.yaml"];
            let mut done = done.into_iter().filter(|file| root().join(file).exists());
            let known = done.any(|file| read(file).contains(&line));
            (!known).then(|| format!("neither Makefile, tests/run.sh nor a workflow does `{line}`"))
        }
    }
}

/// A script of ours knows each option that it is given.
fn script(words: &[String]) -> Option<String> {
    let (path, arguments) = words.split_first()?;
    let folder = root().join(path).parent()?.to_owned();
    let mut text = read(path);
    for folder in [folder, root().join("tests/src/bin/bench")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            text += &std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        }
    }
    let options = arguments.iter().filter_map(|word| word.strip_prefix("--"));
    let mut unknown = options.filter(|option| !text.contains(*option));
    unknown
        .next()
        .map(|option| format!("{path} knows no --{option}"))
}

#[test]
fn proofs_are_there() {
    for Proof {
        command,
        by: (file, function),
        says,
    } in PROOFS
    {
        let text = read(file);
        let body = if function.is_empty() {
            text.as_str()
        } else {
            let begin = format!("fn {function}(");
            let Some((_, after)) = text.split_once(&begin) else {
                panic!("{command}: {file} has no {function}");
            };
            after.split("\n}\n").next().unwrap()
        };
        for said in says {
            assert!(
                body.contains(said),
                "{command}: {function} in {file} does not say {said}"
            );
        }
    }
}
