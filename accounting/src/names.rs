//! What a name stands for: a listed model, a relative of one, a file, an encoding, or nothing that
//! is known. Knows nothing of files on disk and prices.

use std::path::{Path, PathBuf};

use crate::catalogue::{self, CATALOGUE, Counted, Entry, PREFIXES};
use crate::encoding::Encoding;
use crate::model::Provider;

/// A name, understood.
pub(crate) struct Named {
    pub(crate) provider: Provider,
    /// The name under which it is priced. Stands for itself.
    pub(crate) canonical: String,
    /// The name for people.
    pub(crate) display: String,
    pub(crate) kind: Kind,
}

/// What is known of the thing behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A model of the catalogue.
    Listed(Counted),
    /// Not listed, but its name says what it is close to.
    Relative(Counted),
    /// A tokenizer's file, or a model's with one.
    File(PathBuf),
    /// An encoding by its own name.
    Encoding(Encoding),
    Unknown,
}

/// Understands any name.
pub(crate) fn resolve(name: &str) -> Named {
    let name = name.trim();
    if let Some(named) = file(name).or_else(|| encoding(name)) {
        return named;
    }
    let lower = name.to_lowercase();
    let Some(parts) = Parts::of(&lower) else {
        return unknown(Provider::Generic, name);
    };
    let entry = parts.entry();
    match (parts.tuned, entry) {
        (false, Some(entry)) => listed(entry),
        // A fine-tuned model is not the one that the list prices.
        (true, Some(entry)) => parts.relative(entry.provider, entry.counted),
        (_, None) => match parts.prefix() {
            Some((provider, counted)) => parts.relative(provider, counted),
            None => {
                let provider = parts.provider.unwrap_or(Provider::Generic);
                unknown(
                    provider,
                    parts
                        .behind_dot
                        .filter(|_| !name.contains('/'))
                        .unwrap_or(name),
                )
            }
        },
    }
}

/// The model of the catalogue.
pub(crate) fn listed(entry: &Entry) -> Named {
    Named {
        provider: entry.provider,
        canonical: format!("{}/{}", entry.provider.name(), entry.model),
        display: entry.model.to_owned(),
        kind: Kind::Listed(entry.counted),
    }
}

/// The canonical name of a listed model, if `name` is how its own provider offers it: not what a
/// router or a reseller calls it.
pub(crate) fn offered_by_its_provider(name: &str) -> Option<String> {
    let parts = Parts::of(name).filter(|parts| !parts.resold && !parts.tuned)?;
    parts.entry().map(|entry| listed(entry).canonical)
}

/// The parts of a name in lower case.
struct Parts<'a> {
    provider: Option<Provider>,
    /// The name of the model, or of the one that was fine-tuned.
    model: &'a str,
    tuned: bool,
    /// What follows the provider, where a dot divides them as in Bedrock's names.
    behind_dot: Option<&'a str>,
    /// Whether it is written as one writes it who is not the model's provider.
    resold: bool,
}

impl<'a> Parts<'a> {
    /// None where the name says that an unknown provider offers the model.
    fn of(name: &'a str) -> Option<Parts<'a>> {
        let (mut rest, mut resold) = (name, false);
        while let Some((router, after)) = rest.split_once('/')
            && catalogue::is_router(router)
        {
            (rest, resold) = (after, true);
        }
        let (mut provider, mut model, mut behind_dot) = (None, rest, None);
        if let Some((by, of)) = rest.split_once('/') {
            (provider, model) = (Some(catalogue::provider(by)?), of);
        } else if let Some((by, of)) = dotted(rest) {
            (provider, model, resold) = (Some(by), of, true);
            behind_dot = Some(of.trim());
        }
        let bare = without_variant(model);
        let base = tuned(bare);
        Some(Parts {
            provider,
            model: base.map_or(bare, without_variant),
            tuned: base.is_some(),
            behind_dot,
            resold: resold || bare != model,
        })
    }

    fn offers(&self, by: Provider) -> bool {
        self.provider.is_none_or(|provider| provider == by)
    }

    fn entry(&self) -> Option<&'static Entry> {
        let bare = without_label(self.model);
        [
            self.model,
            bare,
            without_date(bare),
            without_date(without_label(without_date(bare))),
        ]
        .into_iter()
        .find_map(|model| {
            CATALOGUE.iter().find(|entry| {
                self.offers(entry.provider)
                    && (entry.model == model || entry.aliases.contains(&model))
            })
        })
    }

    fn prefix(&self) -> Option<(Provider, Counted)> {
        PREFIXES
            .iter()
            .find(|(prefix, by, _)| {
                let rest = self.model.strip_prefix(prefix);
                self.offers(*by)
                    && rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
            })
            .map(|(_, by, counted)| (*by, *counted))
    }

    fn relative(&self, provider: Provider, counted: Counted) -> Named {
        let display = match self.tuned {
            true => format!("ft:{}", self.model),
            false => self.model.to_owned(),
        };
        Named {
            provider,
            canonical: format!("{}/{display}", provider.name()),
            display,
            kind: Kind::Relative(counted),
        }
    }
}

/// What routers append to choose how a model is served.
const VARIANTS: [&str; 9] = [
    ":free",
    ":nitro",
    ":floor",
    ":online",
    ":extended",
    ":beta",
    ":exacto",
    ":batch",
    ":thinking",
];

/// A name without what routers append, and without the version that Vertex puts behind an `@`.
fn without_variant(model: &str) -> &str {
    let mut model = model.split('@').next().unwrap_or(model).trim();
    while let Some(before) = VARIANTS.iter().find_map(|end| model.strip_suffix(end)) {
        model = before.trim();
    }
    model
}

/// The regions that Bedrock puts before a name.
const REGIONS: [&str; 8] = [
    "us.", "us-gov.", "eu.", "apac.", "jp.", "au.", "ca.", "global.",
];

/// A name as Bedrock has it, `us.anthropic.claude-3-haiku-20240307-v1:0`.
fn dotted(name: &str) -> Option<(Provider, &str)> {
    let name = REGIONS
        .iter()
        .find_map(|region| name.strip_prefix(region))
        .unwrap_or(name);
    let (by, model) = name.split_once('.')?;
    let provider = catalogue::provider(by)?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let model = match model.rsplit_once(':') {
        Some((before, version)) if number(version) => before,
        _ => model,
    };
    let model = match model.rsplit_once('-') {
        Some((before, version)) if number(version.strip_prefix('v').unwrap_or("")) => before,
        _ => model,
    };
    Some((provider, model))
}

/// The model that was fine-tuned: `ft:gpt-4o:acme::x1`, `davinci:ft-acme-2023-01-01`,
/// `gpt-4o.ft-0123abcd`.
fn tuned(model: &str) -> Option<&str> {
    let base = model.strip_prefix("ft:").or_else(|| {
        [":ft-", ".ft-"]
            .iter()
            .find_map(|mark| model.split_once(mark))
            .map(|(base, _)| base)
    });
    base.and_then(|base| base.split(':').next())
}

/// A name that is the path of a tokenizer or of a model with one.
fn file(name: &str) -> Option<Named> {
    let path = Path::new(name);
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    if !matches!(ending.as_str(), "gguf" | "json") && !name.ends_with("tokenizer.model") {
        return None;
    }
    Some(Named {
        provider: Provider::Generic,
        canonical: name.to_owned(),
        display: path.file_name()?.to_str()?.to_owned(),
        kind: Kind::File(path.to_owned()),
    })
}

/// A name that is an encoding's.
fn encoding(name: &str) -> Option<Named> {
    let encoding = Encoding::named(name)?;
    Some(Named {
        kind: Kind::Encoding(encoding),
        ..unknown(Provider::Generic, name)
    })
}

fn unknown(provider: Provider, name: &str) -> Named {
    Named {
        provider,
        canonical: match name.contains('/') {
            true => name.to_owned(),
            false => format!("{}/{name}", provider.name()),
        },
        display: name.rsplit('/').next().unwrap_or(name).to_owned(),
        kind: Kind::Unknown,
    }
}

/// A name without `-latest` or `-preview` at its end.
fn without_label(model: &str) -> &str {
    let ends = ["-latest", "-preview"];
    ends.iter()
        .find_map(|end| model.strip_suffix(end))
        .unwrap_or(model)
}

/// A name without `-2024-08-06`, `-20240806` or `-0613` at its end.
fn without_date(model: &str) -> &str {
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = model.rsplitn(4, '-');
    if let (Some(day), Some(month), Some(year), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
        && digits(day, &[2])
        && digits(month, &[2])
        && digits(year, &[4])
    {
        return rest;
    }
    match model.rsplit_once('-') {
        Some((rest, date)) if digits(date, &[4, 8]) => rest,
        _ => model,
    }
}
