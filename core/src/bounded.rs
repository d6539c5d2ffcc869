//! Lists of messages, refused while they are read when they are longer than any run's.
//!
//! A few bytes on the wire can stand for a list, or for a histogram, that is thousands of times as
//! large in memory. Those who send are tenants, and all of their runs share one coordinating
//! process: what nobody can mean must never be made. Whether a list fits the plan of its own run is
//! the coordinator's question, later.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::plan::MAX_SERIES;

/// No plan has more rows of any kind: request names, checks, groups, feeders, values.
const MOST_ROWS: usize = MAX_SERIES;

/// A list of at most [`MOST_ROWS`].
pub(crate) fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    checked_list(from, |_| Ok(()))
}

/// A list of at most [`MOST_ROWS`] whose items are looked at one by one, as they are read: the
/// first that is wrong is the last that is made.
pub(crate) fn checked_list<'de, D, T>(from: D, check: Check<T>) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(List(check))
}

/// A map of at most so many entries.
pub(crate) fn map<'de, D, K, V>(from: D, most: usize) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    from.deserialize_map(Map(most, PhantomData))
}

/// A map of at most [`MOST_ROWS`] entries, or none.
pub(crate) fn optional_map<'de, D, K, V>(from: D) -> Result<Option<BTreeMap<K, V>>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    let entries: Option<Entries<K, V>> = Option::deserialize(from)?;
    Ok(entries.map(|entries| entries.0))
}

/// Says what is wrong with an item, if anything is.
type Check<T> = fn(&T) -> Result<(), &'static str>;

struct List<T>(Check<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a list of at most {MOST_ROWS}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let announced = announced(from.size_hint(), MOST_ROWS)?;
        let mut list = Vec::with_capacity(announced);
        while list.len() < MOST_ROWS {
            let Some(item) = from.next_element()? else {
                return Ok(list);
            };
            (self.0)(&item).map_err(A::Error::custom)?;
            list.push(item);
        }
        match from.next_element::<IgnoredAny>()? {
            None => Ok(list),
            Some(_) => Err(too_long(MOST_ROWS)),
        }
    }
}

struct Map<K, V>(usize, PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for Map<K, V>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    type Value = BTreeMap<K, V>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a map of at most {}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<BTreeMap<K, V>, A::Error> {
        announced(from.size_hint(), self.0)?;
        let mut map = BTreeMap::new();
        while let Some((key, value)) = from.next_entry()? {
            map.insert(key, value);
            if map.len() > self.0 {
                return Err(too_long(self.0));
            }
        }
        Ok(map)
    }
}

/// An entry of an option is read by its type alone.
struct Entries<K, V>(BTreeMap<K, V>);

impl<'de, K, V> Deserialize<'de> for Entries<K, V>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        map(from, MOST_ROWS).map(Self)
    }
}

/// How many items are said to come: enough to refuse a list before its first item.
fn announced<E: Error>(hint: Option<usize>, most: usize) -> Result<usize, E> {
    match hint {
        Some(count) if count > most => Err(too_long(most)),
        hint => Ok(hint.unwrap_or(0)),
    }
}

fn too_long<E: Error>(most: usize) -> E {
    E::custom(format_args!("a list is longer than {most}"))
}
