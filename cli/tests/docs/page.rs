//! A page of Markdown, as far as these tests look at it.

use std::{fs, path::PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A text of the repository.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of Markdown.
#[derive(Debug)]
pub struct Page {
    /// From the root of the repository.
    pub path: String,
    /// What stands between fences.
    pub blocks: Vec<Block>,
    /// Short code in the text, its lines joined.
    pub code: Vec<String>,
    /// Where links and pictures lead.
    pub links: Vec<String>,
    /// What links may lead to within it.
    pub anchors: Vec<String>,
}

/// What stands between two fences.
#[derive(Debug)]
pub struct Block {
    /// Of its opening fence, from 1.
    pub line: usize,
    /// What the fence says that it is.
    pub language: String,
    /// Without the fences.
    pub text: String,
}

impl Page {
    /// Reads a file.
    pub fn read(path: &str) -> Self {
        Self::parse(path, &read(path))
    }

    fn parse(path: &str, text: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut prose = String::new();
        let mut inside = false;
        for (number, line) in text.lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                if !inside {
                    blocks.push(Block {
                        line: number + 1,
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                inside = !inside;
                // What comes before a block and what comes after it are not one paragraph.
                prose.push_str("\n\n");
            } else if inside {
                let block = &mut blocks.last_mut().unwrap().text;
                block.push_str(line);
                block.push('\n');
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        assert!(!inside, "{path}: a block has no end");
        let (code, words) = code_and_words(&prose);
        Self {
            path: path.to_owned(),
            blocks,
            links: links(&words),
            anchors: anchors(&prose),
            code,
        }
    }

    /// The blocks of one language.
    pub fn blocks_of<'a>(&'a self, language: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks
            .iter()
            .filter(move |block| block.language == language)
    }
}

/// What stands between backticks, and everything else.
fn code_and_words(prose: &str) -> (Vec<String>, String) {
    let (mut code, mut words) = (Vec::new(), String::new());
    for paragraph in prose.split("\n\n") {
        for (index, part) in paragraph.split('`').enumerate() {
            if index % 2 == 0 {
                words.push_str(part);
            } else {
                let joined: Vec<_> = part.split_whitespace().collect();
                code.push(joined.join(" ").replace("\\|", "|"));
            }
        }
        words.push_str("\n\n");
    }
    (code, words)
}

fn links(words: &str) -> Vec<String> {
    let targets = words.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Headings, as GitHub and mdBook make anchors of them.
fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            heading
                .chars()
                .filter(kept)
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}
