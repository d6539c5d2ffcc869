//! From events to nodes: anchors, merge keys, duplicate keys.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::{Content, Entry, Node, scalar};
use crate::problem::{Place, Problem, Stage};

/// Deepest nesting; the API server's own limit is far above what any manifest has.
const MAX_DEPTH: usize = 100;
/// Most nodes, aliases resolved: keeps a small text from becoming a large tree.
const MAX_NODES: usize = 500_000;

/// Every document of a text that is not empty.
///
/// # Errors
/// The first place that is not YAML, or that JSON has no form for.
pub fn parse(text: &str) -> Result<Vec<Node>, Problem> {
    let mut composer = Composer {
        events: Parser::new_from_str(text),
        lines: text.lines().collect(),
        in_brackets: false,
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    while let Some((event, span)) = composer.next()? {
        match event {
            Event::DocumentStart(_) => composer.anchors.clear(),
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
            event => documents.push(composer.node(event, span, 0)?),
        }
    }
    documents.retain(|node| node.content != Content::Null);
    Ok(documents)
}

struct Composer<'a> {
    events: Parser<'a, StrInput<'a>>,
    lines: Vec<&'a str>,
    /// Whether what is read now is between `{` and `}` or `[` and `]`.
    in_brackets: bool,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Problem> {
        match self.events.next() {
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => Err(refused(
                place(*error.marker()),
                format!("not YAML: {}", error.info()),
            )),
            None => Ok(None),
        }
    }

    fn expect(&mut self, at: Place) -> Result<(Event<'a>, Span), Problem> {
        self.next()?
            .ok_or_else(|| refused(at, "not YAML: the text ends too early"))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let at = place(span.start);
        self.grow(1, at)?;
        if depth > MAX_DEPTH {
            return Err(refused(
                at,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        let (anchor, content) = match event {
            Event::Alias(anchor) => {
                let node = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| refused(at, "an alias of an anchor that is not complete"))?;
                self.grow(size(&node), at)?;
                return Ok(Node { place: at, ..node });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag
                    .as_deref()
                    .map(|tag| format!("{}{}", tag.handle, tag.suffix));
                let plain = style == ScalarStyle::Plain;
                // YAML 1.2 allows it, but kubectl's YAML 1.1 ends the text there.
                if plain && self.in_brackets && text.contains('?') {
                    let message = format!(
                        "not YAML for kubectl: {text:?} has a ? between {{ }} or [ ]: put it in quotes"
                    );
                    return Err(refused(at, message));
                }
                let content = scalar::resolve(&text, plain, tag.as_deref())
                    .map_err(|message| refused(at, message))?;
                (anchor, content)
            }
            Event::SequenceStart(anchor, _) => {
                let outer = self.enter(span);
                let content = self.list(at, depth)?;
                self.in_brackets = outer;
                (anchor, content)
            }
            Event::MappingStart(anchor, _) => {
                let outer = self.enter(span);
                let content = self.map(at, depth)?;
                self.in_brackets = outer;
                (anchor, content)
            }
            _ => return Err(refused(at, "not YAML: a value is missing")),
        };
        let node = Node { place: at, content };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Notes whether a collection that begins here is in brackets, and returns what was before.
    fn enter(&mut self, span: Span) -> bool {
        let outer = self.in_brackets;
        let line = self.lines.get(span.start.line().saturating_sub(1));
        let mut rest = line
            .and_then(|line| {
                let (at, _) = line.char_indices().nth(span.start.col())?;
                line.get(at..)
            })
            .unwrap_or_default();
        // It begins with its anchor and its tag, if it has any.
        while rest.starts_with(['&', '!']) {
            let (_, after) = rest.split_once(char::is_whitespace).unwrap_or_default();
            rest = after.trim_start();
        }
        self.in_brackets = outer || rest.starts_with(['{', '[']);
        outer
    }

    fn list(&mut self, at: Place, depth: usize) -> Result<Content, Problem> {
        let mut items = Vec::new();
        loop {
            match self.expect(at)? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, at: Place, depth: usize) -> Result<Content, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.expect(at)?;
            if event == Event::MappingEnd {
                break;
            }
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key_node = self.node(event, span, depth + 1)?;
            let key_place = key_node.place;
            let key =
                scalar::key(&key_node.content).map_err(|message| refused(key_place, message))?;
            let (event, span) = self.expect(at)?;
            let value = self.node(event, span, depth + 1)?;
            if merge {
                merge_into(&mut merged, value, key_place)?;
            } else if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let line = first.place.line;
                return Err(refused(
                    key_place,
                    format!(
                        "{key:?} is here twice, first in line {line}; only the last would count"
                    ),
                ));
            } else {
                entries.push(Entry {
                    key,
                    place: key_place,
                    value,
                });
            }
        }
        merged.retain(|entry| !entries.iter().any(|own| own.key == entry.key));
        entries.append(&mut merged);
        Ok(Content::Map(entries))
    }

    fn grow(&mut self, by: usize, at: Place) -> Result<(), Problem> {
        self.nodes += by;
        if self.nodes > MAX_NODES {
            return Err(refused(at, format!("more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

/// `<<: *defaults`; of several mappings the first that has a key wins.
fn merge_into(merged: &mut Vec<Entry>, value: Node, at: Place) -> Result<(), Problem> {
    match value.content {
        Content::Map(entries) => {
            for entry in entries {
                if !merged.iter().any(|known| known.key == entry.key) {
                    merged.push(entry);
                }
            }
            Ok(())
        }
        Content::List(items) => items
            .into_iter()
            .try_for_each(|item| merge_into(merged, item, at)),
        _ => Err(refused(at, "<< needs a mapping or a list of mappings")),
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.value)).sum(),
        _ => 0,
    }
}

fn place(marker: Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn refused(at: Place, message: impl Into<String>) -> Problem {
    Problem {
        at: Some(at),
        ..Problem::new(Stage::Yaml, "", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tried with kubectl 1.34: each of the refused is an error there, too.
    #[test]
    fn a_question_mark_ends_a_text_between_brackets() {
        for taken in [
            "a: /get?x=1",
            "a: { b: \"/get?x=1\" }",
            "a: ['b?']\nc: d?",
            "- [a]\n- b?c",
            "a: &x\n  b: c?d",
        ] {
            assert!(parse(taken).is_ok(), "{taken}");
        }
        for refused in [
            "a: { b: /get?x=1 }",
            "[a, b?]",
            "a: &x { b: c?d }",
            "a: !!map { b: c?d }",
            "a: { b: [c], d: e?f }",
            "[a: b?c]",
        ] {
            let message = parse(refused).unwrap_err().message;
            assert!(
                message.ends_with("put it in quotes"),
                "{refused}: {message}"
            );
        }
    }
}
