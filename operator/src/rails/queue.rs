//! Which runs may be made now, and which wait for others to end.
//!
//! The queue is in the cluster: a run that was let go has the annotation
//! [`names::ADMITTED`](crate::names::ADMITTED), written before its first object is made, so a
//! successor counts the same runs. Places are given in the order of creation. A run that only its own
//! namespace keeps waiting lets others pass; since every place that becomes free goes to the oldest
//! run that may have it, nobody waits for ever behind younger ones.
//!
//! What this process has let go is also kept in memory: its annotation may not have come back by the
//! watch yet. That may only make a run wait longer, never go sooner.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use kube::{ResourceExt, core::DynamicObject, runtime::reflector::ObjectRef};
use loadtest_core::report::UnixMicros;
use loadtest_crds::status::DATA_MISSING;
use serde_json::Value;

use super::{GuardRails, Limit};
use crate::{context::Context, names, objects};

/// A run whose turn or place has changed is called again after this long: its reconcile may be
/// failing and backing off.
const CALL_AGAIN: UnixMicros = 2_000_000;

/// A run that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    uid: String,
    namespace: String,
    name: String,
    created: UnixMicros,
    /// It was let go.
    active: bool,
}

/// What becomes of a run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may be made.
    Now,
    /// It waits: its place in the queue, and what for, in one sentence.
    Later(String),
}

/// What this process remembers of the queue.
#[derive(Debug, Default)]
pub struct Queue {
    /// Uids of runs that were let go.
    admitted: Mutex<HashSet<String>>,
    /// When runs were called, by uid.
    called: Mutex<HashMap<String, UnixMicros>>,
}

impl Queue {
    /// Whether a run may be made now. One that may counts as let go from now on.
    pub fn turn(&self, ctx: &Context, uid: &str) -> Turn {
        let rails = &ctx.settings.rails;
        if !rails.has_queue() {
            return Turn::Now;
        }
        // Held over the decision: two runs must not take the same place.
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turns = turns(&entries(ctx, &admitted, Some(uid)), rails);
        let turn = turns.remove(uid).unwrap_or(Turn::Now);
        if turn == Turn::Now {
            admitted.insert(uid.to_owned());
        }
        turn
    }

    /// Has those reconciled that may be made now, and those whose place has changed.
    pub fn call(&self, ctx: &Context, now: UnixMicros) {
        if !ctx.settings.rails.has_queue() || !ctx.leadership.is_valid() {
            return;
        }
        let runs = ctx.runs.state();
        let turns = {
            let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
            let there: HashSet<_> = runs.iter().filter_map(|run| run.uid()).collect();
            admitted.retain(|uid| there.contains(uid));
            turns(&entries(ctx, &admitted, None), &ctx.settings.rails)
        };
        let waiting = turns.values().filter(|turn| **turn != Turn::Now).count();
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        ctx.metrics.queued_runs.set(waiting);
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.retain(|_, at| now - *at < CALL_AGAIN);
        for run in runs {
            let uid = run.uid().unwrap_or_default();
            let changed = match turns.get(&uid) {
                None => false,
                Some(Turn::Now) => true,
                Some(Turn::Later(message)) => said(&run) != Some(message),
            };
            if changed && !called.contains_key(&uid) {
                ctx.registry
                    .call(ObjectRef::from_obj_with(&*run, ctx.kinds.run.clone()));
                called.insert(uid, now);
            }
        }
    }
}

/// What the status says of a run that waits.
fn said(run: &DynamicObject) -> Option<&str> {
    run.data.pointer("/status/message").and_then(Value::as_str)
}

/// All runs that are not over and may take a place; `asking`, which is about to, whatever its status
/// said before.
fn entries(ctx: &Context, admitted: &HashSet<String>, asking: Option<&str>) -> Vec<Entry> {
    let runs = ctx.runs.state();
    let mut entries: Vec<_> = runs
        .iter()
        .filter_map(|run| {
            let under_way = ctx.registry.get(&objects::run_id(run)).is_some();
            entry(run, under_way, admitted, asking)
        })
        .collect();
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.created, entry.namespace.clone(), entry.name.clone());
        key(a).cmp(&key(b))
    });
    entries
}

fn entry(
    run: &DynamicObject,
    under_way: bool,
    admitted: &HashSet<String>,
    asking: Option<&str>,
) -> Option<Entry> {
    let uid = run.uid()?;
    if objects::is_finished(run) || run.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let made = run.data.pointer("/status/run/planHash").is_some();
    let noted = run.annotations().contains_key(names::ADMITTED);
    let active = made || noted || under_way || admitted.contains(&uid);
    let field = |pointer: &str| run.data.pointer(pointer);
    let cancelled = field("/spec/cancel") == Some(&Value::Bool(true));
    let asks = asking == Some(uid.as_str());
    if !active && !asks && (cancelled || waits_for_data(run)) {
        return None;
    }
    Some(Entry {
        namespace: run.namespace().unwrap_or_default(),
        name: run.name_any(),
        created: run
            .creation_timestamp()
            .map_or(0, |time| time.0.as_microsecond()),
        active,
        uid,
    })
}

/// A run that could not use a place does not keep one from others.
fn waits_for_data(run: &DynamicObject) -> bool {
    let conditions = run.data.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["reason"] == DATA_MISSING)
}

/// What becomes of each run that waits, by uid. `entries` are in the order of creation.
fn turns(entries: &[Entry], rails: &GuardRails) -> BTreeMap<String, Turn> {
    let mut all = 0_u32;
    let mut of: HashMap<&str, u32> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.active) {
        all += 1;
        *of.entry(&entry.namespace).or_default() += 1;
    }
    // What is under way, without those that may go now: that is what people can see.
    let (seen, seen_of) = (all, of.clone());
    let mut turns = BTreeMap::new();
    let mut place = 0;
    for entry in entries.iter().filter(|entry| !entry.active) {
        let namespace = entry.namespace.as_str();
        let taken = of.entry(namespace).or_default();
        let own = rails
            .limit(namespace, "maxConcurrentRuns", |of| {
                of.max_concurrent_runs.as_ref()
            })
            .filter(|limit| *taken >= count(*limit.value));
        let whole = rails
            .file
            .max_concurrent_runs
            .as_ref()
            .filter(|most| all >= count(**most))
            .map(|value| Limit {
                value,
                set_in: "maxConcurrentRuns of the operator's configuration".to_owned(),
            });
        let (limit, scope, seen) = match (own, whole) {
            (None, None) => {
                all += 1;
                *taken += 1;
                turns.insert(entry.uid.clone(), Turn::Now);
                continue;
            }
            (Some(limit), _) => {
                let seen = seen_of.get(namespace).copied().unwrap_or(0);
                (limit, format!("namespace {namespace:?}"), seen)
            }
            (None, Some(limit)) => (limit, "the cluster".to_owned(), seen),
        };
        place += 1;
        let runs = if seen == 1 { "run is" } else { "runs are" };
        let message = format!(
            "waits at place {place} of the queue: {seen} {runs} under way in {scope}, at most {} by {}",
            limit.value, limit.set_in
        );
        turns.insert(entry.uid.clone(), Turn::Later(message));
    }
    turns
}

fn count(limit: i32) -> u32 {
    u32::try_from(limit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `name/namespace` in the order of creation; those that were let go end with `!`.
    fn entries_of(texts: &[&str]) -> Vec<Entry> {
        let entries = texts.iter().zip(0..);
        entries
            .map(|(text, created)| {
                let active = text.ends_with('!');
                let (name, namespace) = text.trim_end_matches('!').split_once('/').unwrap();
                Entry {
                    uid: name.to_owned(),
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    created,
                    active,
                }
            })
            .collect()
    }

    fn rails(text: &str) -> GuardRails {
        GuardRails::parse(text).unwrap()
    }

    fn now(entries: &[Entry], rails: &GuardRails) -> Vec<String> {
        let turns = turns(entries, rails);
        let free = turns.into_iter().filter(|(_, turn)| *turn == Turn::Now);
        free.map(|(uid, _)| uid).collect()
    }

    #[test]
    fn the_oldest_go_first_and_a_full_namespace_lets_others_pass() {
        let two = rails("maxConcurrentRuns: 2");
        assert_eq!(now(&entries_of(&["a/x", "b/x", "c/x"]), &two), ["a", "b"]);
        assert_eq!(now(&entries_of(&["a/x", "b/x!", "c/x"]), &two), ["a"]);
        assert!(now(&entries_of(&["a/x!", "b/x!", "c/x"]), &two).is_empty());
        let of_each = rails(
            "maxConcurrentRuns: 3\nlimits: { maxConcurrentRuns: 1 }\nnamespaces: { perf: { maxConcurrentRuns: 2 } }",
        );
        let waiting = entries_of(&["a/x!", "b/x", "c/perf", "d/z", "e/perf"]);
        assert_eq!(now(&waiting, &of_each), ["c", "d"]);
        // When its namespace has a place again, the oldest gets the next one of the cluster.
        let later = entries_of(&["b/x", "c/perf!", "d/z!", "e/perf"]);
        assert_eq!(now(&later, &of_each), ["b"]);
    }

    #[test]
    fn who_waits_is_told_its_place_and_what_for() {
        let rails = rails("maxConcurrentRuns: 2\nnamespaces: { perf: { maxConcurrentRuns: 1 } }");
        let waiting = entries_of(&["a/x!", "b/perf!", "c/perf", "d/x"]);
        let turns = turns(&waiting, &rails);
        assert_eq!(
            turns["c"],
            Turn::Later("waits at place 1 of the queue: 1 run is under way in namespace \"perf\", at most 1 by namespaces.perf.maxConcurrentRuns of the operator's configuration".to_owned())
        );
        assert_eq!(
            turns["d"],
            Turn::Later("waits at place 2 of the queue: 2 runs are under way in the cluster, at most 2 by maxConcurrentRuns of the operator's configuration".to_owned())
        );
    }

    #[test]
    fn no_more_go_than_may_and_everybody_goes_in_time() {
        let rails = rails("maxConcurrentRuns: 3\nlimits: { maxConcurrentRuns: 2 }");
        let names: Vec<String> = (0..24).map(|n| format!("r{n:02}/n{}", n % 5 % 3)).collect();
        let texts: Vec<_> = names.iter().map(String::as_str).collect();
        let mut left = entries_of(&texts);
        let mut order = Vec::new();
        while !left.is_empty() {
            for uid in now(&left, &rails) {
                let entry = left.iter_mut().find(|entry| entry.uid == uid).unwrap();
                entry.active = true;
                order.push(uid);
            }
            let active = left.iter().filter(|entry| entry.active);
            assert!((1..=3).contains(&active.count()));
            // Any of them may end first.
            let ends = left.iter().rposition(|entry| entry.active).unwrap();
            left.remove(ends);
        }
        assert_eq!(order.len(), 24);
        let late = order.iter().position(|uid| uid == "r00").unwrap();
        assert_eq!(late, 0);
    }

    #[test]
    fn what_is_known_of_a_run_is_read_from_the_run() {
        let run = |spec: Value, status: Value, annotations: Value| -> DynamicObject {
            let metadata =
                json!({"name": "r", "namespace": "n", "uid": "u", "annotations": annotations});
            let object = json!({"metadata": metadata, "spec": spec, "status": status});
            serde_json::from_value(object).unwrap()
        };
        let none = HashSet::new();
        let active = |run: &DynamicObject| entry(run, false, &none, None).map(|entry| entry.active);
        let (nothing, data) = (
            json!({}),
            json!({"conditions": [{"type": "Accepted", "reason": "DataMissing"}]}),
        );
        let finished = json!({"conditions": [{"type": "Finished", "status": "True"}]});
        let admitted = json!({"loadtest.dev/admitted": "1"});
        assert_eq!(
            active(&run(nothing.clone(), nothing.clone(), nothing.clone())),
            Some(false)
        );
        assert_eq!(
            active(&run(nothing.clone(), nothing.clone(), admitted.clone())),
            Some(true)
        );
        let hashed = json!({"run": {"planHash": "h"}});
        assert_eq!(
            active(&run(nothing.clone(), hashed, nothing.clone())),
            Some(true)
        );
        let data = run(nothing.clone(), data, nothing.clone());
        assert_eq!(active(&data), None);
        // Its data is there now, and its status does not know yet.
        assert!(entry(&data, false, &none, Some("u")).is_some());
        assert_eq!(active(&run(nothing.clone(), finished, admitted)), None);
        assert_eq!(
            active(&run(json!({"cancel": true}), nothing.clone(), nothing)),
            None
        );
    }
}
