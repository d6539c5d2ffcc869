//! Where requests may go, and which of the two clients carries them.

use std::collections::BTreeSet;

use loadtest_core::plan::{Flow, Origin, Plan, Protocol, Scenario, Scheme, Step, Target};

use super::{
    compile::CompileError,
    tls::{self, TlsSetUpError},
};

/// The target's own origin and the others.
pub fn origins(target: &Target) -> Vec<Origin> {
    let own = std::iter::once(&target.origin);
    own.chain(&target.other_origins).cloned().collect()
}

/// Most flows that a user may do at the same time.
pub const MAX_LANES: usize = 64;

/// What a user does one thing after the other, with what it does beside it: each has connections
/// of its own.
#[derive(Debug, Default)]
pub struct Lane {
    /// Where its requests go, redirects aside.
    origins: BTreeSet<Option<u32>>,
    /// By their place in a parallel step: the next such step uses the same connections.
    branches: Vec<Self>,
    /// Flows that were looked into.
    seen: BTreeSet<u32>,
}

impl Lane {
    /// What a user of a scenario does. When that is more than [`MAX_LANES`] at the same time it may
    /// be any number more.
    pub fn of(scenario: &Scenario) -> Self {
        let mut lane = Self::default();
        let mut left = MAX_LANES;
        let flows = &scenario.flows;
        for task in &scenario.tasks {
            lane.add(&task.steps, &flows.all, &mut left);
        }
        for hook in [flows.on_start, flows.on_stop].into_iter().flatten() {
            lane.add(&[Step::Call(hook)], &flows.all, &mut left);
        }
        lane
    }

    /// How many things are done at the same time.
    pub fn lanes(&self) -> usize {
        let branches: usize = self.branches.iter().map(Self::lanes).sum();
        branches + 1
    }

    /// How many connections that takes, if each is kept for every origin.
    pub fn connections(&self) -> u64 {
        let branches: u64 = self.branches.iter().map(Self::connections).sum();
        branches + self.origins.len().max(1) as u64
    }

    /// Whether nothing is done but one thing after the other, and all with one origin.
    pub fn is_single(&self, origin: Option<u32>) -> bool {
        self.branches.is_empty() && self.origins == BTreeSet::from([origin])
    }

    fn add(&mut self, steps: &[Step], flows: &[Flow], left: &mut usize) {
        for step in steps {
            if let Some(request) = step.as_request() {
                self.origins.insert(request.origin);
            }
            let called = step.flows();
            if is_parallel(step) {
                while self.branches.len() < called.len() && *left > 0 {
                    self.branches.push(Self::default());
                    *left -= 1;
                }
                for (branch, flow) in self.branches.iter_mut().zip(called) {
                    branch.add_flow(flow, flows, left);
                }
            } else {
                for flow in called {
                    self.add_flow(flow, flows, left);
                }
            }
        }
    }

    fn add_flow(&mut self, flow: u32, flows: &[Flow], left: &mut usize) {
        if let Some(called) = flows.get(flow as usize)
            && self.seen.insert(flow)
        {
            self.add(&called.steps, flows, left);
        }
    }
}

fn is_parallel(step: &Step) -> bool {
    match step {
        Step::Parallel(_) => true,
        Step::When(conditional) => is_parallel(&conditional.step),
        _ => false,
    }
}

/// Whether only the general client can do what the target needs.
pub fn needs_general(target: &Target) -> bool {
    target.protocol == Protocol::Http2 || target.proxy.is_some()
}

/// # Errors
/// When that client cannot do what the target asks for.
pub fn check_general(target: &Target) -> Result<(), CompileError> {
    let plain = origins(target).iter().any(|o| o.scheme == Scheme::Http);
    let http2 = target.protocol == Protocol::Http2;
    if needs_general(target) && target.tls.server_name.is_some() {
        Err(CompileError::General(
            "target.tls.serverName cannot be used together with HTTP/2 or a proxy: use a url with that name",
        ))
    } else if http2 && target.proxy.is_some() && plain {
        Err(CompileError::General(
            "HTTP/2 without TLS does not go through a proxy: use https, or HTTP/1.1, or no proxy",
        ))
    } else {
        Ok(())
    }
}

/// How TLS is spoken; `None` if no request can get to https. Where only a redirect or a proxy
/// could need it, what is missing fails a request and not the run.
///
/// # Errors
/// When an https origin could not be spoken to.
pub fn tls_config(plan: &Plan) -> Result<Option<rustls::ClientConfig>, TlsSetUpError> {
    let target = &plan.target;
    let perhaps =
        || target.proxy.is_some() || plan.requests().any(|(.., r)| r.follow_redirects > 0);
    if origins(target).iter().any(|o| o.scheme == Scheme::Https) {
        tls::client_config(&target.tls).map(Some)
    } else if perhaps() {
        Ok(tls::client_config(&target.tls).ok())
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use Protocol::{Http1, Http2};
    use Scheme::{Http, Https};
    use loadtest_core::plan::TargetTls;

    use super::*;

    #[test]
    fn what_the_general_client_cannot_do_is_refused() {
        let target = |protocol, proxy: bool, scheme, name: bool| {
            let mut target = Target {
                protocol,
                proxy: proxy.then(|| "http://proxy:3128".to_owned()),
                tls: TargetTls {
                    server_name: name.then(|| "shop".to_owned()),
                    ..TargetTls::default()
                },
                ..Target::default()
            };
            target.origin.scheme = scheme;
            check_general(&target).map_err(|error| error.to_string())
        };
        for (protocol, proxy, scheme) in [
            (Http1, false, Https),
            (Http1, true, Http),
            (Http2, false, Http),
            (Http2, true, Https),
        ] {
            assert_eq!(target(protocol, proxy, scheme, false), Ok(()));
        }
        assert_eq!(target(Http1, false, Https, true), Ok(()));
        let refused = target(Http2, true, Http, false).unwrap_err();
        assert!(refused.starts_with("HTTP/2 without TLS does not go through a proxy"));
        let refused = target(Http1, true, Https, true).unwrap_err();
        assert!(refused.starts_with("target.tls.serverName cannot be used"));
    }
}
