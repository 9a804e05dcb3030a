// Six words per block of 256: its scale and that of the minima as f32, then eight sub-scales and
// eight minima of 8 bits.
@group(0) @binding(6) var<storage, read> scales: array<u32>;

// The sub-scales of the four words of a vector of a block; vectors hold words 32 elements apart.
fn sub_scales(block: u32, vector: u32) -> vec4<i32> {
    return vec4<i32>(unpack4xU8(scales[block * 6u + 2u + vector / 8u]));
}

// Their minima.
fn minima(block: u32, vector: u32) -> vec4<i32> {
    return vec4<i32>(unpack4xU8(scales[block * 6u + 4u + vector / 8u]));
}
