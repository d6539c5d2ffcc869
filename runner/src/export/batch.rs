//! Documents on their way: what a sink is given at once, and what it says became of it.

use std::{borrow::Cow, ops::Range};

/// Which stream a document belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stream {
    /// One document per request.
    Requests,
    /// One document per interval and request name; failed exchanges that are kept.
    Metrics,
    /// Start and end of a run.
    Runs,
}

impl Stream {
    pub(super) const ALL: [Self; 3] = [Self::Requests, Self::Metrics, Self::Runs];

    /// The word in the stream's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Metrics => "metrics",
            Self::Runs => "runs",
        }
    }

    /// The name of the data stream of a namespace.
    pub(super) fn data_stream(self, prefix: &str, namespace: &str) -> String {
        format!("{prefix}-{}-{namespace}", self.name())
    }
}

/// Documents of one stream in the form of a bulk request: an action line with the id, then the
/// document in a line of its own.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) stream: Stream,
    /// Whether some of it may have been sent before, by an exporter that was killed.
    pub(super) suspect: bool,
    /// Whether it is of samples, which have a file of their own.
    pub(super) samples: bool,
    text: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    start: usize,
    document: usize,
    end: usize,
}

impl Batch {
    pub(super) fn new(stream: Stream) -> Self {
        Self::with_capacity(stream, 0, 0)
    }

    pub(super) fn with_capacity(stream: Stream, bytes: usize, items: usize) -> Self {
        Self {
            stream,
            suspect: false,
            samples: false,
            text: Vec::with_capacity(bytes),
            items: Vec::with_capacity(items),
        }
    }

    /// Adds a document; both closures append to the text, and neither writes a line break.
    pub(super) fn push(
        &mut self,
        id: impl FnOnce(&mut Vec<u8>),
        document: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.text.len();
        self.text.extend_from_slice(br#"{"create":{"_id":""#);
        id(&mut self.text);
        self.text.extend_from_slice(b"\"}}\n");
        let at = self.text.len();
        document(&mut self.text);
        self.text.push(b'\n');
        self.items.push(Item {
            start,
            document: at,
            end: self.text.len(),
        });
    }

    /// Adds a document that is rare enough to be a value; `id` is hex digits, letters and dashes.
    pub(super) fn push_value(&mut self, id: &str, document: &serde_json::Value) {
        self.push(
            |out| out.extend_from_slice(id.as_bytes()),
            |out| out.extend_from_slice(document.to_string().as_bytes()),
        );
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All actions and documents.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Action and document lines of an item.
    pub(super) fn action(&self, item: u32) -> &[u8] {
        self.slice(item, |item| item.start..item.end)
    }

    /// Action and document lines of items in their order: a copy only if some between them are
    /// left out.
    pub(super) fn actions(&self, items: &[u32]) -> Cow<'_, [u8]> {
        let ends = items.first().zip(items.last());
        let whole = ends.filter(|(first, last)| (*last - *first) as usize + 1 == items.len());
        let text = whole.and_then(|(first, last)| {
            let (first, last) = (
                self.items.get(*first as usize)?,
                self.items.get(*last as usize)?,
            );
            self.text.get(first.start..last.end)
        });
        let copy = || {
            let actions: Vec<_> = items.iter().map(|item| self.action(*item)).collect();
            Cow::Owned(actions.concat())
        };
        text.map_or_else(copy, Cow::Borrowed)
    }

    /// Document line of an item.
    pub(super) fn document(&self, item: u32) -> &[u8] {
        self.slice(item, |item| item.document..item.end)
    }

    /// Document lines of all items.
    pub(super) fn documents(&self) -> impl Iterator<Item = &[u8]> {
        self.items
            .iter()
            .filter_map(|item| self.text.get(item.document..item.end))
    }

    /// The id of an item, for messages and queries.
    pub(super) fn id(&self, item: u32) -> &str {
        let action = self.slice(item, |item| item.start..item.document);
        std::str::from_utf8(action)
            .ok()
            .and_then(|line| line.split('"').nth(5))
            .unwrap_or_default()
    }

    fn slice(&self, item: u32, range: impl FnOnce(&Item) -> Range<usize>) -> &[u8] {
        let item = self.items.get(item as usize);
        item.and_then(|item| self.text.get(range(item)))
            .unwrap_or_default()
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// The sink has them.
    pub(super) indexed: u64,
    /// The sink refused them for good.
    pub(super) rejected: u64,
    /// Given up.
    pub(super) lost: u64,
    /// Requests that were repeated.
    pub(super) retries: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_knows_its_lines_and_ids() {
        let mut batch = Batch::new(Stream::Runs);
        batch.push_value("ab-1", &serde_json::json!({"a": "x\ny"}));
        batch.push_value("ab-2", &serde_json::json!({}));
        assert_eq!(batch.action(1), b"{\"create\":{\"_id\":\"ab-2\"}}\n{}\n");
        assert_eq!(
            batch.documents().collect::<Vec<_>>(),
            [&b"{\"a\":\"x\\ny\"}\n"[..], b"{}\n"]
        );
        assert_eq!(
            (batch.id(0), batch.id(1), batch.id(2)),
            ("ab-1", "ab-2", "")
        );
        assert_eq!(batch.len(), 2);
        assert_eq!(batch.actions(&[0, 1]), batch.text());
        assert_eq!(batch.actions(&[1]), batch.action(1));
        batch.push_value("ab-3", &serde_json::json!({}));
        let left_out = [batch.action(0), batch.action(2)].concat();
        assert_eq!(batch.actions(&[0, 2]), left_out);
    }
}
