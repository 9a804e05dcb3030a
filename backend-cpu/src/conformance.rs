//! Every kernel of every instruction set that this CPU has, judged by the oracle, to the bit.
//!
//! A new entry of the table is tested by being in the table: the tests walk `Isa::available` and
//! `Format::ALL`. Outputs are filled with NaN before each call, so that what is not written shows.

use bitnet_fixtures::Noise;
use bitnet_kernels::Format;
use bitnet_kernels::format::{Encoding, Matrix as Decoded, Reduction};
use bitnet_kernels::oracle;
use bitnet_kernels::program::Activation;

use crate::generic::gemm::Panel;
use crate::isa::Isa;
use crate::isa::table::Kernels;
use crate::microkernel::operands::{Encoded, MatrixRef};

/// Widths around the lanes of a vector and the blocks of activations.
const WIDTHS: [usize; 10] = [1, 15, 16, 17, 31, 32, 33, 128, 300, 768];

fn kernels() -> impl Iterator<Item = &'static Kernels> {
    Isa::available().into_iter().filter_map(Isa::kernels)
}

/// Rows that provoke rounding, saturation and zero scales.
fn rows(width: usize) -> Vec<Vec<f32>> {
    let mut spike = vec![1e-3; width];
    spike[width / 2] = -3e4;
    let halves = (0..width).map(|i| (i % 255) as f32 - 127.0 + 0.5).collect();
    vec![
        Noise::new(1).evens(width),
        vec![0.0; width],
        vec![-1e-30; width],
        spike,
        halves,
    ]
}

fn same(ours: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(ours.len(), wanted.len(), "{what}");
    for (i, (ours, wanted)) in ours.iter().zip(wanted).enumerate() {
        assert!(
            ours.to_bits() == wanted.to_bits(),
            "{what}, element {i}: {ours} is not {wanted}"
        );
    }
}

#[test]
fn norms_and_gates_are_the_oracles() {
    for kernels in kernels() {
        for width in WIDTHS {
            for x in rows(width) {
                let other = Noise::new(2).evens(width);
                let mut out = vec![f32::NAN; width];
                (kernels.norm)(&x, &other, 1e-5, &mut out);
                same(
                    &out,
                    &oracle::norm(&x, &other, 1e-5),
                    &format!("{} norm of {width}", kernels.name),
                );
                for activation in [Activation::Silu, Activation::Relu2] {
                    out.fill(f32::NAN);
                    (kernels.gate)(activation, &x, &other, &mut out);
                    let wanted: Vec<f32> = x
                        .iter()
                        .zip(&other)
                        .map(|(x, up)| oracle::gated(activation, *x, *up))
                        .collect();
                    same(
                        &out,
                        &wanted,
                        &format!("{} {activation:?} of {width}", kernels.name),
                    );
                }
            }
        }
    }
}

#[test]
fn encodings_are_the_oracles() {
    for kernels in kernels() {
        for encoding in Encoding::ALL {
            let block = encoding.block_len(1);
            let whole = |width: &usize| block.is_some_and(|block| width.is_multiple_of(block));
            for width in WIDTHS.into_iter().filter(whole) {
                for x in rows(width) {
                    let mut q = vec![99; width];
                    let mut scales = vec![f32::NAN; encoding.scales_per_row(width)];
                    (kernels.encode)(encoding, &x, &mut q, &mut scales);
                    let wanted = encoding.encode(&x);
                    let what = format!("{} {encoding:?} of {width}", kernels.name);
                    assert_eq!((q, scales), (wanted.q, wanted.scales), "{what}");
                }
            }
        }
    }
}

#[test]
fn rotations_and_halves_are_the_oracles() {
    use bitnet_kernels::program::{Pairing, Rope};

    for pairing in [Pairing::Adjacent, Pairing::Halves] {
        for (dims, dim) in [(2, 2), (16, 20), (34, 34), (64, 80), (128, 128)] {
            let rope = Rope {
                dims,
                base: 500_000.0,
                pairing,
                factors: Vec::new(),
            };
            let position = 1234;
            let angles: Vec<f64> = oracle::rope_frequencies(&rope)
                .iter()
                .map(|frequency| f64::from(position as f32 * frequency))
                .collect();
            let cosines = angles.iter().map(|angle| libm::cos(*angle) as f32);
            let sines = angles.iter().map(|angle| libm::sin(*angle) as f32);
            let rotations: Vec<f32> = cosines.chain(sines).collect();
            for x in rows(dim) {
                let mut wanted = x.clone();
                oracle::rope_rotate(&rope, &mut wanted, position);
                let halves: Vec<f32> = wanted.iter().map(|x| oracle::round_f16(*x)).collect();
                for kernels in kernels() {
                    let what = format!("{} {pairing:?} rotation of {dims} of {dim}", kernels.name);
                    let mut head = x.clone();
                    (kernels.rotate)(pairing, &rotations, &mut head);
                    same(&head, &wanted, &what);
                    let mut narrow = vec![99; dim];
                    (kernels.narrow)(&head, &mut narrow);
                    let widened: Vec<f32> = narrow
                        .iter()
                        .map(|half| half::f16::from_bits(*half).to_f32())
                        .collect();
                    same(&widened, &halves, &what);
                    (kernels.round_f16)(&mut head);
                    same(&head, &halves, &what);
                }
            }
        }
    }
}

/// Tokens of activations in one encoding.
struct Tokens {
    rows: Vec<Vec<f32>>,
    q: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    width: usize,
    per_token: usize,
}

impl Tokens {
    fn new(encoding: Encoding, count: usize, width: usize) -> Tokens {
        let adversarial = rows(width);
        let row = |i: usize| {
            adversarial
                .get(i)
                .cloned()
                .unwrap_or_else(|| Noise::new(i as u64).evens(width))
        };
        let rows: Vec<Vec<f32>> = (0..count).map(row).collect();
        let (mut q, mut scales) = (Vec::new(), Vec::new());
        for row in &rows {
            let row = encoding.encode(row);
            q.extend(row.q);
            scales.extend(row.scales);
        }
        let per_token = scales.len() / count.max(1);
        let block = width.checked_div(per_token).unwrap_or(1);
        let sums = q
            .chunks(block)
            .map(|q| q.iter().map(|q| i32::from(*q)).sum())
            .collect();
        Tokens {
            rows,
            q,
            scales,
            sums,
            width,
            per_token,
        }
    }
}

/// Rows and blocks of a row, around the strips, tiles and pieces of rows.
const SHAPES: [(usize, usize); 10] = [
    (0, 1),
    (1, 1),
    (5, 1),
    (4, 3),
    (16, 2),
    (17, 3),
    (33, 2),
    (64, 5),
    (66, 2),
    (150, 1),
];

#[test]
fn matrix_products_are_the_oracles() {
    for format in Format::ALL {
        let Some(product) = &format.descriptor().product else {
            continue;
        };
        for (row_count, blocks) in SHAPES {
            // A tail behind the lanes where the format has no blocks.
            let width = match format.block_len() {
                1 => 16 * blocks + 5,
                block => block * blocks,
            };
            let bytes =
                bitnet_fixtures::weights::matrix(format, row_count.max(1), width, 5, "judged");
            let decoded = Decoded::new(format, row_count.max(1), width, &bytes)
                .expect("the fixture is a matrix");
            let stride = format.row_bytes(width).expect("whole blocks");
            let matrix = MatrixRef {
                format,
                bytes: &bytes,
                stride,
                scale: decoded.scale(),
            };
            let few = 1..=17;
            let many = [24, 32, 33, 64, 65, 300]
                .into_iter()
                .filter(|_| blocks == 3);
            for count in few.chain(many) {
                let tokens = Tokens::new(format.encoding(), count, width);
                let values: Vec<f32> = tokens.rows.concat();
                let x = Encoded {
                    width: tokens.width,
                    values: &values,
                    q: &tokens.q,
                    scales: &tokens.scales,
                    sums: &tokens.sums,
                    scales_per_token: tokens.per_token,
                };
                let wanted: Vec<f32> = (0..count * row_count)
                    .map(|i| {
                        let row = decoded.row(i % row_count);
                        oracle::product(format, row, decoded.scale(), &tokens.rows[i / row_count])
                    })
                    .collect();
                let generic = matches!(product.reduction, Reduction::Blocks { .. });
                let kernels = kernels().flat_map(|kernels| {
                    let blocks = generic.then_some(kernels.blocks);
                    [Some(kernels.product(format, count)), blocks]
                });
                for kernel in kernels.flatten() {
                    let mut panel = Panel::default();
                    let mut out = vec![f32::NAN; count * row_count];
                    (kernel.run)(&matrix, 0..row_count, &x, 0..count, &mut panel, &mut out);
                    for (i, (y, wanted)) in out.iter().zip(&wanted).enumerate() {
                        let (token, row) = (i / row_count, i % row_count);
                        assert!(
                            y.to_bits() == wanted.to_bits(),
                            "{} of {row_count}x{width}, row {row}, token {token}: {y} is not {wanted}",
                            kernel.name
                        );
                    }
                }
            }
        }
    }
}

/// Codes of 3 never occur in a valid file, but a kernel must not overflow on them either.
#[test]
fn the_largest_codes_and_activations_do_not_overflow() {
    let width = 6912;
    let bytes = vec![0xff; width / 4];
    let matrix = MatrixRef {
        format: Format::I2S,
        bytes: &bytes,
        stride: width / 4,
        scale: 1.0,
    };
    for kernels in kernels() {
        for (activation, tokens) in [(-128_i8, 1), (127, 1), (-128, 5), (127, 5)] {
            let sum = i32::from(activation) * width as i32;
            let x = Encoded {
                width,
                values: &[],
                q: &vec![activation; tokens * width],
                scales: &vec![1.0; tokens],
                sums: &vec![sum; tokens],
                scales_per_token: 1,
            };
            let mut out = vec![f32::NAN; tokens];
            let kernel = kernels.product(Format::I2S, tokens);
            (kernel.run)(
                &matrix,
                0..1,
                &x,
                0..tokens,
                &mut Panel::default(),
                &mut out,
            );
            assert_eq!(out, vec![(2 * sum) as f32; tokens], "{}", kernels.name);
        }
    }
}

#[test]
fn attention_is_the_oracles() {
    use crate::generic::attention::Visible;
    use bitnet_kernels::order::LANES;

    // Around strips of 16 keys, groups of such strips, blocks of 16 elements of a head, and heads
    // side by side.
    let shapes = [
        (1, 16),
        (2, 100),
        (15, 64),
        (16, 64),
        (17, 128),
        (33, 48),
        (49, 80),
        (63, 64),
        (64, 128),
        (65, 112),
        (127, 256),
        (129, 16),
        (255, 32),
        (257, 128),
        (300, 64),
        (2048, 128),
    ];
    for (i, (len, dim)) in shapes.into_iter().enumerate() {
        let heads = 1 + i % 8;
        let stride = dim_stride(dim);
        // Values that binary16 holds, so that both types of cache must give the same.
        let halves = |len, seed| -> Vec<f32> {
            Noise::new(seed)
                .evens(len)
                .into_iter()
                .map(oracle::round_f16)
                .collect()
        };
        let q = halves(heads * dim, 1);
        let (keys, values) = (halves(len * dim, 2), halves(len * dim, 3));
        // As the cache lays them out: keys in strips of 16 positions, values in padded rows.
        let mut strips = vec![f32::NAN; len.next_multiple_of(LANES) * dim];
        let mut padded = vec![0.0; len * stride];
        for i in 0..len {
            for d in 0..dim {
                strips[i / LANES * dim * LANES + d * LANES + i % LANES] = keys[i * dim + d];
                padded[i * stride + d] = values[i * dim + d];
            }
        }
        let bits = |x: &[f32]| -> Vec<u16> {
            x.iter()
                .map(|x| half::f16::from_f32(*x).to_bits())
                .collect()
        };
        let (strips_f16, padded_f16) = (bits(&strips), bits(&padded));
        // Everything, and windows that start at the end, in a strip, and at the edge of one.
        let windows = [None, Some(1), Some(17), Some(len.div_ceil(2)), Some(32)];
        for window in windows {
            let lowest = len - window.map_or(len, |window| window.min(len));
            let hidden = lowest % LANES;
            let start = lowest - hidden;
            let f32 = Visible {
                keys: &strips[start * dim..],
                values: &padded[start * stride..],
                stride,
                hidden,
                len: len - start,
            };
            let f16 = Visible {
                keys: &strips_f16[start * dim..],
                values: &padded_f16[start * stride..],
                stride,
                hidden,
                len: len - start,
            };
            for kernels in kernels() {
                for round in [false, true] {
                    let what = format!(
                        "{} attention of {heads} heads over {window:?} of {len} of {dim}",
                        kernels.name
                    );
                    let mut weights = vec![f32::NAN; 4 * len.next_multiple_of(LANES)];
                    let judge = |out: &[f32]| {
                        for (q, out) in q.chunks_exact(dim).zip(out.chunks_exact(stride)) {
                            let wanted = oracle::attention(q, &keys, &values, 0.125, window, round);
                            same(&out[..dim], &wanted, &what);
                        }
                    };
                    let mut out = vec![f32::NAN; heads * stride];
                    (kernels.attend_f32)(&q, heads, 0.125, round, f32, &mut weights, &mut out);
                    judge(&out);
                    out.fill(f32::NAN);
                    (kernels.attend_f16)(&q, heads, 0.125, round, f16, &mut weights, &mut out);
                    judge(&out);
                }
            }
        }
    }
}

fn dim_stride(dim: usize) -> usize {
    dim.next_multiple_of(bitnet_kernels::order::LANES)
}

#[test]
fn rounds_are_really_computed() {
    for kernels in kernels() {
        let one = (kernels.peak.run)(1);
        assert!(one > 0, "{}", kernels.name);
        assert_eq!((kernels.peak.run)(13), 13 * one, "{}", kernels.name);
    }
}
