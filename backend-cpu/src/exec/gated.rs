//! A gate and its factor.
//!
//! With squared ReLU the factor counts only where the gate's result is above 0. With one token, a
//! piece computes its rows of the gate first and then, of the factor, only those rows: the others
//! are not read. The results are the same bits, as long as every row of the factor comes out
//! finite, which is known from its scales beforehand.

use bitnet_kernels::Format;
use bitnet_kernels::format::Reduction;
use bitnet_kernels::program::{Activation, BufferId, Product};

use crate::exec::pass::{Pass, scale};
use crate::exec::scratch::Scratch;
use crate::isa::table::{Kernels, Listed};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::threads::tickets::Pieces;

/// The largest magnitude of an integer product: codes are at most 2 away from 0, activations 128.
const LARGEST_PRODUCT: f64 = 2.0 * 128.0;

/// The kernel for the factor of a gate where rows of it may be left out: for one token, if there is
/// one for the format.
pub(crate) fn listed(
    kernels: &Kernels,
    activation: Activation,
    format: Format,
    tokens: usize,
) -> Option<&'static Listed> {
    match activation {
        Activation::Relu2 if tokens == 1 => kernels.listed(format),
        _ => None,
    }
}

/// Whether every row of a product with a token comes out finite, whatever its codes are.
fn always_finite(product: &Product, matrix: &MatrixRef<'_>, x: &Encoded<'_>, token: usize) -> bool {
    let descriptor = matrix.format.descriptor();
    let reduction = descriptor
        .product
        .as_ref()
        .map(|product| &product.reduction);
    // Others have scales within their rows.
    let Some(Reduction::Tensor) = reduction else {
        return false;
    };
    // Each of the steps stays finite if the largest result does, with room for roundings. A NaN is
    // below nothing.
    let fits = |y: f64| y.abs() < f64::from(f32::MAX) / 2.0;
    let integer = x.width as f64 * LARGEST_PRODUCT;
    let divided = integer / f64::from(x.scales(token)[0]);
    let scaled = divided * f64::from(matrix.scale);
    fits(integer) && fits(divided) && fits(scaled) && fits(scaled * f64::from(product.scale))
}

impl Pass<'_> {
    pub(super) fn gated_pieces(&self, gate: &Product, out: BufferId) -> usize {
        let (width, tokens) = (self.buffer(out).width, self.rows(gate.x));
        width.div_ceil(self.piece_rows(width, tokens))
    }

    pub(super) fn gated(
        &self,
        pieces: &mut Pieces<'_>,
        gate: &Product,
        up: &Product,
        activation: Activation,
        out: BufferId,
        scratch: &mut Scratch,
    ) {
        let out = self.buffer(out);
        let width = out.width;
        let tokens = self.rows(gate.x);
        let piece_rows = self.piece_rows(width, tokens);
        let matrix = self.matrix(up);
        let listed = listed(self.kernels, activation, matrix.format, tokens)
            .filter(|_| always_finite(up, &matrix, &self.encoded(up), 0));
        for piece in pieces {
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let len = tokens * rows.len();
            let gates = &mut scratch.results[..len];
            self.product_rows(gate, rows.clone(), &mut scratch.panel, gates);
            let ups = &mut scratch.ups[..len];
            match listed {
                Some(listed) => {
                    scratch.list.clear();
                    let above = (rows.start as u32..).zip(&*gates);
                    let above = above.filter(|(_, gate)| **gate > 0.0);
                    scratch.list.extend(above.map(|(row, _)| row));
                    let list = scratch.list.as_slice();
                    let found = &mut scratch.values[..list.len()];
                    if !list.is_empty() {
                        (listed.run)(&matrix, list, &self.encoded(up), 0, found);
                        scale(up, found);
                    }
                    ups.fill(0.0);
                    for (row, y) in list.iter().zip(&*found) {
                        ups[*row as usize - rows.start] = *y;
                    }
                    scratch.skipped += ((rows.len() - list.len()) * matrix.stride) as u64;
                }
                None => self.product_rows(up, rows.clone(), &mut scratch.panel, ups),
            }
            let gates = gates.chunks_exact(rows.len());
            for (token, (gate, up)) in gates.zip(ups.chunks_exact(rows.len())).enumerate() {
                let at = token * width + rows.start..token * width + rows.end;
                // SAFETY: these rows' ticket is ours alone.
                (self.kernels.gate)(activation, gate, up, unsafe { out.values.write(at) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::program::product;
    use bitnet_fixtures::{Noise, ProgramBuilder, weights};
    use bitnet_kernels::format::{Encoding, Matrix, i2_s};
    use bitnet_kernels::program::{LayerCache, Op, Rows};
    use bitnet_kernels::{Inspect, Telemetry, oracle};

    use super::*;
    use crate::exec::alone::ran;
    use crate::isa::Isa;

    const ROWS: usize = 330;
    const COLS: usize = 256;

    /// A gate with a factor whose tensor has this scale, `None` for the usual one.
    struct Case {
        activation: Activation,
        factor: f32,
        up_scale: Option<f32>,
        x: Vec<f32>,
    }

    impl Case {
        fn matrices(&self) -> [Vec<u8>; 2] {
            ["gate", "up"].map(|name| {
                let mut bytes = weights::matrix(Format::I2S, ROWS, COLS, 5, name);
                if let Some(scale) = self.up_scale.filter(|_| name == "up") {
                    bytes.truncate(bytes.len() - i2_s::TRAILER_BYTES);
                    i2_s::pack_trailer(scale, &mut bytes);
                }
                bytes
            })
        }

        /// `[tokens, ROWS]`.
        fn wanted(&self) -> Vec<f32> {
            let matrices = self.matrices();
            let [gate, up] = matrices.each_ref().map(|bytes| {
                let matrix = Matrix::new(Format::I2S, ROWS, COLS, bytes).expect("a matrix");
                move |row: usize, x: &[f32]| {
                    oracle::product(Format::I2S, matrix.row(row), matrix.scale(), x)
                }
            });
            let of_token = |x: &[f32]| -> Vec<f32> {
                let row = |row: usize| {
                    let mut up = [up(row, x)];
                    let factor = Product {
                        scale: self.factor,
                        ..product(BufferId(0), bitnet_kernels::program::WeightId(0))
                    };
                    scale(&factor, &mut up);
                    oracle::gated(self.activation, gate(row, x), up[0])
                };
                (0..ROWS).map(row).collect()
            };
            self.x.chunks_exact(COLS).flat_map(of_token).collect()
        }

        /// `[tokens, ROWS]`, and the bytes that were left out.
        fn run(&self, isa: Isa, threads: usize) -> (Vec<f32>, u64) {
            let tokens = self.x.len() / COLS;
            let mut b = ProgramBuilder::new(0);
            let h = b.buffer("h", COLS, Encoding::F32, Rows::Batch);
            let x = b.buffer("x", COLS, Encoding::I8, Rows::Batch);
            let out = b.buffer("u", ROWS, Encoding::F32, Rows::Batch);
            b.cache(LayerCache::State { len: 1 });
            let [gate, up] = self.matrices();
            let gate = b.packed("gate", Format::I2S, (ROWS, COLS), &gate);
            let up = b.packed("up", Format::I2S, (ROWS, COLS), &up);
            b.op(Op::Encode { x: h, out: x }).op(Op::GatedLinear {
                gate: product(x, gate),
                up: Product {
                    scale: self.factor,
                    ..product(x, up)
                },
                activation: self.activation,
                out,
            });
            let (program, weights) = b.finish();
            let inputs = [(h, &self.x[..])];
            let mut backend = ran(program, weights, (isa, threads), tokens, &inputs);
            let found = backend.read(out, tokens).expect("a result");
            (found, backend.skipped_bytes())
        }

        /// Holds it against the oracle on every instruction set. Returns the bytes left out, which
        /// are everywhere the same.
        fn judge(&self, what: &str) -> u64 {
            let wanted = self.wanted();
            let mut skipped = Vec::new();
            for isa in Isa::available() {
                for threads in [1, 3] {
                    let (found, left_out) = self.run(isa, threads);
                    for (i, (y, wanted)) in found.iter().zip(&wanted).enumerate() {
                        let same = y.to_bits() == wanted.to_bits() || y.is_nan() && wanted.is_nan();
                        assert!(same, "{isa}, {what}, {i}: {y} is not {wanted}");
                    }
                    skipped.push(left_out);
                }
            }
            assert!(skipped.iter().all(|left_out| *left_out == skipped[0]));
            skipped[0]
        }
    }

    fn case(tokens: usize) -> Case {
        Case {
            activation: Activation::Relu2,
            factor: 1.0,
            up_scale: None,
            x: Noise::new(4).evens(tokens * COLS),
        }
    }

    #[test]
    fn rows_of_the_factor_are_read_only_where_the_gate_is_above_zero() {
        let one = case(1);
        let zeros = one.wanted().iter().filter(|y| **y == 0.0).count();
        let row = (COLS / i2_s::GROUP * i2_s::GROUP_BYTES) as u64;
        // A factor that is 0 itself has been read.
        let least = (ROWS / 3) as u64 * row;
        let skipped = one.judge("one token");
        assert!(
            skipped >= least && skipped <= zeros as u64 * row,
            "{skipped} of {zeros} zeros"
        );
        let scaled = Case {
            factor: 0.5,
            ..case(1)
        };
        assert_eq!(scaled.judge("a factor of the product"), skipped);
    }

    #[test]
    fn all_rows_are_read_where_several_tokens_meet_them_or_zeros_are_rare() {
        assert_eq!(case(3).judge("three tokens"), 0);
        let silu = Case {
            activation: Activation::Silu,
            ..case(1)
        };
        assert_eq!(silu.judge("SiLU"), 0);
    }

    #[test]
    fn damage_of_the_factor_gets_through_where_the_gate_is_zero() {
        for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
            let damaged = Case {
                up_scale: Some(scale),
                ..case(1)
            };
            assert_eq!(damaged.judge("a damaged scale"), 0, "{scale}");
            let factor = Case {
                factor: scale,
                up_scale: Some(3e38),
                ..case(1)
            };
            assert_eq!(factor.judge("a large scale and factor"), 0, "{scale}");
        }
        for damage in [f32::NAN, f32::INFINITY, 3e38] {
            let mut damaged = case(1);
            damaged.x[100] = damage;
            damaged.judge("damaged activations");
        }
    }
}
