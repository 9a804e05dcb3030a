// The gated delta rule. One workgroup has one head, for all tokens of a stretch; a thread has one
// value element, whose part of the state is a recurrence of its own.
#include shared/extent.wgsl
#include shared/exact.wgsl
#include shared/reduce.wgsl
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

var<workgroup> query: array<f32, ${MAX_SIZE}>;
var<workgroup> key: array<f32, ${MAX_SIZE}>;

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

@compute @workgroup_size(${THREADS})
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
