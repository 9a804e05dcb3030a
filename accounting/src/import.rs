//! Price lists as others publish them: LiteLLM's `model_prices_and_context_window.json`,
//! OpenRouter's `/api/v1/models` and the `api.json` of models.dev.
//!
//! An entry without a price per token (images, speech, an example) is passed over.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::cost::scaled;
use crate::date::Date;
use crate::price::{Price, Rates, Tier};

/// Ten to this power turns dollars per token into pico-dollars per token.
const PER_TOKEN: i32 = 12;
/// And this one dollars per million tokens.
const PER_MILLION: i32 = 6;

/// The prices of such a list by the names that it uses, in lower case; none where the text is no
/// list of these kinds. `as_of` and `source` stand for what the list does not say.
pub(crate) fn read(text: &str, as_of: Date, source: &str) -> Option<BTreeMap<String, Price>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut value: Value = serde_json::from_str(text).ok()?;
    // Of names that are one in lower case the last counts, wherever they stand in the list.
    value.sort_all_objects();
    let Value::Object(list) = value else {
        return None;
    };
    let entries: Vec<(String, Tiers)> = if let Some(Value::Array(data)) = list.get("data") {
        data.iter().filter_map(openrouter).collect()
    } else if list
        .values()
        .any(|entry| entry.get("models").is_some_and(Value::is_object))
        && !list.contains_key("models")
    {
        list.iter()
            .flat_map(|(provider, entry)| models_dev(provider, entry))
            .collect()
    } else {
        list.iter()
            .filter_map(|(name, entry)| litellm(name, entry))
            .collect()
    };
    let priced = |(name, tiers): (String, Tiers)| {
        let price = Price {
            base: tiers.base,
            long_context: tiers.long_context,
            as_of,
            source: tiers.source.unwrap_or_else(|| source.to_owned()),
        };
        (name.to_lowercase(), price)
    };
    (!entries.is_empty()).then(|| entries.into_iter().map(priced).collect())
}

/// What an entry says.
struct Tiers {
    base: Tier,
    long_context: Vec<(u64, Tier)>,
    source: Option<String>,
}

/// A number, as JSON or in quotes, times ten to the `power`.
fn amount(value: Option<&Value>, power: i32) -> Option<u64> {
    match value? {
        Value::Number(number) => scaled(&number.to_string(), power),
        Value::String(text) => scaled(text, power),
        _ => None,
    }
}

/// Rates of an input and an output; a price of the cache that is missing, or 0 where the input's is
/// not, is the input's.
fn rates(input: u64, cached: Option<u64>, write: Option<u64>, output: u64) -> Rates {
    let given = |price: Option<u64>| price.filter(|price| *price > 0).unwrap_or(input);
    Rates {
        input,
        cached_input: given(cached),
        cache_write: given(write),
        output,
    }
}

fn litellm(name: &str, entry: &Value) -> Option<(String, Tiers)> {
    let entry = entry.as_object()?;
    let source = entry
        .get("source")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(Value::Array(ranges)) = entry.get("tiered_pricing") {
        let mut tiers = ranges.iter().filter_map(|range| {
            let from = amount(range.get("range")?.get(0), 0)?;
            let range = range.as_object()?;
            let standard = litellm_rates(range, "", "")?;
            let batch = litellm_rates(range, "", "_batches");
            Some((from, Tier { standard, batch }))
        });
        let (_, base) = tiers.next()?;
        return Some((
            name.to_owned(),
            Tiers {
                base,
                long_context: tiers.collect(),
                source,
            },
        ));
    }
    let tier = |above: &str| {
        Some(Tier {
            standard: litellm_rates(entry, above, "")?,
            batch: litellm_rates(entry, above, "_batches"),
        })
    };
    let mut long_context: Vec<(u64, Tier)> = entry
        .keys()
        .filter_map(|key| {
            let length = key
                .strip_prefix("input_cost_per_token_above_")?
                .strip_suffix("k_tokens")?;
            let above = length.parse::<u64>().ok()?.checked_mul(1000)?;
            Some((above, tier(&format!("_above_{length}k_tokens"))?))
        })
        .collect();
    long_context.sort_by_key(|(above, _)| *above);
    let tiers = Tiers {
        base: tier("")?,
        long_context,
        source,
    };
    Some((name.to_owned(), tiers))
}

fn litellm_rates(entry: &Map<String, Value>, above: &str, batch: &str) -> Option<Rates> {
    let of = |what: &str| amount(entry.get(&format!("{what}{above}{batch}")), PER_TOKEN);
    let input = of("input_cost_per_token")?;
    let cached = of("cache_read_input_token_cost");
    let write = of("cache_creation_input_token_cost");
    // Embeddings have no output.
    let output = of("output_cost_per_token").unwrap_or(0);
    Some(rates(input, cached, write, output))
}

fn openrouter(entry: &Value) -> Option<(String, Tiers)> {
    let pricing = entry.get("pricing")?;
    let of = |what: &str| amount(pricing.get(what), PER_TOKEN);
    let base = Tier {
        standard: rates(
            of("prompt")?,
            of("input_cache_read"),
            of("input_cache_write"),
            of("completion")?,
        ),
        batch: None,
    };
    let tiers = Tiers {
        base,
        long_context: Vec::new(),
        source: None,
    };
    Some((entry.get("id")?.as_str()?.to_owned(), tiers))
}

fn models_dev(provider: &str, entry: &Value) -> Vec<(String, Tiers)> {
    let models = entry.get("models").and_then(Value::as_object);
    let priced = |(name, model): (&String, &Value)| {
        let cost = model.get("cost")?;
        let tier = |cost: &Value| {
            let of = |what: &str| amount(cost.get(what), PER_MILLION);
            Some(Tier {
                standard: rates(
                    of("input")?,
                    of("cache_read"),
                    of("cache_write"),
                    of("output")?,
                ),
                batch: None,
            })
        };
        let long = cost.get("context_over_200k").and_then(tier);
        let tiers = Tiers {
            base: tier(cost)?,
            long_context: long.map(|tier| (200_000, tier)).into_iter().collect(),
            source: None,
        };
        Some((format!("{provider}/{name}"), tiers))
    };
    models.into_iter().flatten().filter_map(priced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Option<BTreeMap<String, Price>> {
        read(text, Date::parse("2026-11-20").expect("a date"), "file")
    }

    #[test]
    fn litellms_tiers_batches_and_cache_writes_are_read() {
        let list = list(
            r#"{"claude-x": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05,
                 "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06,
                 "input_cost_per_token_batches": 1.5e-06, "output_cost_per_token_batches": 7.5e-06,
                 "input_cost_per_token_above_200k_tokens": 6e-06, "source": "https://a",
                 "output_cost_per_token_above_200k_tokens": 2.25e-05},
                "Qwen-X": {"tiered_pricing": [
                  {"range": [0, 32000.0], "input_cost_per_token": 1.2e-06, "output_cost_per_token": 6e-06},
                  {"range": [32000.0, 128000.0], "input_cost_per_token": 2.4e-06, "output_cost_per_token": 1.2e-05}]},
                "embed": {"input_cost_per_token": "2e-8"},
                "free-writes": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
                  "cache_creation_input_token_cost": 0.0},
                "picture": {"output_cost_per_image": 0.04}}"#,
        )
        .expect("a list");
        assert_eq!(list.len(), 4);
        let claude = &list["claude-x"];
        assert_eq!(claude.base.standard.cache_write, 3_750_000);
        assert_eq!(claude.base.standard.cached_input, 300_000);
        assert_eq!(claude.base.batch.map(|batch| batch.output), Some(7_500_000));
        assert_eq!(claude.long_context[0].0, 200_000);
        assert_eq!(claude.long_context[0].1.standard.input, 6_000_000);
        assert_eq!(
            (claude.source.as_str(), claude.as_of.to_string()),
            ("https://a", "2026-11-20".into())
        );
        let qwen = &list["qwen-x"];
        assert_eq!(qwen.base.standard.input, 1_200_000);
        assert_eq!(qwen.long_context[0].0, 32_000);
        assert_eq!(qwen.source, "file");
        assert_eq!(
            (
                list["embed"].base.standard.input,
                list["embed"].base.standard.output
            ),
            (20_000, 0)
        );
        assert_eq!(list["free-writes"].base.standard.cache_write, 1_000_000);
    }

    #[test]
    fn lists_of_openrouter_and_models_dev_are_read() {
        let router = list(
            r#"{"data": [{"id": "openai/gpt-4o", "pricing": {"prompt": "0.0000025", "completion": "0.00001",
                 "input_cache_read": "0.00000125"}}, {"id": "x", "pricing": {"prompt": "-1", "completion": "-1"}}]}"#,
        )
        .expect("a list");
        assert_eq!(router.len(), 1);
        let standard = router["openai/gpt-4o"].base.standard;
        assert_eq!(
            (standard.input, standard.cached_input, standard.output),
            (2_500_000, 1_250_000, 10_000_000)
        );
        let dev = list(
            r#"{"google": {"id": "google", "models": {"gemini-2.5-pro": {"cost": {"input": 1.25, "output": 10,
                 "cache_read": 0.31, "context_over_200k": {"input": 2.5, "output": 15}}}, "free": {}}}}"#,
        )
        .expect("a list");
        assert_eq!(dev.len(), 1);
        let gemini = &dev["google/gemini-2.5-pro"];
        assert_eq!(gemini.base.standard.cached_input, 310_000);
        assert_eq!(gemini.long_context[0].1.standard.output, 15_000_000);
    }

    #[test]
    fn other_texts_are_no_such_list() {
        for text in [
            "",
            "5",
            "[]",
            "{}",
            r#"{"as_of": "2026-01-01", "source": "x", "models": {"a/b": {"input": 1, "output": 2}}}"#,
        ] {
            assert!(list(text).is_none(), "{text}");
        }
    }
}
