// Rotates each head of a row in place. A thread has one pair of one head.
#include shared/extent.wgsl
#include shared/rotate.wgsl
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
// Cosine and sine of each pair at each position.
@group(0) @binding(3) var<storage, read> rotations: array<vec2<f32>>;
override HEADS: u32;
override HEAD_DIM: u32;
override DIMS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let pairs = DIMS / 2u;
    let head = id.x / pairs;
    let pair = id.x % pairs;
    if (head >= HEADS) {
        return;
    }
    let row = ((extent.first_row + id.y) * HEADS + head) * HEAD_DIM;
#if HALVES
    let a = row + pair;
    let b = a + pairs;
#else
    let a = row + 2u * pair;
    let b = a + 1u;
#endif
    let rotated = rotate(vec2<f32>(x[a], x[b]), rotations[(extent.start + id.y) * pairs + pair]);
    x[a] = rotated.x;
    x[b] = rotated.y;
}
