// Rows made of parts that go to two buffers in turn.
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> second: array<vec4<f32>>;
// Values in a row of either, and in a part of it.
override COLS: u32;
override PART: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = COLS / 4u;
    if (id.x < words) {
        let part = PART / 4u;
        let at = id.y * words + id.x;
        let start = id.y * 2u * words + id.x / part * 2u * part + id.x % part;
        first[at] = x[start];
        second[at] = x[start + part];
    }
}
