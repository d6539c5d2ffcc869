//! Request timeouts: one list per distinct timeout, checked at its front only.
//!
//! All entries of a list wait equally long, so it is ordered by nature: adding and removing touch
//! its ends or its neighbours, and nothing is ever searched or sorted. A user has one request at a
//! time, so its number is the entry's number too and nothing is allocated per request.

use crate::clock::Nanos;

const NONE: u32 = u32::MAX;

/// The deadlines of all requests that are under way on one worker.
#[derive(Debug)]
pub struct Deadlines {
    lists: Vec<List>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    deadline: Nanos,
    previous: u32,
    next: u32,
    /// Index of the list it is in, `NONE` when it is in none.
    list: u32,
}

const UNLINKED: Node = Node {
    deadline: 0,
    previous: NONE,
    next: NONE,
    list: NONE,
};

impl Deadlines {
    /// For so many distinct timeouts.
    pub fn new(timeouts: usize) -> Self {
        Self {
            lists: vec![
                List {
                    head: NONE,
                    tail: NONE
                };
                timeouts
            ],
            nodes: Vec::new(),
        }
    }

    /// Sets the deadline of a user's request; it must not be earlier than any other of the list.
    pub fn insert(&mut self, user: u32, list: usize, deadline: Nanos) {
        self.remove(user);
        if self.nodes.len() <= user as usize {
            self.nodes.resize(user as usize + 1, UNLINKED);
        }
        let Some(ends) = self.lists.get_mut(list) else {
            return;
        };
        let previous = ends.tail;
        ends.tail = user;
        if previous == NONE {
            ends.head = user;
        }
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = user;
        }
        if let Some(node) = self.nodes.get_mut(user as usize) {
            *node = Node {
                deadline,
                previous,
                next: NONE,
                list: list as u32,
            };
        }
    }

    /// The user's request has ended.
    pub fn remove(&mut self, user: u32) {
        let Some(node) = self.nodes.get_mut(user as usize) else {
            return;
        };
        let Node {
            previous,
            next,
            list,
            ..
        } = std::mem::replace(node, UNLINKED);
        let Some(ends) = self.lists.get_mut(list as usize) else {
            return;
        };
        if ends.head == user {
            ends.head = next;
        }
        if ends.tail == user {
            ends.tail = previous;
        }
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = next;
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
    }

    /// Removes and returns one user whose deadline has passed.
    pub fn expire(&mut self, now: Nanos) -> Option<u32> {
        let user = self.fronts().find(|(_, deadline)| *deadline <= now)?.0;
        self.remove(user);
        Some(user)
    }

    /// The earliest deadline.
    pub fn earliest(&self) -> Option<Nanos> {
        self.fronts().map(|(_, deadline)| deadline).min()
    }

    fn fronts(&self) -> impl Iterator<Item = (u32, Nanos)> + '_ {
        self.lists.iter().filter_map(|list| {
            self.nodes
                .get(list.head as usize)
                .map(|node| (list.head, node.deadline))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(deadlines: &mut Deadlines, now: Nanos) -> Vec<u32> {
        std::iter::from_fn(|| deadlines.expire(now)).collect()
    }

    #[test]
    fn only_what_is_due_and_still_there_expires() {
        let mut deadlines = Deadlines::new(2);
        for user in 0..6 {
            deadlines.insert(user, (user % 2) as usize, 100 + u64::from(user));
        }
        assert_eq!(deadlines.earliest(), Some(100));
        deadlines.remove(0);
        deadlines.remove(3);
        deadlines.remove(3);
        assert!(expired(&mut deadlines, 99).is_empty());
        assert_eq!(expired(&mut deadlines, 102), [2, 1]);
        assert_eq!(deadlines.earliest(), Some(104));
        deadlines.insert(4, 1, 300);
        assert_eq!(expired(&mut deadlines, 1_000), [5, 4]);
        assert_eq!(deadlines.earliest(), None);
        deadlines.insert(1, 0, 5);
        assert_eq!(expired(&mut deadlines, 5), [1]);
    }
}
