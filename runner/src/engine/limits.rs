//! What the system allows one runner, looked at before a request is sent: open files and local
//! ports. A load that certainly cannot be held up is refused; one that perhaps cannot is let pass,
//! and what it lacks has a name in the results (`local_files`, `local_ports`).

use std::{fs, io, net::IpAddr};

use loadtest_core::{
    plan::{Connections, Lane, Load, Plan, Scenario, Target},
    shard::Shard,
};

use super::reach::needs_general;
use crate::sys;

/// Descriptors that a runner needs besides its users' connections.
const OTHER_FILES: u64 = 64;

/// The range that the kernel takes local ports from, for IPv6 too.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Why a runner cannot hold its users.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Every user needs its connections, and a connection a descriptor.
    #[error(
        "this runner needs {needed} open files for its users, its limit is {limit}: raise the limit of open files or use more runners"
    )]
    OpenFiles {
        /// Users' connections and the rest.
        needed: u64,
        /// Hard limit.
        limit: u64,
    },
    /// Every connection to one address needs a local port of its own.
    #[error(
        "scenario {scenario:?} has {users} users on this runner that all connect to {address}, but there are only {ports} local ports: use more runners, or widen net.ipv4.ip_local_port_range"
    )]
    LocalPorts {
        /// Which scenario.
        scenario: String,
        /// Its users on this runner.
        users: u64,
        /// The target's address.
        address: IpAddr,
        /// Ports that the system has for one address.
        ports: u64,
    },
    /// The limits cannot be read or raised.
    #[error("cannot raise the limit of open files: {0}")]
    System(#[from] io::Error),
}

/// Raises what can be raised, and refuses what certainly cannot be held up.
///
/// # Errors
/// [`LimitError`] says what is missing.
pub fn check(plan: &Plan, runner: Shard) -> Result<(), LimitError> {
    let limit = sys::raise_open_files()?;
    let needed = open_files(&plan.scenarios, runner);
    if needed > limit {
        return Err(LimitError::OpenFiles { needed, limit });
    }
    match port_range().map(|ports| local_ports(&plan.target, &plan.scenarios, runner, ports)) {
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    }
}

fn open_files(scenarios: &[Scenario], runner: Shard) -> u64 {
    let of_scenario = |scenario: &Scenario| {
        let users = runner.share(u64::from(scenario.load.max_users()));
        let lane = Lane::of(scenario);
        let each = match scenario.connections {
            Connections::PerRequest => lane.lanes() as u64,
            _ => lane.connections(),
        };
        users.saturating_mul(each)
    };
    let users = scenarios.iter().map(of_scenario);
    users.fold(OTHER_FILES, u64::saturating_add)
}

/// Certain is only a constant number of users that keep a connection each to an address that
/// nothing else can be resolved to.
fn local_ports(
    target: &Target,
    scenarios: &[Scenario],
    runner: Shard,
    ports: u64,
) -> Result<(), LimitError> {
    for scenario in scenarios {
        let Load::ConstantUsers { users, .. } = scenario.load else {
            continue;
        };
        let users = runner.share(u64::from(users));
        let own_only = Lane::of(scenario).is_single(None);
        let keeps = scenario.connections == Connections::KeepAlive;
        let direct = !needs_general(target);
        if let Ok(address) = target.origin.host.parse()
            && users > ports
            && own_only
            && keeps
            && direct
        {
            return Err(LimitError::LocalPorts {
                scenario: scenario.name.clone(),
                users,
                address,
                ports,
            });
        }
    }
    Ok(())
}

fn port_range() -> Option<u64> {
    let text = fs::read_to_string(PORT_RANGE).ok()?;
    let mut bounds = text.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (first, last) = (bounds.next()??, bounds.next()??);
    Some(last.saturating_sub(first) + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use loadtest_core::plan::{Cookies, Flow, Flows, Request, Step, Task};

    use super::*;

    fn target(host: &str) -> Target {
        let mut target = Target::default();
        host.clone_into(&mut target.origin.host);
        target
    }

    fn scenario(origins: &[Option<u32>]) -> Scenario {
        let step = |origin: &Option<u32>| {
            Step::Request(Box::new(Request {
                origin: *origin,
                ..Request::default()
            }))
        };
        Scenario {
            name: "main".to_owned(),
            start_after: Duration::ZERO,
            load: Load::ConstantUsers {
                users: 1_000,
                duration: Duration::from_secs(1),
            },
            graceful_stop: Duration::ZERO,
            connections: Connections::KeepAlive,
            cookies: Cookies::Off,
            tasks: vec![Task {
                steps: origins.iter().map(step).collect(),
                ..Task::default()
            }],
            flows: Flows::default(),
        }
    }

    const WHOLE: Shard = Shard { index: 0, parts: 1 };
    const HALF: Shard = Shard { index: 0, parts: 2 };

    #[test]
    fn only_what_is_certain_is_refused() {
        let refused = |host, origins, shard, ports| {
            let result = local_ports(&target(host), &[scenario(origins)], shard, ports);
            result.err().map(|error| error.to_string())
        };
        assert_eq!(
            refused("10.0.0.1", &[None], WHOLE, 999).unwrap(),
            "scenario \"main\" has 1000 users on this runner that all connect to 10.0.0.1, but there are only 999 local ports: use more runners, or widen net.ipv4.ip_local_port_range"
        );
        assert_eq!(refused("10.0.0.1", &[None], WHOLE, 1_000), None);
        assert_eq!(refused("10.0.0.1", &[None], HALF, 999), None);
        assert_eq!(refused("shop", &[None], WHOLE, 999), None);
        assert_eq!(refused("::1", &[None, Some(0)], WHOLE, 999), None);
        assert!(port_range().unwrap() > 1);
    }

    #[test]
    fn every_origin_of_a_user_needs_a_file() {
        let mut one = scenario(&[None, Some(0), None, Some(1)]);
        assert_eq!(open_files(&[one.clone()], WHOLE), 3_064);
        assert_eq!(open_files(&[one.clone()], HALF), 1_564);
        one.connections = Connections::PerRequest;
        assert_eq!(open_files(&[one.clone()], WHOLE), 1_064);
        // Two flows beside each other, one of them to two origins, twice.
        let flow = |steps: &[Step]| Flow {
            steps: steps.to_vec(),
            ..Flow::default()
        };
        let steps = &one.tasks[0].steps;
        one.flows.all = vec![flow(&steps[..1]), flow(&steps[..2])];
        one.tasks[0].steps.truncate(1);
        for _ in 0..2 {
            one.tasks[0].steps.push(Step::Parallel(vec![0, 1]));
        }
        assert_eq!(open_files(&[one.clone()], WHOLE), 3_064);
        one.connections = Connections::KeepAlive;
        assert_eq!(open_files(&[one], WHOLE), 4_064);
    }
}
