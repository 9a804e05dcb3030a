//! What is wanted of one token, out of what a pass gave for several of them.

use bitnet_kernels::{Candidate, Choice, Output, TokenSet, Want};

/// What a pass is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) want: Want,
    /// What each selected token is to be followed by, where that is less than the best of all
    /// tokens; else nothing.
    pub(crate) choices: &'a [Choice<'a>],
}

impl<'a> Wanted<'a> {
    /// What is asked for by all together, with the choice of each. All logits are those of all
    /// tokens.
    pub(crate) fn of(want: Want, choices: &'a [Choice<'a>]) -> Wanted<'a> {
        let narrows = choices.iter().any(|choice| choice.among.is_some());
        let narrows = narrows && matches!(want, Want::Top(_));
        Wanted {
            want,
            choices: if narrows { choices } else { &[] },
        }
    }
}

/// What one asks for, among the tokens that may come next.
pub(crate) fn choice(want: Want, among: Option<&TokenSet>) -> Choice<'_> {
    let count = match want {
        Want::Top(count) => count,
        Want::Nothing | Want::Logits => 0,
    };
    Choice { count, among }
}

impl From<Want> for Wanted<'_> {
    fn from(want: Want) -> Self {
        Wanted::of(want, &[])
    }
}

/// What gives both what they want.
pub(crate) fn joint(a: Want, b: Want) -> Want {
    match (a, b) {
        (Want::Logits, _) | (_, Want::Logits) => Want::Logits,
        (Want::Top(a), Want::Top(b)) => Want::Top(a.max(b)),
        (Want::Nothing, other) | (other, Want::Nothing) => other,
    }
}

/// The results of the `index`-th of `rows` selected tokens.
pub(crate) struct Row<'o> {
    pub(crate) logits: &'o [f32],
    top: &'o [Candidate],
}

impl<'o> Row<'o> {
    pub(crate) fn of(out: &'o Output, index: usize, rows: usize) -> Row<'o> {
        let (logits, top) = (out.logits.len() / rows, out.top.len() / rows);
        Row {
            logits: &out.logits[index * logits..(index + 1) * logits],
            top: &out.top[index * top..(index + 1) * top],
        }
    }

    /// Fills `out` with what a pass gives that is asked for `want` alone, among some tokens where
    /// there are such: the same values in the same order, so that nothing behind it can depend on
    /// what others asked for.
    pub(crate) fn give(&self, want: Want, among: Option<&TokenSet>, out: &mut Output) {
        out.logits.clear();
        out.top.clear();
        match want {
            Want::Nothing => {}
            Want::Logits => out.logits.extend_from_slice(self.logits),
            Want::Top(count) if self.logits.is_empty() => {
                out.top.extend(self.top.iter().take(count));
            }
            Want::Top(count) => Candidate::best_among(self.logits, among, count, &mut out.top),
        }
    }

    /// The best `count`, in order, of a row of all logits.
    pub(crate) fn best(&self, count: usize) -> Vec<Candidate> {
        let mut found = Vec::new();
        Candidate::best_of(self.logits, count, &mut found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_what_the_backend_gives_one_that_asks_alone() {
        let rows = [[0.5, 3.0, -0.0, 3.0, 0.0], [9.0, -2.0, 4.0, 5.0, 1.0]];
        let all = Output {
            logits: rows.concat(),
            top: Vec::new(),
        };
        let top = |count: usize| {
            rows.iter()
                .flat_map(|row| bitnet_kernels::oracle::top(row, count))
                .collect::<Vec<_>>()
        };
        let listed = Output {
            logits: Vec::new(),
            top: top(4),
        };
        let mut out = Output::default();
        for (index, row) in rows.iter().enumerate() {
            for count in 0..=4 {
                let wanted = bitnet_kernels::oracle::top(row, count);
                for given in [&all, &listed] {
                    Row::of(given, index, 2).give(Want::Top(count), None, &mut out);
                    assert_eq!(out.top, wanted);
                    assert!(out.logits.is_empty());
                }
            }
            Row::of(&all, index, 2).give(Want::Logits, None, &mut out);
            assert_eq!((&out.logits[..], out.top.len()), (&row[..], 0));
        }
    }

    #[test]
    fn what_is_asked_for_is_enough_for_all() {
        let all = [Want::Top(3), Want::Nothing, Want::Top(40), Want::Top(1)];
        assert_eq!(all.into_iter().fold(Want::Nothing, joint), Want::Top(40));
        assert_eq!(joint(Want::Top(3), Want::Logits), Want::Logits);
    }
}
