//! Text in lines of limited width.

use std::io::{self, Write};

/// Prints words after a head, in lines of at most `width` columns. Further lines begin under the
/// first word, or with a short indent where the head takes more than half of the line. A word that
/// is longer than a line stays whole, so that a command can be copied.
pub fn wrapped(head: &str, text: &str, width: usize, out: &mut impl Write) -> io::Result<()> {
    let head_width = head.chars().count();
    let indent = if head_width > width / 2 {
        4
    } else {
        head_width
    };
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let space = usize::from(!is_empty);
        if !is_empty && line.chars().count() + space + word.chars().count() > width {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Prints a line in lines of at most 80 columns; further ones are indented deeper than the first.
pub(super) fn line(text: &str, out: &mut impl Write) -> io::Result<()> {
    let words = text.trim_start();
    let indent = &text[..text.len() - words.len()];
    match words.split_once(' ') {
        // The first word stands alone in front, so the others are indented by it or by 4.
        Some((first, rest)) if text.chars().count() > 80 => {
            let head = format!("{indent}{first} ");
            let mut out = Indented(out, format!("{indent}  "));
            out.wrapped(&head, rest)
        }
        _ => writeln!(out, "{text}"),
    }
}

/// Wraps with a fixed indent of further lines.
struct Indented<'a, W: Write>(&'a mut W, String);

impl<W: Write> Indented<'_, W> {
    fn wrapped(&mut self, head: &str, text: &str) -> io::Result<()> {
        let mut line = head.to_owned();
        for word in text.split_inclusive(' ') {
            let length = line.chars().count() + word.trim_end().chars().count();
            if length > 80 && !line.trim().is_empty() {
                writeln!(self.0, "{}", line.trim_end())?;
                line.clone_from(&self.1);
            }
            line.push_str(word);
        }
        writeln!(self.0, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_of_a_long_line_are_indented_deeper() {
        let mut out = Vec::new();
        let long = format!("  eth1  {} end", "words ".repeat(20));
        line(&long, &mut out).expect("a vector takes everything");
        line("short  line", &mut out).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("  eth1  words") && lines[1].starts_with("    words"),
            "{text}"
        );
        assert!(lines.iter().all(|line| line.len() <= 80), "{text}");
        assert_eq!(lines.last(), Some(&"short  line"));
    }

    #[test]
    fn lines_are_broken_between_words_and_begin_under_the_first() {
        let mut out = Vec::new();
        wrapped("[1] ", "one two three", 11, &mut out).expect("a vector takes everything");
        wrapped("", "aaaaaaaaaaaaaaa b", 5, &mut out).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "[1] one two\n    three\naaaaaaaaaaaaaaa\nb\n");
    }
}
