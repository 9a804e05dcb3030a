// Rows of f32, after an RMS norm, stored as I8. One workgroup has one row.
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
override COLS: u32;
@group(0) @binding(2) var<storage, read_write> results: array<u32>;
// With the sum of the values where ternary weights need it.
@group(0) @binding(3) var<storage, read_write> scales: array<vec2<u32>>;

fn put(row: u32, i: u32, word: u32) {
    results[row * (COLS / 4u) + i] = word;
}

fn put_scale(at: u32, scale: vec2<u32>) {
    scales[at] = scale;
}
// A row of f32, after an RMS norm, stored as I8 by the threads of a workgroup, which keep
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
// What a pass was asked for: the ids of its tokens, and the rows whose logits are wanted. An extent
// says where those of its rows begin.
@group(0) @binding(8) var<storage, read> inputs: array<u32>;


// Where word i of a row lies: words 32 elements apart are neighbours, as the codes of a group of
// 128 are.
fn place(i: u32) -> u32 {
    return i / 32u * 32u + i % 8u * 4u + i % 32u / 8u;
}

fn encode_row(row: u32, thread: u32) {
    let from_row = inputs[extent.inputs + row];
    let words = COLS / 4u;
    var values: array<vec4<f32>, 3>;
    var gains: array<vec4<f32>, 3>;
    var squares = 0.0;
    for (var k = 0u; k < 3u; k += 1u) {
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
    for (var k = 0u; k < 3u; k += 1u) {
        values[k] = values[k] * scale * gains[k];
    }
    var most = 0.0;
    for (var k = 0u; k < 3u; k += 1u) {
        let v = values[k];
        most = max(most, max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w))));
    }
    most = workgroup_max(most, thread);
    // 127 / 1e-5 where all values are smaller.
    let factor = select(divide(127.0, most), 12700000.0, most < 1.0e-5);
    var sum = 0;
    for (var k = 0u; k < 3u; k += 1u) {
        let i = thread + k * 256u;
        let q = vec4<i32>(clamp(round(values[k] * factor), vec4<f32>(-128.0), vec4<f32>(127.0)));
        sum += q.x + q.y + q.z + q.w;
        if (i < words) {
            put(row, place(i), pack4xI8(q));
        }
    }
    // Sums of up to 2^24 are exact in f32: 131072 values of 127.
    let total = i32(workgroup_sum(f32(sum), thread));
    if (thread == 0u) {
        // The scale of a row with a value that is not finite is NaN, whatever its integers are.
        let bits = select(bitcast<u32>(factor), NAN_BITS, most == LARGEST);
        put_scale(row, vec2<u32>(bits, bitcast<u32>(total)));
    }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    encode_row(group.x, thread);
}
