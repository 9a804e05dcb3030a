//! Sections of a rotation: which pairs are turned by which of four positions.

use crate::metadata::Keys;

const NAME: &str = "rope.dimension_sections";

/// Factors of a rotation of `dims` elements that turn what text turns, by four sections. Each pair
/// goes by one of four positions, of which three are a token's and the fourth is 0 in text: a pair
/// of that one is not turned, as by an infinite factor. Empty where all are turned.
pub(super) fn factors(dims: usize, keys: &mut Keys<'_>) -> Vec<f32> {
    let Some(sections) = keys.numbers(NAME) else {
        return Vec::new();
    };
    let pairs: u64 = sections.iter().map(|section| u64::from(*section)).sum();
    if sections.len() != 4 || pairs == 0 {
        let what = format!("is {sections:?}, not four sections of the pairs of a rotation");
        keys.refuse_value(NAME, &what);
        return Vec::new();
    }
    let turns = |pair: usize| {
        let place = pair as u64 % pairs;
        place < 3 * u64::from(sections[(place % 3) as usize])
    };
    let pairs = 0..dims / 2;
    if pairs.clone().all(turns) {
        return Vec::new();
    }
    let factor = |pair| if turns(pair) { 1.0 } else { f32::INFINITY };
    pairs.map(factor).collect()
}
