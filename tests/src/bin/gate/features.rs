//! What each thing that a scenario may say costs a request, beside the same request without it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};

use crate::weigh::{Cost, Subject, weigh};

/// The page with the prices; `make bench` puts it into docs/performance.md.
const FILE: &str = "tests/gate/features.md";

/// A request with one thing more than the bare one.
struct Feature {
    name: &'static str,
    /// Fields of the spec.
    spec: &'static str,
    /// Members of the request.
    request: &'static str,
    /// Steps around or before the request, in which `REQUEST` is the step with the request.
    steps: &'static str,
    /// Whether it needs a runner that knows [`Nothing`](crate::own_step::Nothing).
    own_step: bool,
}

const BARE: Feature = Feature {
    name: "a GET with one check of its status",
    spec: "",
    request: "url: /items, checks: [{ status: [200] }]",
    steps: "[REQUEST]",
    own_step: false,
};

/// The price of each is told without the bare request's.
const FEATURES: [Feature; 18] = [
    Feature {
        name: "check `bodyContains`",
        request: "url: /items, checks: [{ status: [200] }, { bodyContains: all is well }]",
        ..BARE
    },
    Feature {
        name: "check `header`",
        request: "url: /items, checks: [{ status: [200] }, { header: { name: server, equals: gate } }]",
        ..BARE
    },
    Feature {
        name: "check `maxLatency`",
        request: "url: /items, checks: [{ status: [200] }, { maxLatency: 10s }]",
        ..BARE
    },
    Feature {
        name: "check `jsonPath`, 48 bytes of JSON",
        request: "url: /items, checks: [{ status: [200] }, { jsonPath: { path: $.state, equals: done } }]",
        ..BARE
    },
    Feature {
        name: "`extract` by `jsonPath`, 48 bytes of JSON",
        request: "url: /items, checks: [{ status: [200] }], extract: [{ name: id, from: { jsonPath: $.id } }]",
        ..BARE
    },
    Feature {
        name: "`extract` by `regex`, 48 bytes",
        request: "url: /items, checks: [{ status: [200] }], extract: [{ name: id, from: { regex: 'id\":([0-9]+)' } }]",
        ..BARE
    },
    Feature {
        name: "`extract` by `header`",
        request: "url: /items, checks: [{ status: [200] }], extract: [{ name: id, from: { header: server } }]",
        ..BARE
    },
    Feature {
        name: "`$(randomInt 1 9)` in the url",
        request: "url: /items/$(randomInt 1 9), checks: [{ status: [200] }]",
        ..BARE
    },
    Feature {
        name: "`$(uuid)` in a header",
        request: "url: /items, headers: { x-id: $(uuid) }, checks: [{ status: [200] }]",
        ..BARE
    },
    Feature {
        name: "`$(hmacSha256 …)` in a header",
        spec: "variables: { key: k }",
        request: "url: /items, headers: { x-id: $(hmacSha256 var.key text) }, checks: [{ status: [200] }]",
        ..BARE
    },
    Feature {
        name: "a row of `data`, one column in the url",
        spec: "data: [{ name: rows, from: { inline: \"id\\n1\\n2\\n3\\n\" } }]",
        request: "url: /items/$(rows.id), checks: [{ status: [200] }]",
        ..BARE
    },
    Feature {
        name: "`set`, used in the url",
        request: "url: /items/$(x), checks: [{ status: [200] }]",
        steps: "[{ set: { x: a$(user.index) } }, REQUEST]",
        ..BARE
    },
    Feature {
        name: "`when: {probability: 100%}`",
        request: "url: /items, checks: [{ status: [200] }]",
        steps: "[{ when: { probability: 100% }, request: REQUEST }]",
        ..BARE
    },
    Feature {
        name: "`call` of a flow",
        spec: "flows: [{ name: one, steps: [REQUEST] }]",
        steps: "[{ call: { flow: one } }]",
        ..BARE
    },
    Feature {
        name: "`group`",
        spec: "flows: [{ name: one, steps: [REQUEST] }]",
        steps: "[{ group: { name: all, flow: one } }]",
        ..BARE
    },
    Feature {
        name: "`repeat` of one pass",
        spec: "flows: [{ name: one, steps: [REQUEST] }]",
        steps: "[{ repeat: { flow: one, times: 1 } }]",
        ..BARE
    },
    Feature {
        name: "`parallel` with one flow",
        spec: "flows: [{ name: one, steps: [REQUEST] }]",
        steps: "[{ parallel: { flows: [one] } }]",
        ..BARE
    },
    Feature {
        name: "a `custom` step that does nothing, on all threads",
        request: "url: /items, checks: [{ status: [200] }]",
        steps: "[{ custom: { kind: nothing } }, REQUEST]",
        own_step: true,
        ..BARE
    },
];

impl Feature {
    fn manifest(&self) -> String {
        let step = format!("{{ request: {{ {} }} }}", self.request);
        let steps = self
            .steps
            .replace(
                "request: REQUEST",
                &format!("request: {{ {} }}", self.request),
            )
            .replace("REQUEST", &step);
        let spec = self.spec.replace("REQUEST", &step);
        format!(
            "apiVersion: loadtest.dev/v1alpha1
kind: LoadTest
metadata: {{ name: gate }}
spec:
  target: {{ url: \"URL\" }}
  {spec}
  scenarios:
    - name: main
      load: {{ constantUsers: {{ users: USERS, duration: DURATION }} }}
      tasks:
        - steps: {steps}
"
        )
    }

    fn cost(&self, loadtest: &Path) -> Result<Cost> {
        let subject = Subject {
            name: self.name.to_owned(),
            manifest: self.manifest(),
            users: 64,
            export: false,
            own_step: self.own_step,
        };
        weigh(loadtest, &subject).with_context(|| self.name.to_owned())
    }
}

/// Weighs all of them and writes the page.
pub fn weigh_all(loadtest: &Path) -> Result<()> {
    let bare = BARE.cost(loadtest)?;
    let mut page = format!(
        "<!-- Written by `make gate-features`. Change tests/src/bin/gate/features.rs, not this file. -->\n
| one request | instructions | allocations |
|---|--:|--:|
| {} | {:.0} | {:.0} |
",
        BARE.name, bare.instructions, bare.allocations
    );
    for feature in &FEATURES {
        let cost = feature.cost(loadtest)?;
        let row = format!(
            "| + {} | {:+.0} | {:+.1} |",
            feature.name,
            cost.instructions - bare.instructions,
            // Rounded first, and never -0.0.
            ((cost.allocations - bare.allocations) * 10.0).round() / 10.0 + 0.0
        );
        println!("{row}");
        writeln!(page, "{row}")?;
    }
    fs::write(FILE, page).with_context(|| format!("cannot write {FILE}"))
}
