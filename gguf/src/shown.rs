//! Names and texts of a file on their way to people.

use std::fmt::{self, Write};

/// Most characters of a text that are shown.
const MOST: usize = 200;

/// A text out of a file, safe to print: what is no printed character is written as an escape, so
/// that a name can neither command a terminal nor look like a line of the program. A text that goes
/// on and on is cut.
///
/// ```
/// use bitnet_gguf::Shown;
///
/// let name = "blk.0\nproblem: none\u{1b}[2J";
/// assert_eq!(Shown(name).to_string(), "blk.0\\nproblem: none\\u{1b}[2J");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, c) in self.0.chars().enumerate() {
            if index == MOST {
                return f.write_str("...");
            }
            match c {
                '\'' | '"' => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// What a program says, with texts out of files in it: whatever is no printed character is written
/// as an escape, but for the ends of lines.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a>(pub &'a str);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' | '\'' | '"' | '\\' => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_stays_and_what_commands_a_terminal_is_escaped() {
        for plain in ["blk.0.attn_q.weight", "\"it's\"", "naïve 漢字", ""] {
            assert_eq!(Shown(plain).to_string(), plain);
        }
        let commands = "a\r\u{7f}\u{9b}31m\u{202e}\u{200b}b\\n";
        let shown = "a\\r\\u{7f}\\u{9b}31m\\u{202e}\\u{200b}b\\\\n";
        assert_eq!(Shown(commands).to_string(), shown);
    }

    #[test]
    fn lines_stay_and_commands_do_not() {
        let text = "two problems:\n  - `\\n`\t\u{1b}[2J é";
        let printed = "two problems:\n  - `\\n`\\t\\u{1b}[2J é";
        assert_eq!(Printed(text).to_string(), printed);
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = Shown(&"é".repeat(10_000)).to_string();
        assert_eq!(shown.chars().count(), MOST + 3);
    }
}
