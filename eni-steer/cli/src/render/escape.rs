//! Escapes control characters. The kernel lets an interface, a process or a file have a name with
//! escape sequences in it, which would move the reader's cursor, hide lines or type into a terminal.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// The text with control characters written as `\x1b` or `\u{9b}`. Line ends stay: reports have them.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            // Without these, text can be shown in another order than it is read in.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => push_escape(&mut out, c),
            c if c.is_control() => push_escape(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

fn push_escape(out: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a string never fails.
    let written = match code {
        0..0x80 => write!(out, "\\x{code:02x}"),
        _ => write!(out, "\\u{{{code:x}}}"),
    };
    debug_assert!(written.is_ok());
}

/// Writes text with [`escaped`] control characters.
#[derive(Debug)]
pub struct Escaped<W>(pub W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .write_all(escaped(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_everything_else_is_as_it_was() {
        let nasty = "a\x1b[2Jb\rc\x07d\u{9b}e\x7ff\u{202e}g";
        assert_eq!(escaped(nasty), r"a\x1b[2Jb\x0dc\x07d\u{9b}e\x7ff\u{202e}g");
        let plain = "eth0: 172.16.20.176, größer → 2\nnext line";
        assert_eq!(escaped(plain), plain);
        let mut out = Vec::new();
        write!(Escaped(&mut out), "{nasty}{plain}").expect("memory");
        let both = escaped(nasty) + plain;
        assert_eq!(String::from_utf8(out).expect("text"), both);
    }
}
