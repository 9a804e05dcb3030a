//! Prices by the name of the model. The list that ships is data, `prices.json`; a user's file can
//! take its place, in the same form or in one of those that others publish.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::cost::micros;
use crate::date::Date;
use crate::import;
use crate::names;
use crate::price::{Price, Rates, Tier};

const BUILT_IN: &str = include_str!("../prices/prices.json");

static LIST: LazyLock<PriceList> =
    LazyLock::new(|| PriceList::parse(BUILT_IN).expect("a test reads the list that ships"));

/// A list that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// No such file, or no right to read it.
    #[error("price list {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a price list.
    #[error(
        "price list {path}: {problem}; expected {{\"as_of\": \"YYYY-MM-DD\", \"source\": \"...\", \
         \"models\": {{\"provider/model\": {{\"input\": \"2.50\", \"cached_input\": \"1.25\", \"output\": \"10.00\"}}}}}}, \
         in dollars per million tokens, or a list as LiteLLM, OpenRouter or models.dev publish it"
    )]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// Prices by canonical name of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    prices: BTreeMap<String, Price>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    as_of: String,
    source: String,
    models: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    input: Dollars,
    cached_input: Option<Dollars>,
    cache_write: Option<Dollars>,
    output: Dollars,
    batch: Option<RatesEntry>,
    #[serde(default)]
    long_context: Vec<LongEntry>,
    as_of: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesEntry {
    input: Dollars,
    cached_input: Option<Dollars>,
    cache_write: Option<Dollars>,
    output: Dollars,
}

/// The rates of requests whose input is longer than `above` tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongEntry {
    above: u64,
    input: Dollars,
    cached_input: Option<Dollars>,
    cache_write: Option<Dollars>,
    output: Dollars,
    batch: Option<RatesEntry>,
}

/// A decimal number, as JSON or in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Dollars {
    Number(serde_json::Number),
    Text(String),
}

impl Dollars {
    fn micros(&self) -> Result<u64, String> {
        let text = match self {
            Dollars::Number(number) => number.to_string(),
            Dollars::Text(text) => text.clone(),
        };
        micros(&text).ok_or_else(|| format!("`{text}` is no price; write dollars as 2.50"))
    }
}

/// Rates, where those of the cache are the input's unless they are given.
fn rates(
    input: &Dollars,
    cached: Option<&Dollars>,
    write: Option<&Dollars>,
    output: &Dollars,
) -> Result<Rates, String> {
    let input = input.micros()?;
    let or_input = |price: Option<&Dollars>| price.map_or(Ok(input), Dollars::micros);
    Ok(Rates {
        input,
        cached_input: or_input(cached)?,
        cache_write: or_input(write)?,
        output: output.micros()?,
    })
}

impl RatesEntry {
    fn rates(&self) -> Result<Rates, String> {
        let (cached, write) = (self.cached_input.as_ref(), self.cache_write.as_ref());
        rates(&self.input, cached, write, &self.output)
    }
}

impl LongEntry {
    fn tier(&self) -> Result<(u64, Tier), String> {
        let (cached, write) = (self.cached_input.as_ref(), self.cache_write.as_ref());
        let tier = Tier {
            standard: rates(&self.input, cached, write, &self.output)?,
            batch: self.batch.as_ref().map(RatesEntry::rates).transpose()?,
        };
        Ok((self.above, tier))
    }
}

impl Entry {
    fn price(&self, file: &File, as_of: Date) -> Result<Price, String> {
        let (cached, write) = (self.cached_input.as_ref(), self.cache_write.as_ref());
        let mut long_context = self
            .long_context
            .iter()
            .map(LongEntry::tier)
            .collect::<Result<Vec<_>, _>>()?;
        long_context.sort_by_key(|(above, _)| *above);
        Ok(Price {
            base: Tier {
                standard: rates(&self.input, cached, write, &self.output)?,
                batch: self.batch.as_ref().map(RatesEntry::rates).transpose()?,
            },
            long_context,
            as_of: self.as_of.as_deref().map_or(Ok(as_of), date)?,
            source: self.source.clone().unwrap_or_else(|| file.source.clone()),
        })
    }
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| format!("`{text}` is no date; write YYYY-MM-DD"))
}

impl PriceList {
    /// The list that ships.
    pub fn built_in() -> &'static PriceList {
        &LIST
    }

    /// A user's list: in the form of the one that ships, or as LiteLLM
    /// (`model_prices_and_context_window.json`), OpenRouter (`/api/v1/models`) or models.dev
    /// (`api.json`) publish theirs. Those carry no dates, so the file's own is taken.
    ///
    /// # Errors
    /// The file cannot be read, or is not a list of prices.
    pub fn read(path: &Path) -> Result<PriceList, PricingError> {
        let name = path.display().to_string();
        let failed = |source| PricingError::Read {
            path: name.clone(),
            source,
        };
        let text = bitnet_files::read_to_string(path).map_err(failed)?;
        let changed = std::fs::metadata(path).and_then(|about| about.modified());
        let as_of = changed.map_or_else(|_| Date::today(), Date::of);
        let list = match import::read(&text, as_of, &name) {
            Some(prices) => Ok(PriceList::of_others(prices)),
            None => PriceList::parse(&text),
        };
        list.map_err(|problem| PricingError::Format {
            path: name,
            problem,
        })
    }

    fn parse(text: &str) -> Result<PriceList, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let as_of = date(&file.as_of)?;
        let prices = file
            .models
            .iter()
            .map(|(name, entry)| match entry.price(&file, as_of) {
                Ok(price) => Ok((name.to_lowercase(), price)),
                Err(problem) => Err(format!("{name}: {problem}")),
            })
            .collect::<Result<_, String>>()?;
        Ok(PriceList { prices })
    }

    /// The prices of a list whose names are those of its maker. Each is found by its own name; a
    /// model of ours by the entry that is nearest to it: one of its very name, else the newest of
    /// its dated ones. What a reseller asks is never taken for the provider's price.
    fn of_others(listed: BTreeMap<String, Price>) -> PriceList {
        let mut nearest: BTreeMap<String, (bool, &str)> = BTreeMap::new();
        for name in listed.keys() {
            let Some(canonical) = names::offered_by_its_provider(name) else {
                continue;
            };
            let bare = name.rsplit('/').next().unwrap_or(name);
            let candidate = (canonical.ends_with(&format!("/{bare}")), name.as_str());
            let best = nearest.entry(canonical).or_insert(candidate);
            if candidate > *best {
                *best = candidate;
            }
        }
        let of_ours: Vec<(String, Price)> = nearest
            .into_iter()
            .map(|(canonical, (_, name))| (canonical, listed[name].clone()))
            .collect();
        let mut prices = listed;
        prices.extend(of_ours);
        PriceList { prices }
    }

    /// The price of a model, by its canonical name.
    pub fn price(&self, canonical: &str) -> Option<&Price> {
        self.prices.get(&canonical.to_lowercase())
    }

    /// All prices, by name.
    pub fn prices(&self) -> impl Iterator<Item = (&str, &Price)> {
        self.prices
            .iter()
            .map(|(name, price)| (name.as_str(), price))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_that_ships_is_of_models_that_are_known() {
        for (name, price) in PriceList::built_in().prices() {
            assert_eq!(names::resolve(name).canonical, name);
            for tier in price
                .long_context
                .iter()
                .map(|(_, tier)| tier)
                .chain([&price.base])
            {
                for rates in tier.batch.iter().chain([&tier.standard]) {
                    assert!(rates.cached_input <= rates.input, "{name}");
                }
            }
            assert!(price.base.standard.input > 0, "{name}");
            assert!(price.source.starts_with("https://"), "{name}");
        }
    }

    #[test]
    fn a_list_has_defaults_tiers_and_names_in_any_case() {
        let list = r#"{"as_of": "2025-08-31", "source": "here", "models": {
            "a/b": {"input": 2.5, "cached_input": "1.25", "output": "10", "source": "there"},
            "A/C": {"input": "0.075", "output": 1, "as_of": "2026-01-02",
                "batch": {"input": "0.0375", "output": 0.5},
                "long_context": [
                    {"above": 200000, "input": 2, "output": 3, "cache_write": 5},
                    {"above": 100000, "input": 1, "output": 2}]}}}"#;
        let list = PriceList::parse(list).expect("a list");
        let price = list.price("a/c").expect("there");
        let standard = price.base.standard;
        assert_eq!(
            (standard.input, standard.cached_input, standard.cache_write),
            (75_000, 75_000, 75_000)
        );
        assert_eq!(price.base.batch.map(|batch| batch.input), Some(37_500));
        let above: Vec<u64> = price.long_context.iter().map(|(above, _)| *above).collect();
        assert_eq!(above, [100_000, 200_000]);
        assert_eq!(price.long_context[1].1.standard.cache_write, 5_000_000);
        assert_eq!(
            (price.as_of.to_string(), price.source.as_str()),
            ("2026-01-02".into(), "here")
        );
        let other = list.price("A/b").expect("there");
        assert_eq!(
            (other.base.standard.cached_input, other.source.as_str()),
            (1_250_000, "there")
        );
    }

    #[test]
    fn the_nearest_name_of_another_list_prices_a_model_and_no_resellers_does() {
        let path = tempfile::tempdir().expect("a folder");
        let path = path.path().join("litellm.json");
        let list = r#"{
            "sample_spec": {"input_cost_per_token": "what one costs"},
            "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05},
            "gpt-4o-2024-08-06": {"input_cost_per_token": 9e-06, "output_cost_per_token": 9e-06},
            "azure/gpt-4o": {"input_cost_per_token": 8e-06, "output_cost_per_token": 8e-06},
            "gpt-5-2025-08-07": {"input_cost_per_token": 2e-06, "output_cost_per_token": 9e-06},
            "gpt-5-2026-01-01": {"input_cost_per_token": 1e-06, "output_cost_per_token": 9e-06},
            "openrouter/openai/o3": {"input_cost_per_token": 7e-06, "output_cost_per_token": 9e-06}}"#;
        std::fs::write(&path, list).expect("written");
        let list = PriceList::read(&path).expect("a list");
        let input = |name| list.price(name).map(|price| price.base.standard.input);
        assert_eq!(input("openai/gpt-4o"), Some(2_500_000));
        assert_eq!(input("openai/gpt-5"), Some(1_000_000));
        assert_eq!(input("openai/o3"), None);
        assert_eq!(input("azure/gpt-4o"), Some(8_000_000));
        assert_eq!(input("sample_spec"), None);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        for (list, said) in [
            ("5", "invalid type"),
            (
                r#"{"as_of": "2025-13-01", "source": "x", "models": {}}"#,
                "no date",
            ),
            (
                r#"{"as_of": "2025-01-01", "models": {}}"#,
                "missing field `source`",
            ),
            (
                r#"{"as_of": "2025-01-01", "source": "x", "models": {"a/b": {"input": "1,5", "output": 1}}}"#,
                "a/b: `1,5` is no price",
            ),
            (
                r#"{"as_of": "2025-01-01", "source": "x", "models": {"a/b": {"input": -1, "output": 1}}}"#,
                "`-1` is no price",
            ),
        ] {
            let problem = PriceList::parse(list).expect_err(said);
            assert!(problem.contains(said), "{problem}");
        }
    }
}
