// Rotates each head of a row in place. A thread has one pair of one head.
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
// A pair of elements, rotated by the angle of a cosine and a sine.
fn rotate(pair: vec2<f32>, cos_sin: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(fma(pair.x, cos_sin.x, -(pair.y * cos_sin.y)), fma(pair.y, cos_sin.x, pair.x * cos_sin.y));
}
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
    let a = row + 2u * pair;
    let b = a + 1u;
    let rotated = rotate(vec2<f32>(x[a], x[b]), rotations[(extent.start + id.y) * pairs + pair]);
    x[a] = rotated.x;
    x[b] = rotated.y;
}
