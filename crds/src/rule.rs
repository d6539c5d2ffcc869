//! The schema's CEL rules, each declared once: the text that the API server evaluates and the
//! check that runs here come from the same value.
//!
//! The forms are few on purpose. "Exactly one" is written as a sum: it costs the API server a
//! tenth of the list form, and its sentence is ours.

use kube::core::Rule;
use serde_json::Value;

/// What must hold of a value.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Exactly one of these members of an object is set.
    ExactlyOne(&'static [&'static str]),
    /// At least one of these members of an object is set.
    AtLeastOne(&'static [&'static str]),
    /// As many of the first members of an object are set as of the second: a member that needs
    /// exactly one of the others.
    Beside(&'static [&'static str], &'static str),
    /// The text begins with one of these.
    BeginsWith(&'static [&'static str]),
    /// `metadata.name` is a DNS label of at most so many characters.
    Named(usize),
    /// The member, once set, stays as it is; only an update can break this.
    Fixed(&'static str),
}

/// A rule: what must hold, and the sentence for when it does not.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    form: Form,
    message: &'static str,
}

/// A load is one of the models.
pub const LOAD: Declared = Declared {
    form: Form::ExactlyOne(&[
        "constantRate",
        "rampingRate",
        "constantUsers",
        "rampingUsers",
        "sharedIterations",
        "perUserIterations",
    ]),
    message: "set exactly one of constantRate, rampingRate, constantUsers, rampingUsers, sharedIterations, perUserIterations",
};
/// A task does one list of steps.
pub const TASK: Declared = Declared {
    form: Form::ExactlyOne(&["steps", "flow"]),
    message: "set exactly one of steps, flow",
};
/// A step is one thing.
pub const STEP: Declared = Declared {
    form: Form::ExactlyOne(&[
        "request", "pause", "set", "call", "group", "repeat", "parallel", "custom",
    ]),
    message: "set exactly one of request, pause, set, call, group, repeat, parallel, custom",
};
/// A flow is repeated in one way.
pub const REPEAT: Declared = Declared {
    form: Form::ExactlyOne(&["times", "while", "forEach"]),
    message: "set exactly one of times, while, forEach",
};
/// A condition looks at one thing.
pub const WHEN: Declared = Declared {
    form: Form::ExactlyOne(&["probability", "var"]),
    message: "set exactly one of probability, var",
};
/// What a text must fulfil.
const TESTS: &[&str] = &["equals", "notEquals", "contains", "matches", "exists"];
/// A value is tested in one way, and nothing else is.
pub const WHEN_TEST: Declared = Declared {
    form: Form::Beside(TESTS, "var"),
    message: "set exactly one of equals, notEquals, contains, matches, exists beside var, and none of them beside probability",
};
/// Something of an answer is tested in one way.
pub const TEST: Declared = Declared {
    form: Form::ExactlyOne(TESTS),
    message: "set exactly one of equals, notEquals, contains, matches, exists",
};
/// A check looks at one thing.
pub const CHECK: Declared = Declared {
    form: Form::ExactlyOne(&["status", "bodyContains", "jsonPath", "header", "maxLatency"]),
    message: "set exactly one of status, bodyContains, jsonPath, header, maxLatency",
};
/// A check of a custom step, which has no headers, looks at one thing.
pub const CUSTOM_CHECK: Declared = Declared {
    form: Form::ExactlyOne(&["status", "bodyContains", "jsonPath", "maxLatency"]),
    message: "set exactly one of status, bodyContains, jsonPath, maxLatency",
};
/// A value is extracted from one place.
pub const EXTRACT: Declared = Declared {
    form: Form::ExactlyOne(&["jsonPath", "header", "regex"]),
    message: "set exactly one of jsonPath, header, regex",
};
/// A part is written here or in a file.
pub const PART: Declared = Declared {
    form: Form::ExactlyOne(&["value", "file"]),
    message: "set exactly one of value, file",
};
/// Rows come from one place.
pub const DATA_FROM: Declared = Declared {
    form: Form::ExactlyOne(&["inline", "configMapRef", "path"]),
    message: "set exactly one of inline, configMapRef, path",
};
/// A threshold looks at one part of the requests.
pub const SELECTOR: Declared = Declared {
    form: Form::ExactlyOne(&["request", "scenario", "group"]),
    message: "set exactly one of request, scenario, group",
};
/// What a tolerance is of.
pub const TOLERANCE_SELECTOR: Declared = Declared {
    form: Form::ExactlyOne(&["request", "group"]),
    message: "set exactly one of request, group",
};
/// Requests prove who they are in one way.
pub const TARGET_AUTH: Declared = Declared {
    form: Form::ExactlyOne(&["basic", "bearer", "oauth2ClientCredentials"]),
    message: "set exactly one of basic, bearer, oauth2ClientCredentials",
};
/// An authorization server's url is absolute.
pub const TOKEN_URL: Declared = Declared {
    form: Form::BeginsWith(&["http://", "https://"]),
    message: "must be an absolute http or https url, such as https://login.example.com/oauth2/token",
};
/// Credentials are of one kind.
pub const AUTH: Declared = Declared {
    form: Form::ExactlyOne(&["basic", "apiKey", "bearer"]),
    message: "set exactly one of basic, apiKey, bearer",
};
/// A CA comes from one place.
pub const CA: Declared = Declared {
    form: Form::ExactlyOne(&["configMap", "secret"]),
    message: "set exactly one of configMap, secret",
};
/// A run needs a test.
pub const RUN: Declared = Declared {
    form: Form::AtLeastOne(&["loadTestRef", "test"]),
    message: "set loadTestRef to run a LoadTest, or test to run one written here",
};
/// A target is absolute.
pub const TARGET_HTTP: Declared = Declared {
    form: Form::BeginsWith(&["http://", "https://"]),
    message: "must be an absolute http or https url, such as http://shop.perf.svc:8080",
};
/// A proxy is spoken to in plain HTTP.
pub const PROXY_HTTP: Declared = Declared {
    form: Form::BeginsWith(&["http://"]),
    message: "must be an http url, such as http://proxy.perf.svc:3128: https targets are reached through it by CONNECT",
};
/// A step's url is relative to the target or absolute.
pub const STEP_URL: Declared = Declared {
    form: Form::BeginsWith(&["/", "http://", "https://", "$("]),
    message: "must begin with / (relative to target.url) or with http:// or https://, or be a template of a path",
};
/// A search server is named or written here.
pub const SEARCH: Declared = Declared {
    form: Form::ExactlyOne(&["profile", "urls"]),
    message: "set exactly one of profile, urls",
};
/// A search server's url is absolute.
pub const SEARCH_URL: Declared = Declared {
    form: Form::BeginsWith(&["http://", "https://"]),
    message: "must be an absolute http or https url, such as https://es-http.perf.svc:9200",
};
/// The longest name of a test. The run adds `-` and its number (up to five digits), the Job's pods
/// `-` and their index (up to three): 52 + 6 + 4 = 62 of the 63 characters of a host name.
pub const MAX_TEST_NAME: usize = 52;
/// The longest name of a run: see [`MAX_TEST_NAME`].
pub const MAX_RUN_NAME: usize = 58;
/// Names of tests.
pub const TEST_NAME: Declared = Declared {
    form: Form::Named(MAX_TEST_NAME),
    message: "metadata.name must be at most 52 characters of a-z, 0-9 and -, beginning and ending with a letter or digit: the names of the runs, their Jobs and pods are made from it",
};
/// Names of runs.
pub const RUN_NAME: Declared = Declared {
    form: Form::Named(MAX_RUN_NAME),
    message: "metadata.name must be at most 58 characters of a-z, 0-9 and -, beginning and ending with a letter or digit: the names of the Job and its pods are made from it",
};
/// A run has one number for its life.
pub const RUN_NUMBER: Declared = Declared {
    form: Form::Fixed("number"),
    message: "number cannot be changed: create another LoadTestRun",
};
/// A run belongs to one test for its life.
pub const RUN_REF: Declared = Declared {
    form: Form::Fixed("loadTestRef"),
    message: "loadTestRef cannot be changed: create another LoadTestRun",
};
/// A run does one thing for its life.
pub const RUN_TEST: Declared = Declared {
    form: Form::Fixed("test"),
    message: "test cannot be changed: create another LoadTestRun",
};

const ALL: [Declared; 29] = [
    LOAD,
    TASK,
    STEP,
    REPEAT,
    WHEN,
    WHEN_TEST,
    TEST,
    CHECK,
    CUSTOM_CHECK,
    EXTRACT,
    PART,
    DATA_FROM,
    SELECTOR,
    TOLERANCE_SELECTOR,
    TARGET_AUTH,
    TOKEN_URL,
    AUTH,
    CA,
    RUN,
    TARGET_HTTP,
    PROXY_HTTP,
    STEP_URL,
    SEARCH,
    SEARCH_URL,
    TEST_NAME,
    RUN_NAME,
    RUN_NUMBER,
    RUN_REF,
    RUN_TEST,
];

impl Declared {
    /// The sentence.
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// The CEL text.
    pub fn cel(&self) -> String {
        let count = |fields: &[&str]| {
            let terms: Vec<_> = fields
                .iter()
                .map(|field| format!("(has(self.{}) ? 1 : 0)", escaped(field)))
                .collect();
            terms.join(" + ")
        };
        match self.form {
            Form::ExactlyOne(fields) => format!("{} == 1", count(fields)),
            Form::AtLeastOne(fields) => format!("{} >= 1", count(fields)),
            Form::Beside(fields, one) => format!("{} == {}", count(fields), count(&[one])),
            Form::BeginsWith(prefixes) => {
                let terms: Vec<_> = prefixes
                    .iter()
                    .map(|prefix| format!("self.startsWith('{prefix}')"))
                    .collect();
                terms.join(" || ")
            }
            Form::Named(longest) => format!(
                "self.metadata.name.size() <= {longest} && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')"
            ),
            Form::Fixed(field) => {
                format!(
                    "!has(oldSelf.{field}) || (has(self.{field}) && self.{field} == oldSelf.{field})"
                )
            }
        }
    }

    /// Whether a value fulfils it. Values of another type do: the schema refuses those.
    pub fn holds(&self, value: &Value) -> bool {
        let count = |fields: &[&str]| {
            fields
                .iter()
                .filter(|field| value.get(**field).is_some_and(|v| !v.is_null()))
                .count()
        };
        match self.form {
            Form::ExactlyOne(fields) => count(fields) == 1,
            Form::AtLeastOne(fields) => count(fields) >= 1,
            Form::Beside(fields, one) => count(fields) == count(&[one]),
            Form::BeginsWith(prefixes) => value
                .as_str()
                .is_none_or(|text| prefixes.iter().any(|prefix| text.starts_with(prefix))),
            Form::Named(longest) => value
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .is_none_or(|name| name.chars().count() <= longest && is_label(name)),
            Form::Fixed(_) => true,
        }
    }

    /// The declaration of a rule in a schema.
    pub(crate) fn find(cel: &str, message: &str) -> Option<Self> {
        ALL.into_iter()
            .find(|rule| rule.message == message && rule.cel() == cel)
    }
}

impl From<Declared> for Rule {
    fn from(rule: Declared) -> Self {
        Self::new(rule.cel()).message(rule.message)
    }
}

/// Members whose names are words of CEL are written otherwise in it.
fn escaped(field: &str) -> String {
    match field {
        "while" | "var" => format!("__{field}__"),
        _ => field.to_owned(),
    }
}

/// Whether a name has the form of a DNS label.
pub fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner)
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
}
