// Of the matrices of all experts, the one of a routed row.
@group(0) @binding(7) var<storage, read> chosen: array<f32>;
// Rows of one expert's matrix; of a gate interleaved with its factor, those of both.
override EXPERT_ROWS: u32;
// Routed rows that share a row of activations.
override SHARING: u32;

// A row of the matrix of a routed row's expert, as a row of the piece; none of it where it lies in
// another piece, or behind the expert's last.
fn expert_row(routed: u32, row: u32) -> u32 {
    let first = u32(chosen[routed]) * EXPERT_ROWS;
    return select(0xffffffffu, first + row - piece.first_row, row < EXPERT_ROWS);
}

// Where a row of the piece stands in the result.
fn expert_column(routed: u32, row: u32) -> u32 {
    return piece.first_row + row - u32(chosen[routed]) * EXPERT_ROWS;
}
