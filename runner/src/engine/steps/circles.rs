//! Flows that do each other: never in a circle, and not deeper than the stack bears.

use loadtest_core::plan::{Flow, Scenario, Step};

use super::StepError;

/// Most levels of flows that do each other.
pub(super) const MAX_DEPTH: usize = 64;

/// Refuses flows that come to themselves, and those that are too deep for the stack.
pub(super) fn refuse_circles(scenario: &Scenario) -> Result<(), StepError> {
    let flows = &scenario.flows.all;
    let scenario = || scenario.name.clone();
    let mut depths = vec![0; flows.len()];
    for flow in 0..flows.len() {
        let depth = depth(flows, flow, &mut depths, &mut Vec::new());
        let depth = depth.map_err(|circle| {
            let names = circle.iter().filter_map(|flow| flows.get(*flow));
            let names: Vec<_> = names.map(|flow| flow.name.as_str()).collect();
            StepError::Circle {
                scenario: scenario(),
                circle: names.join(" → "),
            }
        })?;
        if depth > MAX_DEPTH {
            return Err(StepError::TooDeep(scenario()));
        }
    }
    Ok(())
}

/// How many levels a flow has, with itself; or a way from a flow that comes to itself, if there is
/// one. `depths` are those that are known, else 0; `path` is how the flow was reached.
fn depth(
    flows: &[Flow],
    flow: usize,
    depths: &mut [usize],
    path: &mut Vec<usize>,
) -> Result<usize, Vec<usize>> {
    if let Some(begin) = path.iter().position(|passed| *passed == flow) {
        let mut circle = path.split_off(begin);
        circle.push(flow);
        return Err(circle);
    }
    let (Some(steps), Some(known)) = (flows.get(flow), depths.get(flow)) else {
        return Ok(0);
    };
    // Beyond the most there may be, nobody asks how many more.
    if *known > 0 || path.len() > MAX_DEPTH {
        return Ok((*known).max(1));
    }
    path.push(flow);
    let mut deepest = 0;
    for next in steps.steps.iter().flat_map(Step::flows) {
        deepest = deepest.max(depth(flows, next as usize, depths, path)?);
    }
    path.pop();
    if let Some(known) = depths.get_mut(flow) {
        *known = deepest + 1;
    }
    Ok(deepest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(calls: &[&[u32]]) -> Vec<Flow> {
        let flow = |calls: &&[u32]| Flow {
            name: String::new(),
            steps: calls.iter().map(|flow| Step::Call(*flow)).collect(),
        };
        calls.iter().map(flow).collect()
    }

    fn depth_of(flows: &[Flow], flow: usize) -> Result<usize, Vec<usize>> {
        depth(flows, flow, &mut vec![0; flows.len()], &mut Vec::new())
    }

    #[test]
    fn circles_are_found_and_levels_counted() {
        let tree = flows(&[&[1, 2], &[3, 3], &[1], &[]]);
        assert_eq!(depth_of(&tree, 0), Ok(4));
        assert_eq!(depth_of(&tree, 3), Ok(1));
        let circle = flows(&[&[1], &[2], &[3, 1], &[]]);
        assert_eq!(depth_of(&circle, 0), Err(vec![1, 2, 1]));
        assert_eq!(depth_of(&flows(&[&[0]]), 0), Err(vec![0, 0]));
        // Every flow does the next one twice: known levels are not looked at again.
        let calls: Vec<_> = (1..=60).map(|next| [next, next]).collect();
        let mut calls: Vec<&[u32]> = calls.iter().map(<[u32; 2]>::as_slice).collect();
        calls.push(&[]);
        assert_eq!(depth_of(&flows(&calls), 0), Ok(61));
        let calls: Vec<_> = (1..100_000).map(|next| [next]).collect();
        let mut calls: Vec<&[u32]> = calls.iter().map(<[u32; 1]>::as_slice).collect();
        calls.push(&[]);
        assert!(depth_of(&flows(&calls), 0).unwrap() > MAX_DEPTH);
    }
}
