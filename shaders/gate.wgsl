// Rows times the activation of a gate, in place.
#include shared/exact.wgsl
#include shared/activate.wgsl
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<storage, read> gate: array<f32>;
override COLS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < COLS) {
        let at = id.y * COLS + id.x;
        x[at] = activate(gate[at]) * x[at];
    }
}
