// Five words per block of 256: the scale as f32, then sixteen sub-scales of 8 bits.
@group(0) @binding(6) var<storage, read> scales: array<u32>;

// The sub-scale of word `part` of vector `vector` of a block: vectors hold words 32 elements apart.
fn sub_scale(block: u32, vector: u32, part: u32) -> i32 {
    let index = vector / 8u * 8u + part * 2u + vector % 8u / 4u;
    return extractBits(bitcast<i32>(scales[block * 5u + 1u + index / 4u]), index % 4u * 8u, 8u);
}
