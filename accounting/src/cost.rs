//! Amounts of money, and the tokens that they are for.
//!
//! All sums are integers. A price of one micro-dollar per million tokens is a pico-dollar per
//! token, so that a token's cost is a whole number of pico-dollars, and rounding happens once, when
//! micro-dollars are shown.

use std::fmt;

/// Tokens to pay for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, the cached and the written ones among them.
    pub input: u64,
    /// Of the input, those that were in the provider's cache.
    pub cached: u64,
    /// Of the input, those that the provider put into its cache.
    pub cache_writes: u64,
    /// Of the answer, without [`Usage::reasoning`].
    pub output: u64,
    /// Of the reasoning that is not shown, billed as output.
    pub reasoning: u64,
    /// Whether the request is one of a batch, which is answered within a day.
    pub batch: bool,
}

/// Numbers of tokens that make no sense together, or that there is no rate for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// Cached tokens and those put into the cache are parts of the input.
    #[error(
        "{cached} tokens read from and put into the cache are more than the {input} input tokens \
         that they are part of"
    )]
    Cached {
        /// Cached tokens and those put into the cache.
        cached: u64,
        /// Input tokens.
        input: u64,
    },
    /// The list has no rates for batches of this model.
    #[error("the price list has no rates for batches of this model")]
    NoBatch,
    /// More than fits.
    #[error("the cost does not fit 64 bits of micro-dollars")]
    TooLarge,
}

/// An amount of money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    picodollars: u128,
}

impl Cost {
    /// The sum of tokens, each at its rate in pico-dollars.
    ///
    /// # Errors
    /// The sum does not fit.
    pub(crate) fn of_tokens(parts: &[(u64, u64)]) -> Result<Cost, UsageError> {
        let cost = parts
            .iter()
            .map(|(tokens, rate)| u128::from(*tokens) * u128::from(*rate))
            .try_fold(0_u128, u128::checked_add)
            .map(|picodollars| Cost { picodollars })
            .ok_or(UsageError::TooLarge)?;
        u64::try_from(cost.rounded()).map_err(|_| UsageError::TooLarge)?;
        Ok(cost)
    }

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

/// Micro-dollars of dollars written as `2.50`, exactly.
pub(crate) fn micros(dollars: &str) -> Option<u64> {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

/// A number that is not negative, as `2.5`, `2.5e-06` or `0.00000250`, times ten to the `power`,
/// rounded to a whole number, halves up.
pub(crate) fn scaled(number: &str, power: i32) -> Option<u64> {
    let number = number.trim();
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // The place of the point in the digits, counted from their end.
    let behind = i32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_add(power)?.checked_sub(behind)?;
    if shift >= 0 {
        let zeros = usize::try_from(shift).ok().filter(|zeros| *zeros <= 20)?;
        return format!("{digits}{}", "0".repeat(zeros)).parse().ok();
    }
    let cut = usize::try_from(-shift).ok()?;
    let kept = digits.len().checked_sub(cut);
    let half_or_more = kept.is_some_and(|kept| digits.as_bytes()[kept] >= b'5');
    let whole: u64 = match kept {
        None | Some(0) => 0,
        Some(kept) => digits[..kept].parse().ok()?,
    };
    whole.checked_add(u64::from(half_or_more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_micro_dollar() {
        for (text, expected) in [
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
            assert_eq!(micros(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_scaled_exactly_and_rounded_once() {
        for (text, power, expected) in [
            ("2.5e-06", 12, Some(2_500_000)),
            ("2.5E-6", 12, Some(2_500_000)),
            ("0.0000025", 12, Some(2_500_000)),
            ("7.5e-08", 12, Some(75_000)),
            ("1.9999999999999999e-06", 12, Some(2_000_000)),
            ("4.9e-13", 12, Some(0)),
            ("5e-13", 12, Some(1)),
            ("5e-14", 12, Some(0)),
            ("2.5", 6, Some(2_500_000)),
            ("1e-6", 6, Some(1)),
            ("0", 12, Some(0)),
            ("0.000", 12, Some(0)),
            ("1e3", 0, Some(1000)),
            ("-1e-6", 12, None),
            ("1e", 12, None),
            ("e5", 12, None),
            ("nan", 12, None),
            ("1e30", 12, None),
            ("1e2147483647", 12, None),
            ("1e-2147483647", -12, None),
        ] {
            assert_eq!(scaled(text, power), expected, "{text:?} {power}");
        }
    }

    #[test]
    fn amounts_are_shown_to_the_last_digit() {
        let cost = |tokens, rate| Cost::of_tokens(&[(tokens, rate)]).expect("a cost");
        assert_eq!(cost(1_000_000, 2_500_000).to_string(), "2.50");
        assert_eq!(cost(1, 2_500_000).to_string(), "0.0000025");
        assert_eq!(cost(1, 2_500_000).micros(), 3);
        assert_eq!(cost(0, 5).to_string(), "0.00");
        assert_eq!(
            Cost::of_tokens(&[(u64::MAX, 1_000_000), (1, 1_000_000)]),
            Err(UsageError::TooLarge)
        );
    }
}
