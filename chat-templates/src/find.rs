//! Which template a model wants: a pure function of what its file and its folder offer.
//!
//! A template is used as a template, never as a hint which built-in form to take. The tokens of a
//! vocabulary, a path and a name are no evidence.

use std::fmt;

use bitnet_files::Sha256Hex;
use indexmap::IndexMap;

use crate::{Family, Json};

/// What a model offers. The reader of files fills it in; this crate opens none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offered {
    /// `tokenizer.chat_template` of the model file.
    pub in_file: Option<String>,
    /// `tokenizer.chat_template.NAME` of the model file, by NAME.
    pub named_in_file: IndexMap<String, String>,
    /// The text of `chat_template.jinja` beside the model.
    pub beside: Option<String>,
    /// The texts of `additional_chat_templates/NAME.jinja` beside the model, by NAME.
    pub named_beside: IndexMap<String, String>,
    /// `chat_template` of `tokenizer_config.json` beside the model: a text, or a list of
    /// `{"name", "template"}`.
    pub in_tokenizer_config: Option<Json>,
}

/// What decides between several templates, besides what is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether tools are given; then the template named `tool_use` goes first, if there is one.
    pub tools: bool,
    /// Whether `<|eot_id|>` is in the model's vocabulary.
    pub has_eot_id: bool,
}

/// A template, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text of the template.
    pub source: String,
    /// Where it comes from.
    pub evidence: Evidence,
    /// The family whose template it is, if it is one of this project.
    pub family: Option<&'static Family>,
}

/// Where a template comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// The user named a family.
    NamedFamily(&'static str),
    /// The user gave a file.
    GivenFile,
    /// A key of the model file.
    ModelFile(String),
    /// A file beside the model.
    BesideModel(String),
    /// The model file holds a template that is known to be wrong; the family's stands in for it.
    KnownWrong(&'static str),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::NamedFamily(name) => write!(f, "the family {name}, as named"),
            Evidence::GivenFile => f.write_str("the file that was given"),
            Evidence::ModelFile(key) => write!(f, "{key} of the model file"),
            Evidence::BesideModel(name) => write!(f, "{name} beside the model"),
            Evidence::KnownWrong(family) => write!(
                f,
                "the family {family}, in place of the model file's own template, which a converter \
                 put there and no model was trained on"
            ),
        }
    }
}

/// Why no template was found. A chat with the model is to be refused, not guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFound {
    /// Nothing is there.
    #[error(
        "the model has no chat template: none in its file, no chat_template.jinja and no \
         tokenizer_config.json with one beside it"
    )]
    Nothing,
    /// What is there is known to be wrong, and the model was not trained on conversations.
    #[error(
        "the model has no chat template: the one in its file is a stand-in that a converter put \
         there, and the vocabulary has no token that ends a turn"
    )]
    KnownWrong,
}

/// The template with this name in a file's list of several.
const DEFAULT: &str = "default";
/// The template for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// SHA-256 of the text that Microsoft's converter writes into every file whose architecture has
/// "bitnet" in its name, and a word of it that survives small changes.
const KNOWN_WRONG_SHA256: &str = "6feccacdd8c7094ee8de807281b2f2a077d538832a4c220c7a2375e32ae5c89d";
const KNOWN_WRONG_WORD: &str = "BITNETAssistant";

/// Whether the template is the stand-in that no model was trained on.
pub fn is_known_wrong(source: &str) -> bool {
    let digest = Sha256Hex::of(source.as_bytes()).to_string();
    source.contains(KNOWN_WRONG_WORD) || digest == KNOWN_WRONG_SHA256
}

/// The template of a model, in the order of authority: the model file, `chat_template.jinja`
/// beside it, `tokenizer_config.json` beside it. What the user names goes before all of these and
/// is not looked for here.
///
/// # Errors
/// Where there is none, or only one that is known to be wrong for a model without `<|eot_id|>`.
pub fn find(offered: &Offered, wanted: Wanted) -> Result<Found, NotFound> {
    if let Some((name, source)) = pick(offered.in_file.as_ref(), &offered.named_in_file, wanted) {
        if is_known_wrong(source) {
            let family = Family::named("bitnet-2b-4t").filter(|_| wanted.has_eot_id);
            let family = family.ok_or(NotFound::KnownWrong)?;
            return Ok(Found {
                source: family.source.to_owned(),
                evidence: Evidence::KnownWrong(family.name),
                family: Some(family),
            });
        }
        let key = match name {
            Some(name) => format!("tokenizer.chat_template.{name}"),
            None => "tokenizer.chat_template".to_owned(),
        };
        return Ok(found(source, Evidence::ModelFile(key)));
    }
    if let Some((name, source)) = pick(offered.beside.as_ref(), &offered.named_beside, wanted) {
        let name = match name {
            Some(name) => format!("additional_chat_templates/{name}.jinja"),
            None => "chat_template.jinja".to_owned(),
        };
        return Ok(found(source, Evidence::BesideModel(name)));
    }
    let (plain, named) = match &offered.in_tokenizer_config {
        Some(Json::Text(source)) => (Some(source.clone()), IndexMap::new()),
        Some(Json::List(entries)) => (None, entries.iter().filter_map(named_entry).collect()),
        _ => (None, IndexMap::new()),
    };
    match pick(plain.as_ref(), &named, wanted) {
        Some((name, source)) => {
            let name = name
                .map(|name| format!(", the one named {name}"))
                .unwrap_or_default();
            let place = format!("chat_template of tokenizer_config.json{name}");
            Ok(found(source, Evidence::BesideModel(place)))
        }
        None => Err(NotFound::Nothing),
    }
}

fn found(source: &str, evidence: Evidence) -> Found {
    Found {
        source: source.to_owned(),
        evidence,
        family: None,
    }
}

fn named_entry(entry: &Json) -> Option<(String, String)> {
    let Json::Map(entry) = entry else { return None };
    match (entry.get("name"), entry.get("template")) {
        (Some(Json::Text(name)), Some(Json::Text(source))) => Some((name.clone(), source.clone())),
        _ => None,
    }
}

/// The one for tools where tools are wanted, else the plain one, which is the one named default. A
/// blank text is none.
fn pick<'o>(
    plain: Option<&'o String>,
    named: &'o IndexMap<String, String>,
    wanted: Wanted,
) -> Option<(Option<&'static str>, &'o str)> {
    let is_there = |source: &&String| !source.trim().is_empty();
    let by_name = |name: &'static str| {
        let source = named.get(name).filter(is_there)?;
        Some((Some(name), source.as_str()))
    };
    let for_tools = wanted.tools.then(|| by_name(TOOL_USE)).flatten();
    for_tools
        .or(plain.filter(is_there).map(|source| (None, source.as_str())))
        .or_else(|| by_name(DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLS: Wanted = Wanted {
        tools: true,
        has_eot_id: true,
    };
    const PLAIN: Wanted = Wanted {
        tools: false,
        has_eot_id: true,
    };

    fn named(names: &[&str]) -> IndexMap<String, String> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), format!("named {name}")))
            .collect()
    }

    #[test]
    fn the_file_goes_before_what_lies_beside_it() {
        let mut offered = Offered {
            in_file: Some("file".into()),
            beside: Some("beside".into()),
            in_tokenizer_config: Some("config".into()),
            ..Offered::default()
        };
        let places = [
            "tokenizer.chat_template of the model file",
            "chat_template.jinja beside the model",
        ];
        for (source, place) in ["file", "beside"].into_iter().zip(places) {
            let found = find(&offered, PLAIN).unwrap();
            assert_eq!(
                (found.source.as_str(), found.evidence.to_string()),
                (source, place.to_owned())
            );
            if source == "file" {
                offered.in_file = None
            } else {
                offered.beside = None
            }
        }
        assert_eq!(find(&offered, PLAIN).unwrap().source, "config");
        offered.in_tokenizer_config = None;
        assert_eq!(find(&offered, PLAIN), Err(NotFound::Nothing));
    }

    #[test]
    fn a_blank_template_is_none() {
        let mut offered = Offered {
            in_file: Some(" \n".into()),
            named_in_file: [("default".to_owned(), String::new())].into(),
            ..Offered::default()
        };
        assert_eq!(find(&offered, PLAIN), Err(NotFound::Nothing));
        offered.beside = Some("beside".into());
        assert_eq!(find(&offered, PLAIN).unwrap().source, "beside");
    }

    #[test]
    fn tools_choose_the_template_for_them_wherever_templates_have_names() {
        let in_file = Offered {
            in_file: Some("plain".into()),
            named_in_file: named(&["tool_use", "rag"]),
            ..Offered::default()
        };
        assert_eq!(find(&in_file, TOOLS).unwrap().source, "named tool_use");
        assert_eq!(find(&in_file, PLAIN).unwrap().source, "plain");
        let beside = Offered {
            beside: Some("plain".into()),
            named_beside: named(&["tool_use"]),
            ..Offered::default()
        };
        assert_eq!(find(&beside, TOOLS).unwrap().source, "named tool_use");
        let list = r#"[{"name": "rag", "template": "r"}, {"name": "default", "template": "d"},
            {"name": "tool_use", "template": "t"}]"#;
        let config = Offered {
            in_tokenizer_config: Json::parse(list).ok(),
            ..Offered::default()
        };
        assert_eq!(find(&config, TOOLS).unwrap().source, "t");
        assert_eq!(find(&config, PLAIN).unwrap().source, "d");
    }

    #[test]
    fn the_converters_template_is_replaced_or_refused() {
        let offered = Offered {
            in_file: Some("{{ 'BITNETAssistant: ' }}".into()),
            beside: Some("beside".into()),
            ..Offered::default()
        };
        let found = find(&offered, PLAIN).unwrap();
        assert_eq!(found.family.map(|family| family.name), Some("bitnet-2b-4t"));
        assert_eq!(found.evidence, Evidence::KnownWrong("bitnet-2b-4t"));
        let base = Wanted {
            has_eot_id: false,
            ..PLAIN
        };
        assert_eq!(find(&offered, base), Err(NotFound::KnownWrong));
    }
}
