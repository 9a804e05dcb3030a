// A matrix may lie in several buffers; this is one of them. Of a gate interleaved with its factor,
// scales and factors are those of even and odd rows; of any other matrix both are the same.
struct Piece {
    first_row: u32,
    rows: u32,
    scales: vec2<f32>,
    factors: vec2<f32>,
}
@group(0) @binding(1) var<uniform> piece: Piece;
