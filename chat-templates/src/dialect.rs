//! Rewrites a template from the language of transformers into that of minijinja, tag by tag.
//!
//! A scanner that knows text, comments, `raw` blocks, strings and brackets finds the tags. It
//! changes these, and leaves the rest, errors included, to minijinja:
//!
//! | in the template | becomes | because |
//! |---|---|---|
//! | `generation`, `endgeneration` | `with`, `endwith` | minijinja does not know the tag |
//! | `for x in E` | `for x in (E) \| __iterated` | a text is looped over as a list, `none` is an
//! error |
//! | `set x = E` | `set x = (E) \| __assigned` | values are bounded where they are kept |
//! | `set x.y = E` | `set x.y = (E) \| __stored` | and namespaces must not hold themselves |
//! | `macro f(a)`, `call(a)`, `with a = E`, `for a in E recursive` | the tag, then `set a = a \|
//! __assigned` | these are kept, too |
//!
//! Lines stay lines, so that errors name the right one.

use std::borrow::Cow;
use std::ops::Range;

/// Name of the filter around what a loop goes over.
pub(crate) const ITERATED: &str = "__iterated";
/// Name of the filter around what a variable takes.
pub(crate) const ASSIGNED: &str = "__assigned";
/// Name of the filter around what an attribute of a namespace takes.
pub(crate) const STORED: &str = "__stored";

/// Longest tag. Real templates have up to 6 KB; the parser of minijinja takes a step of the stack
/// for every sign or filter in a row.
const MAX_TAG_BYTES: usize = 16 << 10;

/// The template for minijinja.
///
/// # Errors
/// Words about a tag that is too long.
pub(crate) fn translate(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len() + source.len() / 4);
    let mut rest = source.as_str();
    while let Some(at) = next_opening(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if rest.starts_with("{#") {
            rest.find("#}").map(|end| end + 2)
        } else {
            inside_end(&rest[2..]).map(|inside| {
                let tag = &rest[..inside + 4];
                if rest.starts_with("{%") && tag.ends_with("%}") {
                    out.push_str(&block_tag(tag));
                } else {
                    out.push_str(tag);
                }
                tag.len()
            })
        };
        let Some(length) = length else { break };
        let (tag, behind) = rest.split_at(length);
        if length > MAX_TAG_BYTES {
            let line = source[..source.len() - rest.len()].matches('\n').count() + 1;
            return Err(format!(
                "a tag of {length} bytes on line {line}; the limit is {MAX_TAG_BYTES}"
            ));
        }
        if tag.starts_with("{#") {
            out.push_str(tag);
        }
        rest = behind;
        if tag.starts_with("{%") && words(tag) == "raw" {
            let end = end_of_raw(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    if rest.len() > MAX_TAG_BYTES && next_opening(rest) == Some(0) {
        return Err(format!(
            "a tag that is not closed within the limit of {MAX_TAG_BYTES} bytes"
        ));
    }
    out.push_str(rest);
    Ok(out)
}

fn next_opening(text: &str) -> Option<usize> {
    text.match_indices('{')
        .map(|(at, _)| at)
        .find(|at| matches!(text.as_bytes().get(at + 1), Some(b'%' | b'{' | b'#')))
}

/// Length of what stands between the delimiters of a tag or an expression that `text` is in.
fn inside_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'\'' | b'"') => at = string_end(bytes, at, quote)?,
            b'%' | b'}' if depth == 0 && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins at `start` ends: the place of its closing quote.
fn string_end(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            byte if byte == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// What stands in a tag, without its delimiters and signs.
fn words(tag: &str) -> &str {
    tag[2..tag.len() - 2]
        .trim_start_matches(['-', '+'])
        .trim_end_matches(['-', '+'])
        .trim()
}

/// Where the text of a `raw` block ends.
fn end_of_raw(text: &str) -> usize {
    text.match_indices("{%")
        .map(|(at, _)| at)
        .find(|&at| {
            let tag = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
            tag.strip_prefix("endraw").is_some_and(|rest| {
                let rest = rest.trim_start();
                rest.starts_with("%}") || rest.starts_with("-%}") || rest.starts_with("+%}")
            })
        })
        .unwrap_or(text.len())
}

/// A block tag in minijinja's words.
fn block_tag(tag: &str) -> Cow<'_, str> {
    let open = if matches!(tag.as_bytes().get(2), Some(b'-' | b'+')) {
        3
    } else {
        2
    };
    let close = if matches!(tag.as_bytes()[tag.len() - 3], b'-' | b'+') {
        3
    } else {
        2
    };
    if open + close > tag.len() {
        return Cow::Borrowed(tag);
    }
    let (opening, closing) = (&tag[..open], &tag[tag.len() - close..]);
    let inside = &tag[open..tag.len() - close];
    let keyword_start = inside.len() - inside.trim_start().len();
    let keyword = inside[keyword_start..]
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()
        .unwrap_or_default();
    let body = &inside[keyword_start + keyword.len()..];
    let before = &inside[..keyword_start];
    let tag_of = |keyword: &str, body: &str| format!("{opening}{before}{keyword}{body}{closing}");
    // The tag, and behind it tags of their own that bound what the names stand for. No blanks stand
    // between, and the last one closes as the tag did.
    let followed_by_sets = |keyword: &str, body: &str, names: Vec<&str>| -> String {
        let mut out = tag_of(keyword, body);
        for name in names {
            out.truncate(out.len() - closing.len());
            out.push_str(&format!(
                "%}}{{% set {name} = {name} | {ASSIGNED} {closing}"
            ));
        }
        out
    };
    Cow::Owned(match keyword {
        "generation" if body.trim().is_empty() => tag_of("with", body),
        "endgeneration" if body.trim().is_empty() => tag_of("endwith", body),
        "set" => match top_level(body, Top::Assignment) {
            Some(at) if !body[at.end..].trim().is_empty() => {
                let (target, value) = (&body[..at.start], &body[at.end..]);
                let filter = if target.contains('.') {
                    STORED
                } else {
                    ASSIGNED
                };
                tag_of(keyword, &format!("{target}= ({value}) | {filter} "))
            }
            _ => return Cow::Borrowed(tag),
        },
        "for" => match top_level(body, Top::Word("in")) {
            Some(at) => {
                let (target, iterated) = (&body[..at.start], &body[at.end..]);
                let end = [Top::Word("if"), Top::Word("recursive")]
                    .iter()
                    .filter_map(|&word| top_level(iterated, word))
                    .map(|at| at.start)
                    .min()
                    .unwrap_or(iterated.len());
                let (iterated, rest) = iterated.split_at(end);
                let body = format!("{target}in ({iterated}) | {ITERATED} {rest}");
                let recursive = rest.trim_end().ends_with("recursive");
                let names = if recursive {
                    names_in(target).collect()
                } else {
                    Vec::new()
                };
                followed_by_sets(keyword, &body, names)
            }
            None => return Cow::Borrowed(tag),
        },
        "macro" | "call" | "with" => {
            let names = parameters(keyword, body);
            if names.is_empty() {
                return Cow::Borrowed(tag);
            }
            followed_by_sets(keyword, body, names)
        }
        _ => return Cow::Borrowed(tag),
    })
}

/// The names that `macro name(a, b=1)`, `call(a) ...` or `with a = 1, b = 2` bind.
fn parameters<'b>(keyword: &str, body: &'b str) -> Vec<&'b str> {
    let list = match keyword {
        "with" => body,
        "call" if !body.trim_start().starts_with('(') => return Vec::new(),
        _ => {
            let Some((_, list)) = body.split_once('(') else {
                return Vec::new();
            };
            let end = top_level(list, Top::Closing).map_or(list.len(), |at| at.start);
            &list[..end]
        }
    };
    let mut names = Vec::new();
    let mut rest = list;
    while !rest.trim().is_empty() {
        let comma = top_level(rest, Top::Comma);
        names.extend(names_in(&rest[..comma.as_ref().map_or(rest.len(), |at| at.start)]).next());
        rest = comma.map_or("", |at| &rest[at.end..]);
    }
    names
}

/// The words in `text`.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|name| !name.is_empty())
}

/// What is looked for outside of strings and brackets.
#[derive(Clone, Copy)]
enum Top {
    /// `=`, but not `==`, `!=`, `<=` or `>=`.
    Assignment,
    /// A word.
    Word(&'static str),
    /// `,`.
    Comma,
    /// A bracket that closes one which the text does not open.
    Closing,
}

/// Where it stands first.
fn top_level(text: &str, wanted: Top) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let part_of_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        let here = at..at + 1;
        match (bytes[at], wanted) {
            (quote @ (b'\'' | b'"'), _) => at = string_end(bytes, at, quote)?,
            (b'(' | b'[' | b'{', _) => depth += 1,
            (b')' | b']' | b'}', Top::Closing) if depth == 0 => return Some(here),
            (b')' | b']' | b'}', _) => depth = depth.saturating_sub(1),
            (b',', Top::Comma) if depth == 0 => return Some(here),
            (b'=', Top::Assignment) if depth == 0 => {
                let equal = bytes.get(at + 1) == Some(&b'=');
                if !equal
                    && !matches!(
                        at.checked_sub(1).map(|at| bytes[at]),
                        Some(b'!' | b'<' | b'>')
                    )
                {
                    return Some(here);
                }
                at += usize::from(equal);
            }
            (byte, _) if part_of_word(byte) => {
                let length = bytes[at..]
                    .iter()
                    .take_while(|&&byte| part_of_word(byte))
                    .count();
                let word = &text[at..at + length];
                let attribute = text[..at].trim_end().ends_with('.');
                if depth == 0 && !attribute && matches!(wanted, Top::Word(name) if name == word) {
                    return Some(at..at + length);
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_outside_of_strings_comments_and_raw_blocks_only() {
        for same in [
            "{#- {% generation %} -#} {{ '{% generation %}' }}{{ {'a': {'b': \"%}\"}} }}",
            "{%- raw -%} {% generation %} {%- endraw %}{% if a %}{% endif %}",
            "{% if '%}' == x %}{% generation",
            "no tag { at % all } }}",
        ] {
            assert_eq!(translate(same).as_deref(), Ok(same));
        }
        assert_eq!(
            translate("{%- generation -%}x{%+ endgeneration %}").as_deref(),
            Ok("{%- with -%}x{%+ endwith %}")
        );
    }

    #[test]
    fn loops_and_assignments_go_through_filters() {
        for (from, to) in [
            (
                "{% for x in a.in %}",
                "{% for x in ( a.in ) | __iterated %}",
            ),
            (
                "{%- for a, b in x['if'] if a in c -%}",
                "{%- for a, b in ( x['if'] ) | __iterated if a in c -%}",
            ),
            (
                "{% set x = y == 'a=b' %}",
                "{% set x = ( y == 'a=b' ) | __assigned %}",
            ),
            (
                "{% set ns.x = 1, 2 -%}",
                "{% set ns.x = ( 1, 2 ) | __stored -%}",
            ),
            (
                "{% set x | replace('=', b='') %}",
                "{% set x | replace('=', b='') %}",
            ),
            ("{% set x %}", "{% set x %}"),
        ] {
            assert_eq!(translate(from).as_deref(), Ok(to));
        }
    }

    #[test]
    fn parameters_and_recursive_loops_are_followed_by_assignments() {
        assert_eq!(
            translate("{%- macro f(a, b=(1, 2)) -%}").as_deref(),
            Ok("{%- macro f(a, b=(1, 2)) %}{% set a = a | __assigned %}\
                 {% set b = b | __assigned -%}")
        );
        assert_eq!(
            translate("{% macro f() %}").as_deref(),
            Ok("{% macro f() %}")
        );
        assert_eq!(
            translate("{% call(x) f(y) %}").as_deref(),
            Ok("{% call(x) f(y) %}{% set x = x | __assigned %}")
        );
        assert_eq!(
            translate("{% for a in b recursive %}").as_deref(),
            Ok("{% for a in ( b ) | __iterated recursive %}{% set a = a | __assigned %}")
        );
    }

    #[test]
    fn every_line_ending_is_a_line_feed() {
        assert_eq!(
            translate("a\r\nb\rc{{ '\r\n' }}").as_deref(),
            Ok("a\nb\nc{{ '\n' }}")
        );
    }
}
