// Adds to each token's row the rows of its experts, each times its share. A thread has one value.
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> shares: array<f32>;
@group(0) @binding(4) var<storage, read_write> results: array<f32>;
override COLS: u32;
override USED: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= COLS) {
        return;
    }
    let first = id.y * USED;
    var sum = x[first * COLS + id.x] * shares[first];
    for (var i = 1u; i < USED; i += 1u) {
        sum += x[(first + i) * COLS + id.x] * shares[first + i];
    }
    results[id.y * COLS + id.x] += sum;
}
