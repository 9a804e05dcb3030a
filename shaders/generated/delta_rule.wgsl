// The gated delta rule. One workgroup has one head, for all tokens of a stretch; a thread has one
// value element, whose part of the state is a recurrence of its own.
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
// Queries, keys and values.
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> alpha: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> rate: array<f32>;
// Of each head, value elements of each key element.
@group(0) @binding(7) var<storage, read_write> state: array<f32>;
@group(0) @binding(8) var<storage, read_write> results: array<f32>;
override HEADS: u32;
override KEY_HEADS: u32;
override SIZE: u32;
override EPS: f32;

var<workgroup> query: array<f32, 256>;
var<workgroup> key: array<f32, 256>;

// ln(1 + e^x) as bitnet_kernels::oracle::softplus.
fn softplus(value: f32) -> f32 {
    let t = exp_f32(-abs(value));
    let z = divide(t, 2.0 + t);
    let w = z * z;
    var p = 1.0 / 15.0;
    p = fma(p, w, 1.0 / 13.0);
    p = fma(p, w, 1.0 / 11.0);
    p = fma(p, w, 1.0 / 9.0);
    p = fma(p, w, 1.0 / 7.0);
    p = fma(p, w, 1.0 / 5.0);
    p = fma(p, w, 1.0 / 3.0);
    return max(value, 0.0) + fma(2.0 * z, w * p, 2.0 * z);
}

// The factor that gives values with this sum of squares the length 1, but for the root of SIZE.
fn factor(squares: f32) -> f32 {
    let mean = finite_or_nan(divide(squares, f32(SIZE)));
    return divide(1.0, sqrt(mean + divide(EPS, f32(SIZE))));
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let head = group.x;
    let keys = KEY_HEADS * SIZE;
    let width = 2u * keys + HEADS * SIZE;
    let key_head = head % KEY_HEADS * SIZE;
    let root = divide(1.0, sqrt(f32(SIZE)));
    let column = head * SIZE * SIZE + thread;
    for (var row = 0u; row < extent.rows; row += 1u) {
        let token = extent.first_row + row;
        let start = token * width;
        var q = 0.0;
        var k = 0.0;
        if (thread < SIZE) {
            q = x[start + key_head + thread];
            k = x[start + keys + key_head + thread];
        }
        let q_factor = factor(workgroup_sum(q * q, thread));
        let k_factor = factor(workgroup_sum(k * k, thread));
        if (thread < SIZE) {
            query[thread] = q * q_factor * root;
            key[thread] = k * k_factor * root;
        }
        workgroupBarrier();
        if (thread < SIZE) {
            let gate = token * HEADS + head;
            let decay = exp_f32(rate[head] * softplus(alpha[gate] + bias[head]));
            let share = divide(1.0, 1.0 + exp_f32(-beta[gate]));
            var held = 0.0;
            for (var i = 0u; i < SIZE; i += 1u) {
                held = fma(key[i], state[column + i * SIZE] * decay, held);
            }
            let correction = share * (x[start + 2u * keys + head * SIZE + thread] - held);
            var sum = 0.0;
            for (var i = 0u; i < SIZE; i += 1u) {
                let corrected = fma(key[i], correction, state[column + i * SIZE] * decay);
                state[column + i * SIZE] = corrected;
                sum = fma(query[i], corrected, sum);
            }
            results[(token * HEADS + head) * SIZE + thread] = sum * root;
        }
    }
}
