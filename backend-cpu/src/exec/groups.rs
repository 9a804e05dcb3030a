//! Rows of a batch, grouped by the expert that they are routed to.

use crate::microkernel::operands::Encoded;

/// Which rows each expert has.
#[derive(Default)]
pub(super) struct Groups {
    /// Routed rows, those of an expert one after another in their order.
    rows: Vec<usize>,
    /// By expert, where its rows begin; and the end of the last.
    starts: Vec<usize>,
    /// Experts that have rows.
    busy: Vec<usize>,
}

impl Groups {
    /// Groups rows by the numbers of their experts.
    pub(super) fn make(&mut self, chosen: &[f32], experts: usize) {
        let expert = |number: &f32| (*number as usize).min(experts - 1);
        self.starts.clear();
        self.starts.resize(experts + 1, 0);
        for number in chosen {
            self.starts[expert(number) + 1] += 1;
        }
        self.busy.clear();
        for expert in 0..experts {
            if self.starts[expert + 1] > 0 {
                self.busy.push(expert);
            }
            self.starts[expert + 1] += self.starts[expert];
        }
        self.rows.resize(chosen.len(), 0);
        for (row, number) in chosen.iter().enumerate() {
            let next = &mut self.starts[expert(number)];
            self.rows[*next] = row;
            *next += 1;
        }
        // Each start has become the next one.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// Experts that have rows.
    pub(super) fn busy(&self) -> &[usize] {
        &self.busy
    }

    /// The rows of an expert.
    pub(super) fn of(&self, expert: usize) -> &[usize] {
        &self.rows[self.starts[expert]..self.starts[expert + 1]]
    }
}

/// Encoded rows from here and there, one after another.
#[derive(Default)]
pub(super) struct Gathered {
    values: Vec<f32>,
    q: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Gathered {
    /// Takes these rows of `x`.
    pub(super) fn fill(&mut self, x: &Encoded<'_>, rows: impl Iterator<Item = usize>) {
        self.values.clear();
        self.q.clear();
        self.scales.clear();
        self.sums.clear();
        for row in rows {
            if x.q.is_empty() {
                self.values.extend_from_slice(x.values(row));
            } else {
                self.q.extend_from_slice(x.q(row));
                self.scales.extend_from_slice(x.scales(row));
                self.sums.extend_from_slice(x.sums(row));
            }
        }
    }

    /// The rows, in the encoding of `x`.
    pub(super) fn like<'a>(&'a self, x: &Encoded<'a>) -> Encoded<'a> {
        Encoded {
            values: &self.values,
            q: &self.q,
            scales: &self.scales,
            sums: &self.sums,
            ..*x
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_group_of_its_expert_in_order() {
        let mut groups = Groups::default();
        groups.make(&[4.0, 0.0, 2.0, 4.0, 2.0, 4.0], 6);
        assert_eq!(groups.busy(), [0, 2, 4]);
        let rows = [0, 1, 2, 3, 4, 5].map(|expert| groups.of(expert).to_vec());
        assert_eq!(
            rows,
            [vec![1], vec![], vec![2, 4], vec![], vec![0, 3, 5], vec![]]
        );
        groups.make(&[5.0], 6);
        assert_eq!(
            (groups.busy(), groups.of(5), groups.of(4)),
            (&[5][..], &[0][..], &[][..])
        );
    }
}
