// Ternary weights with one scale against i8 activations with one scale per token. 32 threads
// share a row.
// What all products of few tokens have in common: the row of activations, the rows of a workgroup,
// of which 32 threads share one and have 2 each, and what becomes of them.
// What one dispatch of a pass covers. Rewritten before each pass.
struct Extent {
    // Rows of activations: tokens, or selected tokens.
    rows: u32,
    // The first row of a segment in the batch.
    first_row: u32,
    // The position of that row in its sequence.
    start: u32,
    // Spans of keys that the longest row of the dispatch sees; where the best logits are searched,
    // how many are wanted.
    spans: u32,
    // Where the ids of the tokens begin among the inputs, or the selected rows.
    inputs: u32,
}
@group(0) @binding(0) var<uniform> extent: Extent;
// A matrix may lie in several buffers; this is one of them. Of matrices that lie together, each has
// its own scale and factor: the even rows of a gate interleaved with its factor and the odd ones,
// or up to four matrices one after another.
struct Piece {
    first_row: u32,
    rows: u32,
    scales: vec4<f32>,
    factors: vec4<f32>,
}
@group(0) @binding(1) var<uniform> piece: Piece;
// The matrix that a row of the piece belongs to.
fn matrix_of(row: u32) -> u32 {
    return row % 2u;
}
// Arithmetic that must not differ from the CPU's where an integer is decided by it, and what
// becomes of values that are not finite (`kernels/src/order.rs`).

// Finite or not is told by the bits: WGSL lets a compiler take it for granted that floats are
// finite.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// WGSL has no constant that is not finite, so NaN is made at run time.
const NAN_BITS: u32 = 0x7fc00000u;
var<private> nan_bits: u32 = NAN_BITS;

fn finite_or_nan(x: f32) -> f32 {
    return select(bitcast<f32>(nan_bits), x, is_finite(x));
}

// The magnitude of a value, and the largest there is for one that is not finite: the larger of two
// would drop a NaN.
const LARGEST: f32 = 3.40282347e38;

fn magnitude(x: f32) -> f32 {
    return select(LARGEST, abs(x), is_finite(x));
}

// The first 12 bits of a value's 24.
fn high_half(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// a - q * b, exact where q is near a / b, and also where a driver's fma rounds twice: products of
// halves fit into 24 bits, and so do the differences.
fn residual(a: f32, q: f32, b: f32) -> f32 {
    let qh = high_half(q);
    let ql = q - qh;
    let bh = high_half(b);
    let bl = b - bh;
    return a - qh * bh - qh * bl - ql * bh - ql * bl;
}

// a / b, rounded correctly also where the hardware's division is only near: one step of correction.
fn divide(a: f32, b: f32) -> f32 {
    let q = a / b;
    let better = q + residual(a, q, b) * (1.0 / b);
    return select(q, better, abs(better) < 3.0e38 && abs(q) > 1.0e-30);
}

// e^x as bitnet_kernels::oracle::exp: Cephes' expf with fused multiply-adds, clamped to [-87, 88];
// NaN stays NaN.
fn exp_f32(value: f32) -> f32 {
    let x = clamp(value, -87.0, 88.0);
    let n = round(x * 1.4426950408889634);
    var r = fma(n, -0.693359375, x);
    r = fma(n, 2.1219444e-4, r);
    var p = 1.9875691e-4;
    p = fma(p, r, 1.3981999e-3);
    p = fma(p, r, 8.333452e-3);
    p = fma(p, r, 4.1665796e-2);
    p = fma(p, r, 1.6666665e-1);
    p = fma(p, r, 5.0000001e-1);
    p = fma(p, r * r, r) + 1.0;
    return select(p * bitcast<f32>(u32(i32(n) + 127) << 23u), value, is_nan(value));
}

// x rounded to binary16, ties to even; infinite from 65520 on. Some drivers take a round trip
// through pack2x16float for nothing.
fn round_f16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let normal = bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
    // Below 2^-14 the step is 2^-24, that of f32 between 0.5 and 1.
    let small = bitcast<f32>(bitcast<u32>((abs(x) + 0.5) - 0.5) | (bits & 0x80000000u));
    let finite = select(normal, small, abs(x) < 6.103515625e-5);
    let infinite = bitcast<f32>((nan_bits & 0x7f800000u) | (bits & 0x80000000u));
    return select(select(finite, infinite, (bits & 0x7fffffffu) >= 0x477ff000u), x, is_nan(x));
}
// The row of activations that a product meets: I8, as an earlier dispatch left it, or made
// by each workgroup for itself.
override COLS: u32;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;

fn x_vector(row: u32, i: u32) -> vec4<u32> {
    return x[row * (COLS / 16u) + i];
}
// Scale and sum of each row's values.
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;

fn x_scale(row: u32) -> vec2<u32> {
    return x_scales[row];
}
@group(0) @binding(2) var<storage, read_write> results: array<f32>;

// What becomes of a product, by the factor of its matrix.
fn scaled(row: u32, value: f32) -> f32 {
    return finite_or_nan(value * piece.factors[matrix_of(row)]);
}

// Values in a row of the output.
override WIDTH: u32;
fn activate(x: f32) -> f32 {
    return x / (1.0 + exp_f32(-x));
}


// Rows of gate and factor alternate; one pair gives one output.
fn store_pair(token: u32, row: u32, gate: f32, up: f32) {
    let at = token * WIDTH + (piece.first_row + row) / 2u;
    results[at] = activate(scaled(row, gate)) * scaled(row + 1u, up);
}

// Rows that are computed side by side, and all of a workgroup's.
const SLOTS: u32 = 256u / 32u;
const ROWS: u32 = SLOTS * 2u;
var<workgroup> row_values: array<f32, ROWS>;

// The row of the piece that result `n` is of, for a row of activations.
fn piece_row(token: u32, n: u32) -> u32 {
    return n;
}
// Four words of four i8 against four words of four i8.
fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// The sixteen 2-bit codes of a word, as four words of bytes 0, 1, 2: word l holds the elements that
// lie 32 * l further on in the group of 128.
fn unpack_codes(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(6u, 4u, 2u, 0u)) & vec4<u32>(0x03030303u);
}
// Sums over the 32 neighbouring threads that share a row. The order is fixed by the device
// alone.
var<workgroup> row_parts: array<i32, 256>;

fn row_sum_i32(value: i32, thread: u32) -> i32 {
    workgroupBarrier();
    row_parts[thread] = value;
    for (var half = 32u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread % 32u < half) {
            row_parts[thread] += row_parts[thread + half];
        }
    }
    workgroupBarrier();
    return row_parts[thread - thread % 32u];
}
@group(0) @binding(3) var<storage, read> codes: array<vec2<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % 32u;
    let slot = thread / 32u;
    let token = extent.first_row + group.y;
    let words = COLS / 32u;
    var rows: array<u32, 2>;
    var sums: array<i32, 2>;
    // Four words of each row at a time, so that their loads overlap. The first are under way while
    // the activations are made. Codes past the end are 0 and add nothing.
    var word: array<vec2<u32>, 4u * 2u>;
    for (var r = 0u; r < 2u; r += 1u) {
        rows[r] = min(piece_row(token, group.x * ROWS + r * SLOTS + slot), piece.rows - 1u);
        sums[r] = 0;
        for (var j = 0u; j < 4u; j += 1u) {
            word[4u * r + j] = codes[rows[r] * words + min(lane + j * 32u, words - 1u)];
        }
    }
    for (var i = lane; i < words; i += 4u * 32u) {
        if (i > lane) {
            for (var j = 0u; j < 4u; j += 1u) {
                let at = min(i + j * 32u, words - 1u);
                for (var r = 0u; r < 2u; r += 1u) {
                    word[4u * r + j] = codes[rows[r] * words + at];
                }
            }
        }
        var low: array<vec4<u32>, 4>;
        var high: array<vec4<u32>, 4>;
        for (var j = 0u; j < 4u; j += 1u) {
            let at = min(i + j * 32u, words - 1u);
            low[j] = x_vector(token, at * 2u);
            high[j] = x_vector(token, at * 2u + 1u);
        }
        for (var j = 0u; j < 4u; j += 1u) {
            for (var r = 0u; r < 2u; r += 1u) {
                let own = select(vec2<u32>(), word[4u * r + j], i + j * 32u < words);
                sums[r] += dot16(unpack_codes(own.x), low[j]) + dot16(unpack_codes(own.y), high[j]);
            }
        }
    }
    let encoding = x_scale(token);
    for (var r = 0u; r < 2u; r += 1u) {
        let total = row_sum_i32(sums[r], thread);
        if (lane == 0u) {
            let scale = piece.scales[matrix_of(rows[r])];
            row_values[r * SLOTS + slot] = divide(f32(total - bitcast<i32>(encoding.y)), bitcast<f32>(encoding.x)) * scale;
        }
    }
    // The values of the rows are in `row_values`.
    workgroupBarrier();
    let first_row = group.x * ROWS;
    if (thread < ROWS / 2u) {
        let pair = piece_row(token, first_row + 2u * thread);
        if (pair < piece.rows) {
            store_pair(token, pair, row_values[2u * thread], row_values[2u * thread + 1u]);
        }
    }
}
