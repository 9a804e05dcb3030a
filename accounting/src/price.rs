//! What the tokens of one model cost.

use crate::cost::{Cost, Usage, UsageError};
use crate::date::Date;

/// Prices older than this many days should be looked at again.
pub const STALE_AFTER_DAYS: i64 = 90;

/// What tokens cost, in micro-dollars per million of them, which are pico-dollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// A token of the input.
    pub input: u64,
    /// A token of the input that was in the provider's cache.
    pub cached_input: u64,
    /// A token of the input that is put into the provider's cache.
    pub cache_write: u64,
    /// A token of the output, shown or not.
    pub output: u64,
}

/// Rates for requests, and for those of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// For requests that are answered at once.
    pub standard: Rates,
    /// For requests that are answered within a day, where the provider has them.
    pub batch: Option<Rates>,
}

/// The price of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// For requests of any length, where no long one differs.
    pub base: Tier,
    /// Rates of all tokens of a request whose input is longer than so many tokens, shortest first.
    pub long_context: Vec<(u64, Tier)>,
    /// When it was looked up.
    pub as_of: Date,
    /// Where.
    pub source: String,
}

impl Price {
    /// What tokens cost.
    ///
    /// # Errors
    /// More tokens of the cache than input tokens; a batch where the list has no rates for
    /// batches; a sum that does not fit.
    pub fn cost(&self, usage: Usage) -> Result<Cost, UsageError> {
        let of_cache = usage.cached.saturating_add(usage.cache_writes);
        let fresh = usage.input.checked_sub(of_cache);
        let fresh = fresh.ok_or(UsageError::Cached {
            cached: of_cache,
            input: usage.input,
        })?;
        let tier = self.tier(usage.input);
        let rates = match usage.batch {
            false => tier.standard,
            true => tier.batch.ok_or(UsageError::NoBatch)?,
        };
        Cost::of_tokens(&[
            (fresh, rates.input),
            (usage.cached, rates.cached_input),
            (usage.cache_writes, rates.cache_write),
            (usage.output, rates.output),
            (usage.reasoning, rates.output),
        ])
    }

    /// The rates for an input of so many tokens.
    fn tier(&self, input: u64) -> &Tier {
        let long = self.long_context.iter().rev();
        long.clone()
            .find(|(above, _)| input > *above)
            .map_or(&self.base, |(_, tier)| tier)
    }

    /// The days since the price was looked up, if they are more than [`STALE_AFTER_DAYS`].
    pub fn stale(&self, today: Date) -> Option<i64> {
        Some(today.days_since(self.as_of)).filter(|days| *days > STALE_AFTER_DAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(input: u64) -> Rates {
        Rates {
            input,
            cached_input: input / 2,
            cache_write: input * 5 / 4,
            output: 4 * input,
        }
    }

    fn price() -> Price {
        let tier = |input: u64| Tier {
            standard: rates(input),
            batch: Some(rates(input / 2)),
        };
        Price {
            base: tier(2_500_000),
            long_context: vec![(1000, tier(5_000_000)), (5000, tier(10_000_000))],
            as_of: Date::parse("2025-08-31").expect("a date"),
            source: "here".to_owned(),
        }
    }

    #[test]
    fn parts_of_the_input_have_their_own_rates() {
        let usage = Usage {
            input: 1000,
            cached: 400,
            cache_writes: 80,
            output: 100,
            reasoning: 50,
            batch: false,
        };
        let cost = price().cost(usage).expect("a cost");
        // In micro-dollars: 520 fresh at 2.5, 400 cached at 1.25, 80 written at 3.125, 150 at 10.
        assert_eq!(cost.micros(), 1300 + 500 + 250 + 1500);
        let batch = Usage {
            batch: true,
            ..usage
        };
        assert_eq!(price().cost(batch).expect("a cost").micros(), 3550 / 2);
        let too_many = Usage {
            cache_writes: 601,
            ..usage
        };
        assert_eq!(
            price().cost(too_many),
            Err(UsageError::Cached {
                cached: 1001,
                input: 1000
            })
        );
        let mut without = price();
        without.base.batch = None;
        assert_eq!(without.cost(batch), Err(UsageError::NoBatch));
        let huge = Usage {
            input: u64::MAX,
            output: u64::MAX,
            ..Usage::default()
        };
        assert_eq!(price().cost(huge), Err(UsageError::TooLarge));
    }

    #[test]
    fn a_long_input_changes_the_rate_of_all_its_tokens() {
        let cost = |input| {
            let usage = Usage {
                input,
                ..Usage::default()
            };
            price().cost(usage).expect("a cost").micros()
        };
        assert_eq!(cost(1000), 2500);
        assert_eq!(cost(1001), 5005);
        assert_eq!(cost(5000), 25_000);
        assert_eq!(cost(5001), 50_010);
    }

    #[test]
    fn a_price_is_stale_after_ninety_days() {
        let date = |text| Date::parse(text).expect("a date");
        assert_eq!(price().stale(date("2025-11-29")), None);
        assert_eq!(price().stale(date("2025-11-30")), Some(91));
    }
}
