//! Two backends, operation by operation, on the same inputs: where they first part, and by how
//! much.
//!
//! Before each operation the other backend gets the reference's f32 buffers and caches, so that
//! each difference is that of one operation (and of the encoding just before it, which each does
//! for itself).

use crate::backend::copy_buffers;
use crate::format::Encoding;
use crate::program::Precision;
use crate::{BackendError, Batch, Inspect, Op, Program, Segment};

/// Float results: sums in another order, and a GPU's division and square root, which may be 2.5 ULP
/// off.
pub const FLOAT_ERROR: f32 = 2e-5;

/// A product after a norm: a value that lies on the edge between two integers may be rounded to
/// either, once in some thousand, and changes a result by one part in 127 of one of its terms.
pub const ROUNDING_ERROR: f32 = 4e-3;

/// A value that lies on the edge between two halves may be rounded to either: one part in 2048 of
/// it, and less of the largest softmax weight.
pub const HALF_ERROR: f32 = 2.5e-4;

/// Encoded values: one step of 127, at the most.
pub const STEP_ERROR: f32 = 1.01 / 127.0;

/// Part of the largest value within which encoded values stand for the same integer: below one step
/// of 127, above what another rounding of a scale to binary16 makes.
pub const APART: f32 = 2e-3;

/// How far an operation's result lies from the reference's.
#[derive(Clone, Debug, PartialEq)]
pub struct OpDifference {
    /// The operation's place in the program.
    pub index: usize,
    /// Its name.
    pub op: &'static str,
    /// The buffer that it wrote.
    pub buffer: &'static str,
    /// How that buffer is stored.
    pub encoding: Encoding,
    /// Values compared.
    pub values: usize,
    /// Values that are not the same bits.
    pub differing: usize,
    /// Values farther apart than [`APART`] of the largest: for encoded rows, other integers.
    pub apart: usize,
    /// The largest difference, over the largest value of the reference. NaN on one side counts as
    /// infinite.
    pub error: f32,
}

impl OpDifference {
    /// The error that another order of sums and other roundings explain; more is a defect.
    pub fn tolerance(&self, program: &Program) -> f32 {
        match self.encoding {
            Encoding::I8 | Encoding::Q8K | Encoding::Q8_0 => STEP_ERROR,
            Encoding::F32 => match self.precision(program) {
                Precision::Same | Precision::Floats => FLOAT_ERROR,
                Precision::Products => ROUNDING_ERROR,
                // The steps of binary16 are up to one part in 1024.
                Precision::Halves => 4.0 * HALF_ERROR,
                Precision::HalfWeights => HALF_ERROR,
            },
        }
    }

    /// Whether the operation did what the reference's did, by [`OpDifference::tolerance`] and, for
    /// encoded rows, by the number of other integers.
    pub fn is_within(&self, program: &Program) -> bool {
        let integers = match (self.encoding, self.precision(program)) {
            // Integers of the very same floats.
            (_, Precision::Same) => self.apart == 0,
            (Encoding::I8 | Encoding::Q8K | Encoding::Q8_0, _) => {
                self.apart * 500 <= self.values + 500
            }
            (Encoding::F32, _) => true,
        };
        self.error <= self.tolerance(program) && integers
    }

    fn precision(&self, program: &Program) -> Precision {
        program.ops[self.index].precision(program.cache_type)
    }
}

/// Runs `tokens`, from position 0 of a new cache, on both backends, and compares what each
/// operation writes.
///
/// # Errors
/// Those of the backends.
pub fn compare_ops(
    reference: &mut dyn Inspect,
    other: &mut dyn Inspect,
    tokens: &[u32],
    selected: &[u32],
) -> Result<Vec<OpDifference>, BackendError> {
    let program = reference.program().clone();
    let caches = [
        reference.create_cache(tokens.len())?,
        other.create_cache(tokens.len())?,
    ];
    let segments = caches.map(|cache| {
        [Segment {
            cache,
            start: 0,
            len: tokens.len(),
        }]
    });
    let [a, b] = segments.each_ref().map(|segments| Batch {
        tokens,
        segments,
        selected,
    });
    let mut differences = Vec::new();
    // Makes room for every buffer.
    reference.run(&a, 0..0)?;
    other.run(&b, 0..0)?;
    for (index, op) in program.ops.iter().enumerate() {
        copy_buffers(reference, other, &a)?;
        reference.run(&a, index..index + 1)?;
        other.run(&b, index..index + 1)?;
        for id in op.outputs() {
            let desc = program.buffer(id);
            let count = a.rows(desc.rows);
            let (wanted, found) = (reference.read(id, count)?, other.read(id, count)?);
            differences.push(difference(
                index,
                op,
                (desc.name, desc.encoding),
                &wanted,
                &found,
            ));
        }
        if let Some(layer) = op.writes_cache() {
            let wanted = reference.read_cache(caches[0], layer, tokens.len())?;
            let found = other.read_cache(caches[1], layer, tokens.len())?;
            for ((buffer, wanted), (_, found)) in wanted.parts().zip(found.parts()) {
                let stored = (buffer, Encoding::F32);
                differences.push(difference(index, op, stored, wanted, found));
            }
            other.write_cache(caches[1], layer, &wanted)?;
        }
    }
    reference.drop_cache(caches[0]);
    other.drop_cache(caches[1]);
    Ok(differences)
}

fn difference(
    index: usize,
    op: &Op,
    (buffer, encoding): (&'static str, Encoding),
    wanted: &[f32],
    found: &[f32],
) -> OpDifference {
    let largest = wanted.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let errors = || {
        wanted.iter().zip(found).map(|(a, b)| match (a - b).abs() {
            same if same == 0.0 || a.to_bits() == b.to_bits() => 0.0,
            error if error.is_nan() => f32::INFINITY,
            error => error / largest,
        })
    };
    OpDifference {
        index,
        op: op.name(),
        buffer,
        encoding,
        values: wanted.len(),
        differing: errors().filter(|error| *error > 0.0).count(),
        apart: errors().filter(|error| *error > APART).count(),
        error: errors().fold(0.0, f32::max),
    }
}
