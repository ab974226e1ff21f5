//! Colours on terminals. Reports are made without any; this writer adds them to the words that
//! tell good from bad, so that colours decide nothing and no report depends on them.

use std::io::{self, StdoutLock, Write};

use anstyle::{AnsiColor, Style};

/// Standard output, with colours if it is a terminal and the user wants some (`NO_COLOR`,
/// `CLICOLOR_FORCE` and `TERM` are respected).
pub fn stdout() -> Painter<StdoutLock<'static>> {
    let out = io::stdout();
    let choice = anstream::AutoStream::choice(&out);
    Painter::new(out.lock(), choice != anstream::ColorChoice::Never)
}

/// A writer that colours words.
pub struct Painter<W: Write> {
    out: W,
    colours: bool,
    line: Vec<u8>,
}

impl<W: Write> Painter<W> {
    /// Paints what is written to `out` if `colours` is set.
    pub fn new(out: W, colours: bool) -> Self {
        Self {
            out,
            colours,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for Painter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.colours {
            return self.out.write(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                match str::from_utf8(&line) {
                    Ok(text) => self.out.write_all(paint(text).as_bytes())?,
                    Err(_not_text) => self.out.write_all(&line)?,
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.line);
        self.out.write_all(&rest)?;
        self.out.flush()
    }
}

/// Words with which a line begins.
const FIRST: [(&str, AnsiColor); 17] = [
    ("OK", AnsiColor::Green),
    ("ok", AnsiColor::Green),
    ("PASS", AnsiColor::Green),
    ("FAIL", AnsiColor::Red),
    ("FAILED", AnsiColor::Red),
    ("CAUSE", AnsiColor::Red),
    ("!", AnsiColor::Red),
    ("ATTENTION", AnsiColor::Red),
    ("WRONG ENI", AnsiColor::Red),
    ("DISAGREEMENT", AnsiColor::Red),
    ("REFUSED", AnsiColor::Yellow),
    ("CANNOT TELL", AnsiColor::Yellow),
    ("UNCONFIRMED", AnsiColor::Yellow),
    ("UNKNOWN", AnsiColor::Yellow),
    ("WARN", AnsiColor::Yellow),
    ("????", AnsiColor::Yellow),
    ("info", AnsiColor::Cyan),
];

/// Words with which a row of a table ends.
const LAST: [(&str, AnsiColor); 10] = [
    ("  ok", AnsiColor::Green),
    ("  ASYMMETRIC", AnsiColor::Red),
    ("  NO REPLIES", AnsiColor::Red),
    ("  WRONG SOURCE", AnsiColor::Red),
    ("  UNSENT", AnsiColor::Red),
    ("  DROPPED", AnsiColor::Red),
    ("  DOWN", AnsiColor::Red),
    ("  STEERED", AnsiColor::Yellow),
    ("  NO OWNER", AnsiColor::Yellow),
    ("  symmetric", AnsiColor::Green),
];

/// A line with its colours.
fn paint(line: &str) -> String {
    let start = line.len() - line.trim_start().len();
    let (indent, text) = line.split_at(start);
    let is_word = |word: &str| {
        let rest = text.strip_prefix(word);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', ':']))
    };
    if let Some((word, colour)) = FIRST.iter().find(|(word, _)| is_word(word)) {
        return format!("{indent}{}{}", styled(word, *colour), &text[word.len()..]);
    }
    // The rule that wins.
    if text.starts_with("> ") {
        let bold = Style::new().bold();
        return format!("{indent}{bold}{}{bold:#}\n", text.trim_end());
    }
    let end = line.trim_end();
    match LAST.iter().find(|(word, _)| end.ends_with(word)) {
        Some((word, colour)) => {
            let before = &end[..end.len() - word.len()];
            format!("{before}  {}\n", styled(word.trim_start(), *colour))
        }
        None => line.to_owned(),
    }
}

fn styled(word: &str, colour: AnsiColor) -> String {
    let style = colour.on_default().bold();
    format!("{style}{word}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(text: &str, colours: bool) -> String {
        let mut out = Vec::new();
        let mut painter = Painter::new(&mut out, colours);
        // In parts that end anywhere.
        for part in text.as_bytes().chunks(3) {
            painter.write_all(part).expect("a vector takes everything");
        }
        painter.flush().expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn colours_add_nothing_but_colours() {
        let text = "ATTENTION  1 failure\n  ! rule\nENI   STATE\neth0  ok\neth1  NO REPLIES\n\
                    PASS  objects\n FAIL  ES0301  x\n  >    100  WINS\nOKAY\n\nno end";
        assert_eq!(painted(text, false), text);
        let colourful = painted(text, true);
        assert_eq!(anstream::adapter::strip_str(&colourful).to_string(), text);
        for word in ["ATTENTION", "!", "NO REPLIES", "PASS", "FAIL", "ok"] {
            assert!(
                colourful.contains(&format!("m{word}\x1b[0m")),
                "{word}: {colourful:?}"
            );
        }
        assert!(colourful.contains("\nOKAY\n"), "{colourful:?}");
    }
}
