// Q8_0 weights against i8 activations, both with a scale per 32. 32 threads share a row.
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
// Where the matrices behind the first begin; behind all rows where there are fewer.
override SECOND: u32;
override THIRD: u32;
override FOURTH: u32;

// The matrix that a row of the piece belongs to.
fn matrix_of(row: u32) -> u32 {
    let at = piece.first_row + row;
    return u32(at >= SECOND) + u32(at >= THIRD) + u32(at >= FOURTH);
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
// The row of activations that a product meets: Q8_0, as an earlier dispatch left it, or made
// by each workgroup for itself.
override COLS: u32;
// Words a, a + 4, ... are neighbours, so that neighbouring threads read neighbouring words.
const VECTORS_OF_X: u32 = 2u * 256u / 4u;
var<workgroup> row_of_x: array<u32, 4u * VECTORS_OF_X>;

fn put(row: u32, i: u32, word: u32) {
    row_of_x[i % 4u * VECTORS_OF_X + i / 4u] = word;
}

fn x_word(row: u32, i: u32) -> u32 {
    return row_of_x[i % 4u * VECTORS_OF_X + i / 4u];
}

fn x_vector(row: u32, i: u32) -> vec4<u32> {
    return vec4<u32>(row_of_x[i], row_of_x[VECTORS_OF_X + i], row_of_x[2u * VECTORS_OF_X + i], row_of_x[3u * VECTORS_OF_X + i]);
}
var<workgroup> scales_of_x: array<f32, 2 * 256 / 8>;

fn put_scale(at: u32, scale: f32) {
    scales_of_x[at % (COLS / (4u * 8u))] = scale;
}

fn x_block_scale(row: u32, block: u32) -> f32 {
    return scales_of_x[block];
}
// A row of f32, after an RMS norm, stored as Q8_0 by the threads of a workgroup, which keep
// its values in registers: vectors thread, thread + 256, ... of four. The order of its sums
// is the same wherever the row is stored.
// Reductions over a workgroup of 256 threads; every thread gets the result.
var<workgroup> parts: array<f32, 256>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    parts[thread] = value;
    for (var half = 256u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            parts[thread] += parts[thread + half];
        }
    }
    workgroupBarrier();
    return parts[0];
}

fn workgroup_max(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    parts[thread] = value;
    for (var half = 256u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            parts[thread] = max(parts[thread], parts[thread + half]);
        }
    }
    workgroupBarrier();
    return parts[0];
}
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> gain: array<vec4<f32>>;
override EPS: f32;

var<workgroup> largest: array<f32, 256>;
var<workgroup> sums: array<atomic<i32>, 256>;

// The value of largest magnitude in the 8 threads of a block, the first among
// equals.
fn block_extreme(value: vec4<f32>, thread: u32) -> f32 {
    var best = value.x;
    for (var i = 1u; i < 4u; i += 1u) {
        if (magnitude(value[i]) > magnitude(best)) {
            best = value[i];
        }
    }
    workgroupBarrier();
    largest[thread] = best;
    for (var step = 1u; step < 8u; step *= 2u) {
        workgroupBarrier();
        if (thread % (2u * step) == 0u && magnitude(largest[thread + step]) > magnitude(largest[thread])) {
            largest[thread] = largest[thread + step];
        }
    }
    workgroupBarrier();
    return largest[thread - thread % 8u];
}


fn encode_row(row: u32, thread: u32) {
    let from_row = row;
    let words = COLS / 4u;
    var values: array<vec4<f32>, 2>;
    var gains: array<vec4<f32>, 2>;
    var squares = 0.0;
    for (var k = 0u; k < 2u; k += 1u) {
        let i = thread + k * 256u;
        values[k] = vec4<f32>();
        if (i < words) {
            values[k] = x[from_row * words + i];
            gains[k] = gain[i];
        }
        let v = values[k];
        squares = fma(v.w, v.w, fma(v.z, v.z, fma(v.y, v.y, fma(v.x, v.x, squares))));
    }
    let mean = finite_or_nan(divide(workgroup_sum(squares, thread), f32(COLS)));
    let scale = divide(1.0, sqrt(mean + EPS));
    for (var k = 0u; k < 2u; k += 1u) {
        values[k] = values[k] * scale * gains[k];
    }
    let blocks = COLS / (8u * 4u);
    for (var k = 0u; k < 2u; k += 1u) {
        let i = thread + k * 256u;
        let extreme = block_extreme(values[k], thread);
        let leader = thread % 8u == 0u;
        var d = divide(abs(extreme), 127.0);
        var inverse = divide(127.0, abs(extreme));
        if (d == 0.0 || !is_finite(inverse)) {
            d = 0.0;
            inverse = 0.0;
        }
        let q = vec4<i32>(clamp(round(values[k] * inverse), vec4<f32>(-128.0), vec4<f32>(127.0)));
        if (i < words) {
            put(row, i, pack4xI8(q));
            if (leader) {
                let bits = select(bitcast<u32>(round_f16(d)), nan_bits, !is_finite(extreme));
                put_scale(row * blocks + i / 8u, bitcast<f32>(bits));
            }
        }
    }
}

// Makes the row ready, for all threads of the workgroup.
fn prepare_x(row: u32, thread: u32) {
    encode_row(row, thread);
    workgroupBarrier();
}
@group(0) @binding(2) var<storage, read_write> results: array<f32>;

// What becomes of a product, by the factor of its matrix.
fn scaled(row: u32, value: f32) -> f32 {
    return finite_or_nan(value * piece.factors[matrix_of(row)]);
}

// Rotated queries to `results`, rotated keys and plain values to the cache.
// Keys or values of a cache row, two of binary16 to a word.
const PER_CACHE_WORD: u32 = 2u;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// A pair of elements, rotated by the angle of a cosine and a sine.
fn rotate(pair: vec2<f32>, cos_sin: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(fma(pair.x, cos_sin.x, -(pair.y * cos_sin.y)), fma(pair.y, cos_sin.x, pair.x * cos_sin.y));
}
// Cosine and sine of each pair at each position.
@group(0) @binding(9) var<storage, read> rotations: array<vec2<f32>>;
@group(0) @binding(10) var<storage, read_write> keys: array<u32>;
@group(0) @binding(11) var<storage, read_write> values: array<u32>;
override DIMS: u32;

fn store_key(at: u32, value: vec2<f32>) {
    keys[at / 2u] = pack2x16float(value);
}

fn store_value(at: u32, value: vec2<f32>) {
    values[at / 2u] = pack2x16float(value);
}

// The elements a, a + 1 and b, b + 1 that part `part` of a head has: two neighbouring pairs, or
// four that pass through.
fn elements(part: u32) -> vec2<u32> {
    if (part < DIMS / 4u) {
        return vec2<u32>(part * 2u, part * 2u + DIMS / 2u);
    }
    return vec2<u32>(part * 4u, part * 4u + 2u);
}

// Four values of a head of a token: queries come first, then keys, then values, whose four are
// neighbours.
fn store_four(head: u32, part: u32, token: u32, position: u32, first: vec2<f32>, second: vec2<f32>) {
    let row = position * KV_HEADS * HEAD_DIM;
    if (head >= HEADS + KV_HEADS) {
        let at = row + (head - HEADS - KV_HEADS) * HEAD_DIM + part * 4u;
        store_value(at, first);
        store_value(at + 2u, second);
        return;
    }
    let at = elements(part);
    var low = first;
    var high = second;
    if (part < DIMS / 4u) {
        let one = rotations[position * (DIMS / 2u) + part * 2u];
        let two = rotations[position * (DIMS / 2u) + part * 2u + 1u];
        let x = rotate(vec2<f32>(low.x, high.x), one);
        let y = rotate(vec2<f32>(low.y, high.y), two);
        low = vec2<f32>(x.x, y.x);
        high = vec2<f32>(x.y, y.y);
    }
    if (head < HEADS) {
        // Queries meet keys as binary16.
        low = vec2<f32>(round_f16(low.x), round_f16(low.y));
        high = vec2<f32>(round_f16(high.x), round_f16(high.y));
        let to = (token * HEADS + head) * HEAD_DIM;
        results[to + at.x] = low.x;
        results[to + at.x + 1u] = low.y;
        results[to + at.y] = high.x;
        results[to + at.y + 1u] = high.y;
    } else {
        let to = row + (head - HEADS) * HEAD_DIM;
        store_key(to + at.x, low);
        store_key(to + at.y, high);
    }
}

// The row of the matrices that result `n` is of: those that one thread rotates and stores follow
// one another.
fn row_of(n: u32) -> u32 {
    let head = n / HEAD_DIM;
    if (head >= HEADS + KV_HEADS) {
        return n;
    }
    let element = elements(n % HEAD_DIM / 4u)[n % 4u / 2u] + n % 2u;
    return head * HEAD_DIM + element;
}

// Rows that are computed side by side, and all of a workgroup's.
const SLOTS: u32 = 256u / 32u;
const ROWS: u32 = SLOTS * 2u;
var<workgroup> row_values: array<f32, ROWS>;

// The row of the piece that result `n` is of, for a row of activations.
fn piece_row(token: u32, n: u32) -> u32 {
    return row_of(n);
}
// Sums over the 32 neighbouring threads that share a row. The order is fixed by the device
// alone.
var<workgroup> row_parts: array<f32, 256>;

fn row_sum_f32(value: f32, thread: u32) -> f32 {
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
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % 32u;
    let slot = thread / 32u;
    let token = extent.first_row + group.y;
    prepare_x(token, thread);
    let words = COLS / 4u;
    for (var r = 0u; r < 2u; r += 1u) {
        let row = min(piece_row(token, group.x * ROWS + r * SLOTS + slot), piece.rows - 1u);
        let first = row * words;
        var sum = 0.0;
        for (var i = lane; i < words; i += 32u) {
            let integer = dot4I8Packed(weights[first + i], x_word(token, i));
            sum = fma(scales[(first + i) / 8u] * x_block_scale(token, i / 8u), f32(integer), sum);
        }
        let value = row_sum_f32(sum, thread);
        if (lane == 0u) {
            row_values[r * SLOTS + slot] = value;
        }
    }
    // The values of the rows are in `row_values`.
    workgroupBarrier();
    let first_row = group.x * ROWS;
    if (thread < ROWS / 4u && first_row + 4u * thread < piece.rows) {
        let n = first_row + 4u * thread;
        var four: vec4<f32>;
        for (var i = 0u; i < 4u; i += 1u) {
            four[i] = scaled(row_of(n + i), row_values[4u * thread + i]);
        }
        store_four(n / HEAD_DIM, n % HEAD_DIM / 4u, token, extent.start + group.y, four.xy, four.zw);
    }
}
