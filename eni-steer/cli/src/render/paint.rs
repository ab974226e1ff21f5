//! Colours on terminals, and lines of at most 80 columns. Reports are made without either; this
//! writer adds colours to the words that tell good from bad, so that colours decide nothing and no
//! report depends on them. For a pipe, each fact stays on one line, so that grep finds it.

use std::io::{self, IsTerminal, StdoutLock, Write};

use anstyle::{AnsiColor, Style};

use super::text::line;

/// Standard output, with colours if it is a terminal and the user wants some (`NO_COLOR`,
/// `CLICOLOR_FORCE` and `TERM` are respected).
pub fn stdout() -> Painter<StdoutLock<'static>> {
    let out = io::stdout();
    let choice = anstream::AutoStream::choice(&out);
    let is_terminal = out.is_terminal();
    Painter::new(
        out.lock(),
        choice != anstream::ColorChoice::Never,
        is_terminal,
    )
}

/// A writer that colours words.
pub struct Painter<W: Write> {
    out: W,
    colours: bool,
    /// Whether lines are broken after 80 columns.
    fits: bool,
    line: Vec<u8>,
}

impl<W: Write> Painter<W> {
    /// Paints what is written to `out` if `colours` is set, and breaks lines if `fits` is.
    pub fn new(out: W, colours: bool, fits: bool) -> Self {
        Self {
            out,
            colours,
            fits,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for Painter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !(self.colours || self.fits) {
            return self.out.write(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                match str::from_utf8(&line) {
                    Ok(text) => self.write_line(text)?,
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

impl<W: Write> Painter<W> {
    fn write_line(&mut self, text: &str) -> io::Result<()> {
        let mut broken = Vec::new();
        let text = match self.fits {
            true => {
                line(text.trim_end_matches('\n'), &mut broken)?;
                String::from_utf8_lossy(&broken)
            }
            false => text.into(),
        };
        for line in text.split_inclusive('\n') {
            match self.colours {
                true => self.out.write_all(paint(line).as_bytes())?,
                false => self.out.write_all(line.as_bytes())?,
            }
        }
        Ok(())
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
        let mut painter = Painter::new(&mut out, colours, colours);
        // In parts that end anywhere.
        for part in text.as_bytes().chunks(3) {
            painter.write_all(part).expect("a vector takes everything");
        }
        painter.flush().expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn on_a_terminal_no_line_is_longer_than_80_columns() {
        let long = format!("CAUSE 1  {}end\n", "a rule that wins ".repeat(12));
        let text = painted(&long, true);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(
            plain.lines().all(|line| line.chars().count() <= 80),
            "{plain}"
        );
        assert!(
            plain.lines().skip(1).all(|line| line.starts_with("  ")),
            "{plain}"
        );
        assert_eq!(painted(&long, false), long, "in a pipe it stays one line");
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
