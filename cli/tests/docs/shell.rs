//! Command lines of a shell, taken apart as far as the pages use it.

/// A line as a person would type it: continued lines joined, with what it is given to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// All of it, to be run.
    pub text: String,
    /// The commands in it, each as its words.
    pub commands: Vec<Vec<String>>,
    /// What it reads from the lines below it.
    pub input: Option<String>,
}

/// The lines of a block.
pub fn lines(block: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut rest = block.lines();
    while let Some(first) = rest.next() {
        let mut text = first.to_owned();
        while text.ends_with('\\') {
            text.pop();
            text.push_str(rest.next().unwrap_or_default().trim_start());
        }
        let mut input = None;
        if let Some((_, word)) = text.split_once("<<") {
            let end = word.trim().trim_matches('\'').to_owned();
            let body: Vec<_> = rest.by_ref().take_while(|line| *line != end).collect();
            input = Some(body.join("\n"));
        }
        let commands: Vec<_> = split(&text)
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect();
        if !commands.is_empty() {
            lines.push(Line {
                text,
                commands,
                input,
            });
        }
    }
    lines
}

/// Commands of a line: between pipes, `;`, `&&`, `||` and `&`, outside of quotes.
fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';') => {
                commands.last_mut().unwrap().extend(word.take());
                commands.push(Vec::new());
            }
            (None, '<') => {
                // What is read from below stands beside the commands.
                while characters.next_if(|next| !next.is_whitespace()).is_some() {}
            }
            (None, ' ' | '\t' | ')') => commands.last_mut().unwrap().extend(word.take()),
            (None, '>') => {
                let to = characters.by_ref().skip_while(|next| *next == ' ');
                let _where: String = to.take_while(|next| !next.is_whitespace()).collect();
            }
            (None, '(') if word.as_ref().is_some_and(|begun| begun.ends_with("=$")) => word = None,
            _ => word.get_or_insert_default().push(character),
        }
    }
    commands.last_mut().unwrap().extend(word.take());
    commands
}

#[test]
fn lines_are_taken_apart_as_a_shell_does() {
    let block = "\
loadtest target --listen 127.0.0.1:8080 &   # beside you
helm install x \\
  --set a=b
run=$(kubectl create -f - <<'END'
kind: LoadTestRun
END
)
loadtest es-role | curl -d @- 'http://s?a=1&b'
loadtest completions fish > ~/.config/x
";
    let words = |line: &Line| -> Vec<String> {
        line.commands
            .iter()
            .map(|command| command.join(" "))
            .collect()
    };
    let lines = lines(block);
    let all: Vec<_> = lines.iter().map(words).collect();
    assert_eq!(
        all,
        [
            vec!["loadtest target --listen 127.0.0.1:8080"],
            vec!["helm install x --set a=b"],
            vec!["kubectl create -f -"],
            vec!["loadtest es-role", "curl -d @- http://s?a=1&b"],
            vec!["loadtest completions fish"],
        ]
    );
    assert_eq!(lines[2].input.as_deref(), Some("kind: LoadTestRun"));
}
