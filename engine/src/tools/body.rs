//! [`Reader`]: what stands between the marks of calls, read as it comes.

use bitnet_chat_templates::Json;

use super::definition::{CallPart, Tools};
use super::form::{Body, CallForm};
use super::python::{self, Begun};

/// What was written is no call in this form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoCall;

/// What stands before and behind a block of code.
const FENCE: &str = "```";

/// Reads the calls behind an opening mark.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    form: &'static CallForm,
    place: Place,
    /// What was not told yet. Before a call has begun it is all of that call.
    held: String,
    /// What stands before the first call: it is text where none follows.
    before: String,
    in_list: bool,
    /// Whether calls stand between the marks of a block of code.
    fenced: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before a call, or its name.
    Head,
    /// In its arguments; for tags, whether there were any before.
    Arguments(Scan),
    Parameters {
        any: bool,
    },
    /// Behind its arguments.
    Rest(Scan),
    /// Behind a call.
    Behind,
}

impl Reader {
    pub(super) fn new(form: &'static CallForm) -> Reader {
        Reader {
            form,
            place: Place::Head,
            held: String::new(),
            before: String::new(),
            in_list: false,
            fenced: false,
        }
    }

    /// Whether a call has begun that has not ended.
    pub(super) fn is_inside(&self) -> bool {
        !matches!(self.place, Place::Head | Place::Behind)
    }

    /// What was read of no call, and is not told.
    pub(super) fn unread(&mut self) -> String {
        let before = std::mem::take(&mut self.before);
        before + &std::mem::take(&mut self.held)
    }

    /// Takes more text, and calls `each` with what is sure of calls. Whether they are over: what
    /// follows is held.
    pub(super) fn push(
        &mut self,
        text: &str,
        tools: &Tools,
        each: &mut impl FnMut(CallPart),
    ) -> Result<bool, NoCall> {
        self.held.push_str(text);
        loop {
            let more = match self.place {
                Place::Head => match self.form.body {
                    Body::Json { arguments, list } => self.object(arguments, list, each)?,
                    Body::Tags => self.function(each)?,
                    Body::Python => self.python(each)?,
                },
                Place::Arguments(scan) => self.arguments(scan, each),
                Place::Rest(scan) => self.rest(scan, each),
                Place::Parameters { any } => self.parameter(any, tools, each),
                Place::Behind => match self.behind()? {
                    Some(over) if over => return Ok(true),
                    more => more.is_some(),
                },
            };
            if !more {
                return Ok(false);
            }
        }
    }

    /// Reads up to the arguments of an object. As in all of these: whether there is more to do.
    fn object(
        &mut self,
        key: &str,
        list: bool,
        each: &mut impl FnMut(CallPart),
    ) -> Result<bool, NoCall> {
        let mut at = blanks(&self.held, 0);
        // A model may write a list where one call is expected, and the other way round.
        if !self.in_list && self.held[at..].starts_with('[') && (list || !self.form.open.is_empty())
        {
            self.in_list = true;
            self.before.extend(self.held.drain(..=at));
            at = blanks(&self.held, 0);
        }
        match self.held[at..].chars().next() {
            None => return Ok(false),
            Some('{') => {}
            Some(_) => return Err(NoCall),
        }
        match usual(&self.held[at..], key) {
            Usual::Open => return Ok(false),
            Usual::Is { name, arguments } => {
                self.begin(name, each);
                self.held.drain(..at + arguments);
                self.place = Place::Arguments(Scan::default());
                return Ok(true);
            }
            Usual::IsNot => {}
        }
        // Its keys stand in another order: it is read once it is whole.
        let Some(len) = Scan::default().end(&self.held[at..]) else {
            return Ok(false);
        };
        let object = Json::parse(&self.held[at..at + len]).map_err(|_| NoCall)?;
        let Json::Map(entries) = &object else {
            return Err(NoCall);
        };
        let name = object.text_at("name").ok_or(NoCall)?.to_owned();
        let keys = [key, "arguments", "parameters"];
        let arguments = keys.iter().find_map(|key| entries.get(*key));
        let arguments = match arguments {
            None => "{}".to_owned(),
            Some(Json::Text(text)) => text.clone(),
            Some(value) => serde_json::to_string(value).map_err(|_| NoCall)?,
        };
        self.begin(name, each);
        each(CallPart::Arguments(arguments));
        each(CallPart::Ended);
        self.held.drain(..at + len);
        self.place = Place::Behind;
        Ok(true)
    }

    fn begin(&mut self, name: String, each: &mut impl FnMut(CallPart)) {
        self.before.clear();
        each(CallPart::Begun { name });
    }

    fn arguments(&mut self, mut scan: Scan, each: &mut impl FnMut(CallPart)) -> bool {
        let end = scan.end(&self.held);
        let told: String = self.held.drain(..end.unwrap_or(self.held.len())).collect();
        if !told.is_empty() {
            each(CallPart::Arguments(told));
        }
        self.place = match end {
            Some(_) => Place::Rest(Scan::within_object()),
            None => Place::Arguments(scan),
        };
        end.is_some()
    }

    /// What else is in the object.
    fn rest(&mut self, mut scan: Scan, each: &mut impl FnMut(CallPart)) -> bool {
        let end = scan.end(&self.held);
        self.held.drain(..end.unwrap_or(self.held.len()));
        self.place = match end {
            Some(_) => Place::Behind,
            None => Place::Rest(scan),
        };
        if end.is_some() {
            each(CallPart::Ended);
        }
        end.is_some()
    }

    fn function(&mut self, each: &mut impl FnMut(CallPart)) -> Result<bool, NoCall> {
        const OPEN: &str = "<function=";
        let begun = self.held.trim_start();
        let Some(rest) = begun.strip_prefix(OPEN) else {
            let may_become = OPEN.starts_with(begun);
            return may_become.then_some(false).ok_or(NoCall);
        };
        let Some((name, rest)) = rest.split_once('>') else {
            return Ok(false);
        };
        let name = name.trim().to_owned();
        if name.is_empty() {
            return Err(NoCall);
        }
        self.held = rest.to_owned();
        self.begin(name, each);
        self.place = Place::Parameters { any: false };
        Ok(true)
    }

    /// A call is told when it is whole.
    fn python(&mut self, each: &mut impl FnMut(CallPart)) -> Result<bool, NoCall> {
        let begun = self.held.trim_start();
        if !self.fenced && !self.in_list && begun.starts_with(['`', '[']) {
            let opens = ["```python\n", "```\n"];
            let fenced = opens.iter().find_map(|open| begun.strip_prefix(open));
            let may_become = opens.iter().any(|open| open.starts_with(begun));
            let rest = match (begun.strip_prefix('['), fenced) {
                (None, None) => return may_become.then_some(false).ok_or(NoCall),
                (Some(rest), _) | (None, Some(rest)) => rest,
            };
            (self.in_list, self.fenced) = (fenced.is_none(), fenced.is_some());
            let at = self.held.len() - rest.len();
            self.before.extend(self.held.drain(..at));
            return Ok(true);
        }
        match python::call(begun) {
            Begun::Open => Ok(false),
            Begun::NoCall => Err(NoCall),
            Begun::Call {
                name,
                arguments,
                len,
            } => {
                let arguments = serde_json::to_string(&arguments).map_err(|_| NoCall)?;
                self.held = begun[len..].to_owned();
                self.begin(name, each);
                each(CallPart::Arguments(arguments));
                each(CallPart::Ended);
                self.place = Place::Behind;
                Ok(true)
            }
        }
    }

    /// Each value is told when it is whole; `held` begins with the name of the function until the
    /// call ends.
    fn parameter(&mut self, any: bool, tools: &Tools, each: &mut impl FnMut(CallPart)) -> bool {
        const CLOSE: &str = "</parameter>";
        const END: &str = "</function>";
        let begun = self.held.trim_start();
        if let Some(rest) = begun.strip_prefix(END) {
            each(CallPart::Arguments(if any { "}" } else { "{}" }.to_owned()));
            each(CallPart::Ended);
            self.held = rest.to_owned();
            self.place = Place::Behind;
            return true;
        }
        let Some((_, rest)) = begun.split_once("<parameter=") else {
            return false;
        };
        let Some((key, rest)) = rest.split_once('>') else {
            return false;
        };
        let Some((value, rest)) = rest.split_once(CLOSE) else {
            return false;
        };
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let value = typed(key.trim(), value, tools);
        let key = Json::from(key.trim());
        let pair = [&key, &value].map(|json| serde_json::to_string(json).unwrap_or_default());
        let before = if any { ", " } else { "{" };
        each(CallPart::Arguments(format!("{before}{}", pair.join(": "))));
        self.held = rest.to_owned();
        self.place = Place::Parameters { any: true };
        true
    }

    /// Whether another call follows, or none does; nothing where that is not sure yet.
    fn behind(&mut self) -> Result<Option<bool>, NoCall> {
        let (begun, close) = (self.held.trim_start(), self.form.close);
        if self.in_list && begun.starts_with(']') {
            self.in_list = false;
            self.held = begun[1..].to_owned();
            // Without a closing mark, it is the list that ends.
            return Ok(Some(close.is_empty()));
        }
        if self.fenced
            && let Some(rest) = begun.strip_prefix(FENCE)
        {
            self.fenced = false;
            self.held = rest.to_owned();
            return Ok(Some(false));
        }
        let separator = if self.in_list { ',' } else { ';' };
        let next = begun.strip_prefix(separator).or_else(|| {
            let another = match self.form.body {
                Body::Json { .. } => false,
                Body::Tags => begun.starts_with("<function="),
                Body::Python => begun.starts_with(|sign: char| sign.is_alphabetic() || sign == '_'),
            };
            another.then_some(begun)
        });
        if let Some(rest) = next {
            self.held = rest.to_owned();
            self.place = Place::Head;
            return Ok(Some(false));
        }
        if begun.is_empty() {
            return Ok(None);
        }
        if !close.is_empty() {
            if let Some(rest) = begun.strip_prefix(close) {
                self.held = rest.to_owned();
                return Ok(Some(true));
            }
            let mut may_become = vec![close];
            if self.form.body == Body::Tags {
                may_become.push("<function=");
            }
            if self.fenced {
                may_become.push(FENCE);
            }
            if may_become.iter().any(|mark| mark.starts_with(begun)) {
                return Ok(None);
            }
        }
        Ok(Some(true))
    }
}

/// Where the first sign at `from` or behind stands that is no blank.
fn blanks(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start().len()
}

/// Whether an object begins as calls usually do, so that its arguments can be told as they come.
enum Usual {
    /// It may.
    Open,
    Is {
        name: String,
        /// Bytes before the arguments.
        arguments: usize,
    },
    IsNot,
}

fn usual(object: &str, key: &str) -> Usual {
    let mut at = 0;
    let mut name = None;
    for expected in ["{", "\"name\"", ":", "", ",", key, ":", "{"] {
        at = blanks(object, at);
        let rest = &object[at..];
        // A name stands here, and the key of the arguments in quotes.
        if expected.is_empty() {
            if !rest.is_empty() && !rest.starts_with('"') {
                return Usual::IsNot;
            }
            let Some(len) = Scan::default().end(rest) else {
                return Usual::Open;
            };
            match Json::parse(&rest[..len]) {
                Ok(Json::Text(text)) => name = Some(text),
                _ => return Usual::IsNot,
            }
            at += len;
            continue;
        }
        let quoted = format!("\"{key}\"");
        let expected = if expected == key { &quoted } else { expected };
        if rest.starts_with(expected) {
            at += expected.len();
        } else if expected.starts_with(rest) {
            return Usual::Open;
        } else {
            return Usual::IsNot;
        }
    }
    name.map_or(Usual::IsNot, |name| Usual::Is {
        name,
        arguments: at - 1,
    })
}

/// The value of a parameter that was written as text: by the tool's schema a text, else what it
/// is as JSON, else a text.
fn typed(key: &str, value: &str, tools: &Tools) -> Json {
    let of = |tool: &super::Tool| {
        let Some(Json::Map(schema)) = &tool.parameters else {
            return None;
        };
        let Some(Json::Map(properties)) = schema.get("properties") else {
            return None;
        };
        Some(properties.get(key)?.text_at("type")? == "string")
    };
    let is_text = tools.list.iter().find_map(of).unwrap_or(false);
    match Json::parse(value.trim()) {
        Ok(json) if !is_text => json,
        _ => value.into(),
    }
}

/// Looks for the end of a JSON value.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Scan {
    /// From a place directly in an object, to its end.
    fn within_object() -> Scan {
        Scan {
            depth: 1,
            ..Scan::default()
        }
    }

    /// Bytes up to the end of the value, if it is in `text`, which continues what was seen.
    fn end(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            match (self.in_text, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (true, b'"') => self.in_text = false,
                (true, _) => continue,
                (false, b'"') => {
                    self.in_text = true;
                    continue;
                }
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (false, _) => continue,
            }
            if self.depth == 0 && !self.in_text {
                return Some(at + 1);
            }
        }
        None
    }
}
