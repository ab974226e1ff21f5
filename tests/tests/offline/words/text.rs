//! Text as a list of words with line numbers, and the search for turns in it.

use std::str::FromStr;

use proc_macro2::{Delimiter, Literal, TokenStream, TokenTree};

/// Words and breaks. A break is punctuation or the end of a paragraph: no turn goes across it.
#[derive(Clone, Debug, Default)]
pub struct Text {
    tokens: Vec<(usize, Option<String>)>,
}

/// What a pattern wants at one place.
enum Wanted<'a> {
    Any,
    OneOf(Vec<&'a str>),
    NoneOf(Vec<&'a str>),
}

impl Wanted<'_> {
    fn all(turn: &str) -> Vec<Wanted<'_>> {
        turn.split(' ')
            .map(|word| match word.strip_prefix('!') {
                _ if word == "*" => Wanted::Any,
                Some(words) => Wanted::NoneOf(words.split('|').collect()),
                None => Wanted::OneOf(word.split('|').collect()),
            })
            .collect()
    }

    fn accepts(&self, word: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(words) => words.contains(&word),
            Self::NoneOf(words) => !words.contains(&word),
        }
    }
}

impl Text {
    /// Where a turn stands: the line, and the words as they are written.
    ///
    /// `a|b` in a turn is either word, `*` is any word, `!a|b` is any word but these. `!a` at the
    /// beginning also accepts that no word comes before.
    pub fn find(&self, turn: &str) -> Vec<(usize, String)> {
        let wanted = Wanted::all(turn);
        let (before, wanted) = match wanted.as_slice() {
            [Wanted::NoneOf(words), rest @ ..] => (words.clone(), rest),
            all => (Vec::new(), all),
        };
        let mut found = Vec::new();
        for start in 0..self.tokens.len() {
            let window = self.tokens.get(start..start + wanted.len());
            let words: Option<Vec<&str>> = window
                .unwrap_or_default()
                .iter()
                .map(|(_, word)| word.as_deref())
                .collect();
            let Some(words) = words.filter(|words| !words.is_empty()) else {
                continue;
            };
            let previous = start
                .checked_sub(1)
                .and_then(|at| self.tokens[at].1.as_deref());
            let fits = wanted
                .iter()
                .zip(&words)
                .all(|(one, word)| one.accepts(word));
            if fits && previous.is_none_or(|word| !before.contains(&word)) {
                found.push((self.tokens[start].0, words.join(" ")));
            }
        }
        found
    }

    fn add_break(&mut self, line: usize) {
        self.tokens.push((line, None));
    }

    /// Adds the words of one line.
    fn add(&mut self, line: usize, text: &str) {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let length = if first == '{' {
                // A value that the program puts in: a word.
                let length = rest.find('}').map_or(rest.len(), |end| end + 1);
                self.tokens.push((line, Some("{}".to_owned())));
                length
            } else if first.is_alphanumeric() {
                let end = |c: char| !(c.is_alphanumeric() || c == '-' || c == '_');
                let length = rest.find(end).unwrap_or(rest.len());
                let word = rest[..length].trim_end_matches('-').to_lowercase();
                self.tokens.push((line, Some(word)));
                // The s of "kernel's" is a word of its own.
                match rest[length..].strip_prefix('\'') {
                    Some(more) if more.starts_with(char::is_alphabetic) => length + 1,
                    _ => length,
                }
            } else {
                if !first.is_whitespace() {
                    self.add_break(line);
                }
                first.len_utf8()
            };
            rest = &rest[length..];
        }
    }
}

/// A document, without the blocks between `<!-- NAME -->` and `<!-- /NAME -->`.
pub fn prose(document: &str, exempt: &[&str]) -> Text {
    let mut text = Text::default();
    let mut skipped: Option<&str> = None;
    for (number, line) in document.lines().enumerate() {
        let is = |slash: &str, name: &str| line.trim() == format!("<!-- {slash}{name} -->");
        match skipped {
            Some(name) if is("/", name) => skipped = None,
            Some(_) => {}
            None => {
                skipped = exempt.iter().copied().find(|name| is("", name));
                // Comments of TOML and unit files, quotations: the marks are not text.
                let words = line.trim_start().trim_start_matches(['#', '>']);
                if words.trim().is_empty() {
                    text.add_break(number + 1);
                } else {
                    text.add(number + 1, words);
                }
            }
        }
    }
    assert_eq!(skipped, None, "a block that does not end");
    text
}

/// The string literals of a source file outside `#[cfg(test)]`; with `docs`, also its doc
/// comments, each as one text.
pub fn literals(source: &str, docs: bool) -> Result<Vec<Text>, proc_macro2::LexError> {
    let mut found = Vec::new();
    walk(TokenStream::from_str(source)?, docs, &mut found);
    Ok(found)
}

fn walk(tokens: TokenStream, docs: bool, found: &mut Vec<Text>) {
    let mut doc = Text::default();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_attribute = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#');
        if is_attribute {
            let inner = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == '!');
            tokens.next_if(inner);
            let bracket = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket);
            let Some(TokenTree::Group(attribute)) = tokens.next_if(bracket) else {
                continue;
            };
            let mut words = attribute.stream().into_iter();
            match words.next().map(|word| word.to_string()).as_deref() {
                Some("doc") => {
                    let last = words.last();
                    if let Some(TokenTree::Literal(literal)) = last.filter(|_| docs) {
                        add_literal(&literal, &mut doc);
                    }
                    continue;
                }
                Some("cfg") if mentions_test(attribute.stream()) => skip_item(&mut tokens),
                _ => walk(attribute.stream(), docs, found),
            }
        }
        if !doc.tokens.is_empty() {
            found.push(std::mem::take(&mut doc));
        }
        match token {
            TokenTree::Group(group) => walk(group.stream(), docs, found),
            TokenTree::Literal(literal) => {
                let mut text = Text::default();
                add_literal(&literal, &mut text);
                if !text.tokens.is_empty() {
                    found.push(text);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

fn mentions_test(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_test(group.stream()),
        other => ["test", "\"testing\""].contains(&other.to_string().as_str()),
    })
}

/// Skips what an attribute stands before: up to a semicolon or a block.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(mark) if mark.as_char() == ';' => return,
            _ => {}
        }
    }
}

/// Adds the words of a string literal; nothing for other literals.
fn add_literal(literal: &Literal, text: &mut Text) {
    let written = literal.to_string();
    let first_line = literal.span().start().line;
    let is_raw = written.starts_with('r');
    if !written.starts_with(['"', 'r']) {
        return;
    }
    let written = written.trim_start_matches(['r', '#']).trim_end_matches('#');
    let content = &written[1..written.len() - 1];
    for (number, line) in content.split('\n').enumerate() {
        let line_number = first_line + number;
        if is_raw {
            text.add(line_number, line);
            continue;
        }
        // A backslash at the end of a line joins it with the next one.
        let line = line.strip_suffix('\\').unwrap_or(line);
        for (n, part) in line.split("\\n").enumerate() {
            if n > 0 {
                text.add_break(line_number);
            }
            text.add(line_number, &part.replace("\\\"", "\"").replace("\\'", "'"));
        }
    }
}

#[test]
fn a_turn_is_found_across_lines_and_not_across_sentences() {
    let text = prose("The kernel is\ntold. Nothing is\n\nsaid here. Told!", &[]);
    assert_eq!(text.find("is told"), [(1, "is told".to_owned())]);
    assert!(text.find("is said").is_empty());
    assert_eq!(text.find("told").len(), 2);
    assert!(prose("untold, told-off", &[]).find("told").is_empty());
}

#[test]
fn alternatives_and_exceptions_are_respected() {
    let turn = "!there is|are no !longer";
    let found = |text: &str| !prose(text, &[]).find(turn).is_empty();
    assert!(found("eth9 is no ENI"));
    assert!(found("Is no ENI"));
    assert!(!found("there is no ENI"));
    assert!(!found("it is no longer there"));
    assert!(!found("the reason is `no-owner`"));
    assert!(!prose("another's rule", &[]).find("another s").is_empty());
}

#[test]
fn a_block_that_is_exempt_is_left_out() {
    let text = "told\n<!-- demo -->\ntold\n<!-- /demo -->\ntold";
    let lines: Vec<usize> = prose(text, &["demo"])
        .find("told")
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    assert_eq!(lines, [1, 5]);
}

#[test]
fn literals_are_read_outside_tests_and_doc_comments_only_where_they_are_help() {
    let source = "/// One\n/// doc.\nfn a() { print!(\"{x} is \\\n    told\\nsaid\"); b'x'; r#\"raw\"# }\n\
                  #[cfg(test)]\n#[allow(dead_code)]\nmod tests { const A: &str = \"hidden\"; }\n\
                  #[error(\"shown\")]\nstruct B;";
    let find = |docs, words: &str| -> Vec<usize> {
        let texts = literals(source, docs).expect("valid tokens");
        let found = texts.iter().flat_map(|text| text.find(words));
        found.map(|(line, _)| line).collect()
    };
    assert_eq!(find(false, "{} is told"), [3]);
    assert_eq!(find(false, "said"), [4]);
    assert!(find(false, "told said").is_empty());
    assert_eq!(find(false, "raw"), [4]);
    assert_eq!(find(false, "shown"), [8]);
    assert!(find(false, "hidden").is_empty());
    assert!(find(false, "one doc").is_empty());
    assert_eq!(find(true, "one doc"), [1]);
}
