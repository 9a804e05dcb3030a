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
#if STACKED
// Where the matrices behind the first begin; behind all rows where there are fewer.
override SECOND: u32;
override THIRD: u32;
override FOURTH: u32;

// The matrix that a row of the piece belongs to.
fn matrix_of(row: u32) -> u32 {
    let at = piece.first_row + row;
    return u32(at >= SECOND) + u32(at >= THIRD) + u32(at >= FOURTH);
}
#else
// The matrix that a row of the piece belongs to.
fn matrix_of(row: u32) -> u32 {
    return row % 2u;
}
#endif
