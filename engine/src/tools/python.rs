//! Calls that a model writes as Python does: `f(a="x", b=[1, None])`.

use std::str::Chars;

use bitnet_chat_templates::{Json, Object};

/// Most brackets within one another.
const DEEPEST: usize = 64;

/// What a text begins with.
#[derive(Debug, PartialEq)]
pub(super) enum Begun {
    /// It may become a call.
    Open,
    Call {
        name: String,
        arguments: Json,
        /// Bytes of it.
        len: usize,
    },
    NoCall,
}

/// Reads the call that `text` begins with. Arguments have names, and values that JSON has too.
pub(super) fn call(text: &str) -> Begun {
    let is_in_name = |sign: char| sign.is_alphanumeric() || "_.-".contains(sign);
    let end = text.find(|sign| !is_in_name(sign)).unwrap_or(text.len());
    let name = &text[..end];
    let first = name.chars().next();
    if first.is_some_and(|sign| !sign.is_alphabetic() && sign != '_') {
        return Begun::NoCall;
    }
    let rest = text[end..].trim_start();
    match rest.chars().next() {
        None => return Begun::Open,
        Some('(') if !name.is_empty() => {}
        Some(_) => return Begun::NoCall,
    }
    let inner = &rest[1..];
    let Some(len) = closing(inner) else {
        return Begun::Open;
    };
    match Literals::of(&inner[..len]).arguments() {
        Some(arguments) => Begun::Call {
            name: name.to_owned(),
            arguments: Json::Map(arguments),
            len: text.len() - inner.len() + len + 1,
        },
        None => Begun::NoCall,
    }
}

/// Where the bracket closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(sign) = text[at..].chars().next() {
        match sign {
            '"' | '\'' => {
                at += quoted(&text[at..])?.1;
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => return Some(at),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += sign.len_utf8();
    }
    None
}

/// The quotes that `text` begins with, and the bytes up to behind their end.
fn quoted(text: &str) -> Option<(&str, usize)> {
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let quotes = quotes.into_iter().find(|quotes| text.starts_with(quotes))?;
    let mut at = quotes.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(quotes) {
            return Some((&text[..quotes.len()], at + quotes.len()));
        }
        let mut signs = rest.chars();
        at += match signs.next()? {
            '\\' => 1 + signs.next()?.len_utf8(),
            sign => sign.len_utf8(),
        };
    }
}

/// Reads what stands between the brackets of a call.
struct Literals<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Literals<'t> {
    fn of(text: &'t str) -> Literals<'t> {
        Literals {
            rest: text.trim_start(),
            depth: 0,
        }
    }

    /// Takes a sign, and the blanks behind it, where it is next.
    fn takes(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.map_or(self.rest, str::trim_start);
        rest.is_some()
    }

    /// Takes a word, and the blanks behind it.
    fn word(&mut self) -> &'t str {
        let is_end = |sign: char| !sign.is_alphanumeric() && !"_.+-".contains(sign);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn arguments(mut self) -> Option<Object> {
        let mut arguments = Object::default();
        while !self.rest.is_empty() {
            let name = self.word().to_owned();
            if name.is_empty() || !self.takes('=') {
                return None;
            }
            let value = self.value()?;
            if arguments.insert(name, value).is_some() {
                return None;
            }
            if !self.takes(',') && !self.rest.is_empty() {
                return None;
            }
        }
        Some(arguments)
    }

    fn value(&mut self) -> Option<Json> {
        match self.rest.chars().next()? {
            '"' | '\'' => self.text().map(Json::Text),
            '[' => self.items('[', ']').map(Json::List),
            '(' => self.items('(', ')').map(Json::List),
            '{' => self.entries().map(Json::Map),
            _ => match self.word() {
                "True" | "true" => Some(Json::Bool(true)),
                "False" | "false" => Some(Json::Bool(false)),
                "None" | "null" => Some(Json::Null),
                word => number(word),
            },
        }
    }

    /// Texts that follow each other are one.
    fn text(&mut self) -> Option<String> {
        let mut all = String::new();
        while let Some((quotes, len)) = quoted(self.rest) {
            let inner = &self.rest[quotes.len()..len - quotes.len()];
            all.push_str(&unescaped(inner)?);
            self.rest = self.rest[len..].trim_start();
        }
        Some(all)
    }

    fn enter(&mut self, open: char) -> Option<()> {
        self.depth += 1;
        (self.takes(open) && self.depth <= DEEPEST).then_some(())
    }

    fn items(&mut self, open: char, close: char) -> Option<Vec<Json>> {
        self.enter(open)?;
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(self.value()?);
            if !self.takes(',') && !self.rest.starts_with(close) {
                return None;
            }
        }
        self.depth -= 1;
        Some(items)
    }

    fn entries(&mut self) -> Option<Object> {
        self.enter('{')?;
        let mut entries = Object::default();
        while !self.takes('}') {
            let Json::Text(key) = self.value()? else {
                return None;
            };
            if !self.takes(':') {
                return None;
            }
            let value = self.value()?;
            entries.insert(key, value);
            if !self.takes(',') && !self.rest.starts_with('}') {
                return None;
            }
        }
        self.depth -= 1;
        Some(entries)
    }
}

/// A number as Python writes it, which JSON can write too.
fn number(word: &str) -> Option<Json> {
    let is_number = |sign: char| sign.is_ascii_digit() || "+-.eE".contains(sign);
    if !word.contains(|sign: char| sign.is_ascii_digit()) || !word.chars().all(is_number) {
        return None;
    }
    if let Ok(whole) = word.parse() {
        return Some(Json::Int(whole));
    }
    let found: f64 = word.parse().ok()?;
    found.is_finite().then_some(Json::Float(found))
}

/// The number that the next so many hexadecimal digits are.
fn coded(signs: &mut Chars<'_>, digits: usize) -> Option<u32> {
    let code = u32::from_str_radix(signs.as_str().get(..digits)?, 16).ok();
    signs.by_ref().take(digits).for_each(drop);
    code
}

/// The text that stands between quotes.
fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::new();
    let mut signs = inner.chars();
    while let Some(sign) = signs.next() {
        if sign != '\\' {
            text.push(sign);
            continue;
        }
        match signs.next()? {
            'x' => text.push(char::from_u32(coded(&mut signs, 2)?)?),
            'U' => text.push(char::from_u32(coded(&mut signs, 8)?)?),
            'u' => {
                let mut code = coded(&mut signs, 4)?;
                // Half of a character beyond 16 bits, as JSON writes it.
                if (0xd800..0xdc00).contains(&code) && signs.as_str().starts_with("\\u") {
                    signs.by_ref().take(2).for_each(drop);
                    let low = coded(&mut signs, 4)?.checked_sub(0xdc00);
                    let low = low.filter(|low| *low < 0x400)?;
                    code = 0x10000 + ((code - 0xd800) << 10) + low;
                }
                text.push(char::from_u32(code)?);
            }
            '\n' => {}
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            '0' => text.push('\0'),
            known @ ('\\' | '\'' | '"' | '/') => text.push(known),
            // Python leaves those that mean nothing as they are.
            other => text.extend(['\\', other]),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String, usize)> {
        match call(text) {
            Begun::Call {
                name,
                arguments,
                len,
            } => Some((name, serde_json::to_string(&arguments).unwrap(), len)),
            _ => None,
        }
    }

    #[test]
    fn values_are_those_that_python_means() {
        for (text, json) in [
            ("f()", "{}"),
            ("f( a = 'x' , )", r#"{"a":"x"}"#),
            (
                r#"f(a="it's \"}) \n", b='"')"#,
                r#"{"a":"it's \"}) \n","b":"\""}"#,
            ),
            (
                r"f(a='é\u00e9\xe9\U0001F600\ud83d\ude00', b='a' 'b', c='\d')",
                r#"{"a":"ééé😀😀","b":"ab","c":"\\d"}"#,
            ),
            (
                "f(a=[1, -2.5, 1e3, (True, None),], b={'k': {'l': []}, \"m\": false})",
                r#"{"a":[1,-2.5,1000.0,[true,null]],"b":{"k":{"l":[]},"m":false}}"#,
            ),
            (
                "f(a='''two\nlines''', b=\"\"\"'\"\"\")",
                r#"{"a":"two\nlines","b":"'"}"#,
            ),
        ] {
            let (name, found, len) = read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (&name[..], &found[..], len),
                ("f", json, text.len()),
                "{text}"
            );
        }
        assert_eq!(read("a.b-c (x=1); g()").unwrap().0, "a.b-c");
    }

    #[test]
    fn what_is_not_whole_may_become_a_call_and_what_is_none_does_not() {
        for open in ["", "f", "f(", "f(a='", "f(a=')", "f(a=[1)"] {
            assert_eq!(call(open), Begun::Open, "{open}");
        }
        let deep = format!("f(a={}{})", "[".repeat(100), "]".repeat(100));
        for none in [
            "1(a=1)",
            "f a",
            "(x)",
            "f(1)",
            "f(a=1, a=2)",
            "f(a=g(1))",
            "f(a=x)",
            &deep,
        ] {
            assert_eq!(call(none), Begun::NoCall, "{none}");
        }
    }
}
