// Rows of the embedding, PTQ1_0, decoded to f32. A thread decodes four values.
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
// A matrix may lie in several buffers; this is one of them. Of matrices that lie together, each has
// its own scale and factor: the even rows of a gate interleaved with its factor and the odd ones,
// or up to four matrices one after another.
struct Piece {
    first_row: u32,
    rows: u32,
    scales: vec4<f32>,
    factors: vec4<f32>,
}
@group(0) @binding(1) var<uniform> piece: Piece;
// The matrix that a row of the piece belongs to.
fn matrix_of(row: u32) -> u32 {
    return row % 2u;
}
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weights: array<u32>;
// What a pass was asked for: the ids of its tokens, and the rows whose logits are wanted. An extent
// says where those of its rows begin.
@group(0) @binding(8) var<storage, read> inputs: array<u32>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;
override COLS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    let token = id.y;
    let id_row = inputs[extent.inputs + token];
    // Another piece has the row.
    if (i >= COLS / 4u || id_row < piece.first_row || id_row - piece.first_row >= piece.rows) {
        return;
    }
    let row = id_row - piece.first_row;
    let first = row * (COLS / 4u);
    // Vector i of the row is part i % 4 of its word.
    let codes = weights[(first + i) / 4u] >> (6u - 2u * (i % 4u)) & 0x03030303u;
    let value = (vec4<f32>(unpack4xU8(codes)) - 1.0) * scales[(first + i) / (4u * 8u)];
    results[token * (COLS / 4u) + i] = value * piece.factors.x;
}
