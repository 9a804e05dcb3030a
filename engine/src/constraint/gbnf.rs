//! Grammars as llama.cpp writes them, in llguidance's terms.
//!
//! Rules that do not come back to themselves are regular, and become one expression each time they
//! are named; the others stay rules. What is not translated is refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::error::GrammarError;
use super::limits::DEEPEST_BRACKETS;

/// Most rules of a grammar.
const MOST_RULES: usize = 1024;
/// Most rules that stand within each other.
const DEEPEST: usize = 64;
/// Most bytes of what becomes of it.
const LONGEST: usize = 512 << 10;

#[derive(Clone, Debug)]
enum Node {
    /// A regular expression of one character, or of a text.
    Regex(String),
    Rule(String),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat {
        of: Box<Node>,
        least: u32,
        most: Option<u32>,
    },
}

/// The same grammar in llguidance's variant of Lark's syntax.
///
/// # Errors
/// What is wrong with it, or is not translated.
pub(super) fn to_lark(text: &str) -> Result<String, GrammarError> {
    written(text).map_err(GrammarError::Gbnf)
}

fn written(text: &str) -> Result<String, String> {
    let rules = Parser {
        rest: text,
        line: 1,
        depth: 0,
    }
    .rules()?;
    if !rules.contains_key("root") {
        return Err("there is no rule `root`".to_owned());
    }
    let regular = regular(&rules)?;
    let writer = Writer {
        rules: &rules,
        regular: &regular,
    };
    let mut lark = "start: rule_root\n".to_owned();
    for (name, node) in &rules {
        if regular.contains(&name[..]) && name != "root" {
            continue;
        }
        let mut body = String::new();
        writer.rule(node, &mut body)?;
        // Writing to a text does not fail.
        let _ = writeln!(lark, "{}: {body}", lark_name(name));
        if lark.len() > LONGEST {
            return Err("it becomes too long".to_owned());
        }
    }
    Ok(lark)
}

/// The rules that do not come back to themselves, nor name one that does.
fn regular(rules: &BTreeMap<String, Node>) -> Result<BTreeSet<&str>, String> {
    // Those that name a rule, and how many a rule names that are not known to be regular.
    let mut naming: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, node) in rules {
        let mut named = Vec::new();
        node.named(&mut named);
        let named: BTreeSet<&str> = named.into_iter().collect();
        for other in &named {
            if !rules.contains_key(*other) {
                return Err(format!("there is no rule `{other}`"));
            }
            naming.entry(other).or_default().push(name);
        }
        open.insert(name, named.len());
    }
    let mut found: Vec<&str> = rules.keys().map(|name| &name[..]).collect();
    found.retain(|name| open[name] == 0);
    let mut regular = BTreeSet::new();
    while let Some(name) = found.pop() {
        regular.insert(name);
        for other in naming.get(name).into_iter().flatten() {
            if let Some(left) = open.get_mut(other) {
                *left -= 1;
                if *left == 0 {
                    found.push(other);
                }
            }
        }
    }
    Ok(regular)
}

fn lark_name(name: &str) -> String {
    let letters = name.chars().map(|sign| match sign {
        sign if sign.is_ascii_lowercase() || sign.is_ascii_digit() => sign.to_string(),
        sign => format!("_{:x}_", u32::from(sign)),
    });
    format!("rule_{}", letters.collect::<String>())
}

impl Node {
    fn named<'n>(&'n self, names: &mut Vec<&'n str>) {
        match self {
            Node::Regex(_) => {}
            Node::Rule(name) => names.push(name),
            Node::Sequence(nodes) | Node::Choice(nodes) => {
                nodes.iter().for_each(|node| node.named(names));
            }
            Node::Repeat { of, .. } => of.named(names),
        }
    }

    fn is_regular(&self, regular: &BTreeSet<&str>) -> bool {
        let mut names = Vec::new();
        self.named(&mut names);
        names.iter().all(|name| regular.contains(name))
    }
}

struct Writer<'g> {
    rules: &'g BTreeMap<String, Node>,
    regular: &'g BTreeSet<&'g str>,
}

impl Writer<'_> {
    /// Writes a node in a rule.
    fn rule(&self, node: &Node, out: &mut String) -> Result<(), String> {
        if node.is_regular(self.regular) {
            return self.terminal(std::slice::from_ref(node), out);
        }
        match node {
            Node::Regex(_) => {}
            Node::Rule(name) => out.push_str(&lark_name(name)),
            Node::Sequence(nodes) => {
                // What is regular side by side is one expression.
                let alike =
                    |a: &Node, b: &Node| a.is_regular(self.regular) && b.is_regular(self.regular);
                for (i, run) in nodes.chunk_by(alike).enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    match run[0].is_regular(self.regular) {
                        true => self.terminal(run, out)?,
                        false => self.rule(&run[0], out)?,
                    }
                }
            }
            Node::Choice(nodes) => {
                out.push('(');
                for (i, node) in nodes.iter().enumerate() {
                    if i > 0 {
                        out.push_str(" | ");
                    }
                    self.rule(node, out)?;
                }
                out.push(')');
            }
            Node::Repeat { of, least, most } => {
                out.push('(');
                self.rule(of, out)?;
                out.push(')');
                out.push_str(&times(*least, *most));
            }
        }
        Ok(())
    }

    fn terminal(&self, nodes: &[Node], out: &mut String) -> Result<(), String> {
        let mut regex = String::new();
        for node in nodes {
            self.regex(node, 0, &mut regex)?;
        }
        match regex.is_empty() {
            true => out.push_str("\"\""),
            false => {
                let _ = write!(out, "/{}/", regex.replace('/', "\\/"));
            }
        }
        Ok(())
    }

    fn regex(&self, node: &Node, depth: usize, out: &mut String) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!(
                "it has more than {DEEPEST} rules within each other"
            ));
        }
        if out.len() > LONGEST {
            return Err("it becomes too long".to_owned());
        }
        match node {
            Node::Regex(regex) => out.push_str(regex),
            Node::Rule(name) => {
                out.push_str("(?:");
                self.regex(&self.rules[name], depth + 1, out)?;
                out.push(')');
            }
            Node::Sequence(nodes) => {
                for node in nodes {
                    self.regex(node, depth, out)?;
                }
            }
            Node::Choice(nodes) => {
                out.push_str("(?:");
                for (i, node) in nodes.iter().enumerate() {
                    if i > 0 {
                        out.push('|');
                    }
                    self.regex(node, depth, out)?;
                }
                out.push(')');
            }
            Node::Repeat { of, least, most } => {
                out.push_str("(?:");
                self.regex(of, depth, out)?;
                out.push(')');
                out.push_str(&times(*least, *most));
            }
        }
        Ok(())
    }
}

fn times(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

/// Reads a grammar from its beginning to its end.
struct Parser<'t> {
    rest: &'t str,
    line: usize,
    /// Groups that are open.
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rules(mut self) -> Result<BTreeMap<String, Node>, String> {
        let mut rules = BTreeMap::new();
        loop {
            self.blanks();
            if self.rest.is_empty() {
                return Ok(rules);
            }
            let name = self.name();
            self.blanks();
            if name.is_empty() || !self.takes("::=") {
                return Err(self.wrong("a rule, as in `name ::= ...`"));
            }
            let node = self.choice()?;
            if rules.insert(name.to_owned(), node).is_some() {
                return Err(format!("there are two rules `{name}`"));
            }
            if rules.len() > MOST_RULES {
                return Err(format!("it has more than {MOST_RULES} rules"));
            }
        }
    }

    fn wrong(&self, wanted: &str) -> String {
        let found: String = self.rest.chars().take(20).collect();
        format!(
            "line {}: {wanted} is wanted, and here is `{found}`",
            self.line
        )
    }

    fn next(&mut self) -> Option<char> {
        let sign = self.rest.chars().next()?;
        self.rest = &self.rest[sign.len_utf8()..];
        self.line += usize::from(sign == '\n');
        Some(sign)
    }

    fn takes(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Passes over blanks, line breaks and comments.
    fn blanks(&mut self) {
        while let Some(sign) = self.rest.chars().next() {
            match sign {
                '#' => while self.next().is_some_and(|sign| sign != '\n') {},
                sign if sign.is_whitespace() => drop(self.next()),
                _ => return,
            }
        }
    }

    fn name(&mut self) -> &'t str {
        let is_part = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
        let end = self.rest.find(|sign| !is_part(sign));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    fn choice(&mut self) -> Result<Node, String> {
        let mut all = vec![self.sequence()?];
        while self.takes("|") {
            all.push(self.sequence()?);
        }
        Ok(match all.len() {
            1 => all.remove(0),
            _ => Node::Choice(all),
        })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        loop {
            self.blanks();
            let node = match self.rest.chars().next() {
                None | Some('|' | ')') => break,
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.next();
                    Node::Regex("(?s:.)".to_owned())
                }
                Some('(') => {
                    self.next();
                    self.depth += 1;
                    if self.depth > DEEPEST_BRACKETS {
                        return Err(format!(
                            "line {}: more than {DEEPEST_BRACKETS} groups stand within each other",
                            self.line
                        ));
                    }
                    let inner = self.choice()?;
                    self.depth -= 1;
                    self.blanks();
                    if !self.takes(")") {
                        return Err(self.wrong("`)`"));
                    }
                    inner
                }
                Some('<' | '!') => {
                    return Err(format!(
                        "line {}: tokens (`<think>`, `!<[1000]>`) are not supported in grammars",
                        self.line
                    ));
                }
                Some(_) => {
                    let before = (self.rest, self.line);
                    let name = self.name();
                    if name.is_empty() {
                        return Err(self.wrong("a text, a range, a group or the name of a rule"));
                    }
                    self.blanks();
                    if self.rest.starts_with("::=") {
                        // The next rule begins.
                        (self.rest, self.line) = before;
                        break;
                    }
                    Node::Rule(name.to_owned())
                }
            };
            nodes.push(self.repeated(node)?);
        }
        Ok(Node::Sequence(nodes))
    }

    fn repeated(&mut self, mut node: Node) -> Result<Node, String> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    let wrong = self.wrong("`{m}`, `{m,}` or `{m,n}`");
                    let end = self.rest.find('}').ok_or_else(|| wrong.clone())?;
                    let inside = &self.rest[1..end];
                    let number = |text: &str| text.trim().parse().map_err(|_| wrong.clone());
                    let times = match inside.split_once(',') {
                        None => (number(inside)?, Some(number(inside)?)),
                        Some((least, most)) if most.trim().is_empty() => (number(least)?, None),
                        Some((least, most)) => (number(least)?, Some(number(most)?)),
                    };
                    self.rest = &self.rest[end..];
                    times
                }
                _ => return Ok(node),
            };
            self.next();
            node = Node::Repeat {
                of: Box::new(node),
                least,
                most,
            };
        }
    }

    fn literal(&mut self) -> Result<Node, String> {
        self.next();
        let mut regex = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(Node::Regex(regex)),
                Some('\\') => escape(self.escaped()?, &mut regex),
                Some(sign) => escape(sign, &mut regex),
                None => return Err(self.wrong("`\"`")),
            }
        }
    }

    fn class(&mut self) -> Result<Node, String> {
        self.next();
        let mut regex = String::from("[");
        if self.takes("^") {
            regex.push('^');
        }
        let mut any = false;
        loop {
            let sign = match self.next() {
                Some(']') if any => break,
                Some(']') => return Err(self.wrong("something within `[]`")),
                Some('\\') => self.escaped()?,
                Some(sign) => sign,
                None => return Err(self.wrong("`]`")),
            };
            any = true;
            escape(sign, &mut regex);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                let last = match self.next() {
                    Some('\\') => self.escaped()?,
                    Some(sign) => sign,
                    None => return Err(self.wrong("the end of a range")),
                };
                regex.push('-');
                escape(last, &mut regex);
            }
        }
        regex.push(']');
        Ok(Node::Regex(regex))
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char, String> {
        let wrong = self.wrong("an escape");
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(sign @ ('\\' | '"' | '[' | ']' | '-' | '^')) => return Ok(sign),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(wrong),
        };
        let hex = self.rest.get(..digits).ok_or_else(|| wrong.clone())?;
        let code = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
        self.rest = &self.rest[digits..];
        code.ok_or(wrong)
    }
}

/// Writes a character so that it stands for itself in an expression, in a range too.
fn escape(sign: char, regex: &mut String) {
    if sign.is_ascii_alphanumeric() || sign == ' ' || !sign.is_ascii() {
        regex.push(sign);
    } else {
        let _ = write!(regex, "\\x{:02x}", u32::from(sign));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_back_to_itself_becomes_one_expression() {
        let lark =
            written("root ::= item{2,3} # two\nitem ::= [a-c^-] | \"x/\\\"\" end?\nend ::= .");
        assert_eq!(
            lark.unwrap(),
            "start: rule_root\nrule_root: /(?:(?:(?:[a-c\\x5e\\x2d]|x\\x2f\\x22(?:(?:(?s:.)))?))){2,3}/\n"
        );
        let lark = written("root ::= \"(\" root* \")\" | \"a-\" \"b\"").unwrap();
        assert!(
            lark.contains("rule_root: (/\\x28/ (rule_root)* /\\x29/ | /a\\x2db/)"),
            "{lark}"
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, said) in [
            ("start ::= \"a\"", "no rule `root`"),
            ("root ::= other", "no rule `other`"),
            ("root ::= \"a", "`\"` is wanted"),
            ("root ::= (\"a\"", "`)` is wanted"),
            ("root ::= <think>", "tokens"),
            ("root ::= \"a\"{x}", "`{m}`"),
            ("root ::= \"a\"\nroot ::= \"b\"", "two rules"),
            ("root ::= []", "within"),
            ("root ::= %", "is wanted"),
        ] {
            let error = written(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let deep: String = (0..100).map(|i| format!("r{i} ::= r{}\n", i + 1)).collect();
        let error = written(&format!("root ::= r0\n{deep}r100 ::= \"a\"")).unwrap_err();
        assert!(error.contains("within each other"), "{error}");
    }
}
