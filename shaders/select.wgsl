// The rows whose logits are wanted.
#include shared/extent.wgsl
#include shared/inputs.wgsl
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> results: array<vec4<f32>>;
override COLS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = COLS / 4u;
    if (id.x < words) {
        results[id.y * words + id.x] = x[inputs[extent.inputs + id.y] * words + id.x];
    }
}
