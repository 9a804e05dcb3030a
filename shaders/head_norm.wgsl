// RMS norm of each head of a row, in place. One workgroup has one head.
#include shared/exact.wgsl
#include shared/reduce.wgsl
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read> gain: array<f32>;
override HEADS: u32;
override HEAD_DIM: u32;
override EPS: f32;

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let head = (group.y * HEADS + group.x) * HEAD_DIM;
    var squares = 0.0;
    for (var i = thread; i < HEAD_DIM; i += ${THREADS}u) {
        squares = fma(x[head + i], x[head + i], squares);
    }
    let mean = finite_or_nan(divide(workgroup_sum(squares, thread), f32(HEAD_DIM)));
    let scale = divide(1.0, sqrt(mean + EPS));
    for (var i = thread; i < HEAD_DIM; i += ${THREADS}u) {
        x[head + i] = x[head + i] * scale * gain[i];
    }
}
