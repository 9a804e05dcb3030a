//! How the prompts that wait share a pass.

/// Divides `budget` tokens over prompts that have so many left, in their order: all get the same,
/// but for those that need less, so that a short prompt is not kept by a long one. What cannot be
/// divided goes to the first, which have waited longest.
pub(super) fn shares(left: &[usize], budget: usize) -> Vec<usize> {
    let mut shares = vec![0; left.len()];
    let mut budget = budget;
    loop {
        let wanting = || (0..left.len()).filter(|&i| shares[i] < left[i]);
        let count = wanting().count();
        if count == 0 || budget == 0 {
            return shares;
        }
        // At least one token each, to as many as there are tokens.
        let each = (budget / count).max(1);
        for i in wanting().collect::<Vec<_>>() {
            let more = each.min(left[i] - shares[i]).min(budget);
            shares[i] += more;
            budget -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_prompts_are_read_beside_long_ones() {
        assert_eq!(shares(&[1000, 5, 1000], 64), [30, 5, 29]);
        assert_eq!(shares(&[3, 4], 64), [3, 4]);
        assert_eq!(shares(&[], 64), [0; 0]);
    }

    #[test]
    fn the_first_go_on_where_there_are_more_prompts_than_tokens() {
        assert_eq!(shares(&[9, 9, 9], 2), [1, 1, 0]);
        assert_eq!(shares(&[0, 9, 9], 1), [0, 1, 0]);
    }
}
