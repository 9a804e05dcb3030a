// Rows of the embedding, BF16, decoded to f32. A thread decodes four values.
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
// How BF16 weights lie in a vector of four words.
const PER_WORD: u32 = 8u;

fn decode_pair(word: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}

fn decode_low(words: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(decode_pair(words.x), decode_pair(words.y));
}

fn decode_high(words: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(decode_pair(words.z), decode_pair(words.w));
}
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weights: array<u32>;
// What a pass was asked for: the ids of its tokens, and the rows whose logits are wanted. An extent
// says where those of its rows begin.
@group(0) @binding(8) var<storage, read> inputs: array<u32>;
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
    let value = vec4<f32>(decode_pair(weights[(first + i) * 2u]), decode_pair(weights[(first + i) * 2u + 1u]));
    results[token * (COLS / 4u) + i] = value * piece.factors.x;
}
