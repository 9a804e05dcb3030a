//! What tokens cost. Prices are data, `prices.json`, that a user's file can take the place of.
//!
//! All sums are integers. A price of one micro-dollar per million tokens is a pico-dollar per
//! token, so that a token's cost is a whole number of pico-dollars, and rounding happens once, when
//! micro-dollars are shown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

/// Price lists older than this should be looked at again.
pub const STALE_AFTER_DAYS: i64 = 90;

const BUILT_IN: &str = include_str!("prices.json");

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
         in dollars per million tokens"
    )]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// Numbers of tokens that make no sense together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Cached tokens are a part of the input.
    #[error("{cached} cached tokens are more than the {input} input tokens that they are part of")]
    Cached {
        /// Cached tokens.
        cached: u64,
        /// Input tokens.
        input: u64,
    },
    /// More than fits.
    #[error("the cost does not fit 64 bits of micro-dollars")]
    TooLarge,
}

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// From `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-').map(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits)
        });
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let real =
            (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        real.then_some(Date { year, month, day })
    }

    /// The day it is, in UTC.
    pub fn today() -> Date {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
        Date::from_days(seconds.map_or(0, |time| (time.as_secs() / 86_400) as i64))
    }

    /// Days since 1970-01-01. Years begin in March here, so that a leap day is the last.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year - era * 400;
        let of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    fn from_days(days: i64) -> Date {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days - era * 146_097;
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Date {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day,
        }
    }

    /// Days from an earlier day to this one.
    pub fn days_since(self, earlier: Date) -> i64 {
        self.days() - earlier.days()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Prices of one model, in micro-dollars per million tokens, which are pico-dollars per token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// A token of the input.
    pub input: u64,
    /// A token of the input that was cached; as [`Price::input`] where the list has none.
    pub cached_input: u64,
    /// A token of the output, shown or not.
    pub output: u64,
    /// When it was looked up.
    pub as_of: Date,
    /// Where.
    pub source: String,
}

impl Price {
    /// What tokens cost.
    ///
    /// # Errors
    /// More cached tokens than input tokens; a sum that does not fit.
    pub fn cost(&self, usage: Usage) -> Result<Cost, UsageError> {
        let Usage {
            input,
            cached,
            output,
            reasoning,
        } = usage;
        let fresh = input.checked_sub(cached);
        let fresh = fresh.ok_or(UsageError::Cached { cached, input })?;
        let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let parts = [
            of(fresh, self.input),
            of(cached, self.cached_input),
            of(output, self.output),
            of(reasoning, self.output),
        ];
        let picodollars = parts.into_iter().try_fold(0_u128, u128::checked_add);
        let cost = Cost {
            picodollars: picodollars.ok_or(UsageError::TooLarge)?,
        };
        u64::try_from(cost.rounded()).map_err(|_| UsageError::TooLarge)?;
        Ok(cost)
    }

    /// The days since the price was looked up, if they are more than [`STALE_AFTER_DAYS`].
    pub fn stale(&self, today: Date) -> Option<i64> {
        Some(today.days_since(self.as_of)).filter(|days| *days > STALE_AFTER_DAYS)
    }
}

/// Tokens to pay for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, the cached ones among them.
    pub input: u64,
    /// Of the input, those that were in the provider's cache.
    pub cached: u64,
    /// Of the answer, without [`Usage::reasoning`].
    pub output: u64,
    /// Of the reasoning that is not shown, billed as output.
    pub reasoning: u64,
}

/// An amount of money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    picodollars: u128,
}

impl Cost {
    fn rounded(self) -> u128 {
        (self.picodollars + 500_000) / 1_000_000
    }

    /// In micro-dollars, halves rounded up.
    pub fn micros(self) -> u64 {
        u64::try_from(self.rounded()).unwrap_or(u64::MAX)
    }

    /// Some micro-dollars.
    pub const fn of_micros(micros: u64) -> Cost {
        Cost {
            picodollars: micros as u128 * 1_000_000,
        }
    }

    /// The sum; the largest amount where it does not fit.
    #[must_use]
    pub const fn saturating_add(self, other: Cost) -> Cost {
        Cost {
            picodollars: self.picodollars.saturating_add(other.picodollars),
        }
    }

    /// From dollars as `12.5`; at most six digits after the point.
    pub fn parse(dollars: &str) -> Option<Cost> {
        micros(dollars).map(Cost::of_micros)
    }
}

/// In dollars, to the last digit: `0.0000025`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DOLLAR: u128 = 1_000_000_000_000;
        let fraction = format!("{:012}", self.picodollars % DOLLAR);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}.{fraction:0<2}", self.picodollars / DOLLAR)
    }
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
    output: Dollars,
    as_of: Option<String>,
    source: Option<String>,
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

/// Micro-dollars of dollars written as `2.50`.
fn micros(dollars: &str) -> Option<u64> {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

impl PriceList {
    /// The list that ships.
    pub fn built_in() -> &'static PriceList {
        &LIST
    }

    /// A user's list.
    ///
    /// # Errors
    /// The file cannot be read, or is not a list of prices.
    pub fn read(path: &Path) -> Result<PriceList, PricingError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| PricingError::Read {
            path: name.clone(),
            source,
        })?;
        PriceList::parse(&text).map_err(|problem| PricingError::Format {
            path: name,
            problem,
        })
    }

    fn parse(text: &str) -> Result<PriceList, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let date = |text: &str| {
            Date::parse(text).ok_or_else(|| format!("`{text}` is no date; write YYYY-MM-DD"))
        };
        let as_of = date(&file.as_of)?;
        let price = |entry: &Entry| -> Result<Price, String> {
            let input = entry.input.micros()?;
            let cached = entry.cached_input.as_ref().map(Dollars::micros);
            Ok(Price {
                input,
                cached_input: cached.transpose()?.unwrap_or(input),
                output: entry.output.micros()?,
                as_of: entry.as_of.as_deref().map_or(Ok(as_of), date)?,
                source: entry.source.clone().unwrap_or_else(|| file.source.clone()),
            })
        };
        let prices = file
            .models
            .iter()
            .map(|(name, entry)| match price(entry) {
                Ok(price) => Ok((name.to_lowercase(), price)),
                Err(problem) => Err(format!("{name}: {problem}")),
            })
            .collect::<Result<_, String>>()?;
        Ok(PriceList { prices })
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

    fn price() -> Price {
        let list = r#"{"as_of": "2025-08-31", "source": "here", "models": {
            "a/b": {"input": 2.5, "cached_input": "1.25", "output": "10", "source": "there"},
            "a/c": {"input": "0.075", "output": 1}}}"#;
        let list = PriceList::parse(list).expect("a list");
        assert_eq!(list.price("a/c").expect("there").cached_input, 75_000);
        assert_eq!(list.price("a/c").expect("there").source, "here");
        list.price("A/b").expect("there").clone()
    }

    #[test]
    fn the_list_that_ships_is_of_models_that_are_known() {
        let registry = super::super::Registry::default();
        for (name, price) in PriceList::built_in().prices() {
            assert_eq!(registry.resolve(name).canonical, name);
            assert!(
                price.cached_input <= price.input && price.input > 0,
                "{name}"
            );
            assert!(price.source.starts_with("https://"), "{name}");
        }
    }

    #[test]
    fn costs_are_exact_and_rounded_once() {
        let cost = |input, cached, output, reasoning| {
            let usage = Usage {
                input,
                cached,
                output,
                reasoning,
            };
            price().cost(usage)
        };
        let million = cost(1_000_000, 0, 0, 0).expect("a cost");
        assert_eq!(
            (million.micros(), million.to_string().as_str()),
            (2_500_000, "2.50")
        );
        let one = cost(1, 0, 0, 0).expect("a cost");
        assert_eq!((one.micros(), one.to_string().as_str()), (3, "0.0000025"));
        let all = cost(1000, 400, 100, 50).expect("a cost");
        assert_eq!(all.micros(), 600 * 5 / 2 + 400 * 5 / 4 + 150 * 10);
        assert_eq!(cost(0, 0, 0, 0).expect("a cost").to_string(), "0.00");
        assert_eq!(
            cost(1, 2, 0, 0),
            Err(UsageError::Cached {
                cached: 2,
                input: 1
            })
        );
        assert_eq!(
            cost(u64::MAX, 0, u64::MAX, u64::MAX),
            Err(UsageError::TooLarge)
        );
    }

    #[test]
    fn dollars_are_read_to_the_micro_dollar() {
        for (text, micros) in [
            ("0", Some(0)),
            ("2.50", Some(2_500_000)),
            ("0.000001", Some(1)),
            ("0.0000001", None),
            ("-1", None),
            ("1e3", None),
            (".5", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(super::micros(text), micros, "{text:?}");
        }
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

    #[test]
    fn days_are_counted_over_months_and_leap_years() {
        let date = |text| Date::parse(text).expect("a date");
        assert_eq!(date("1970-01-01").days(), 0);
        assert_eq!(date("2025-03-01").days_since(date("2024-03-01")), 365);
        assert_eq!(date("2024-03-01").days_since(date("2024-02-28")), 2);
        for days in (-200_000..400_000).step_by(37) {
            assert_eq!(Date::from_days(days).days(), days);
        }
        let price = price();
        assert_eq!(price.stale(date("2025-11-29")), None);
        assert_eq!(price.stale(date("2025-11-30")), Some(91));
        assert_eq!(Date::parse("2025-1"), None);
        assert_eq!(Date::parse("+025-01-01"), None);
        assert!(Date::today() > date("2025-01-01"));
    }
}
