// Four words of four i8 against four words of four i8.
fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// The sixteen 2-bit codes of a word, as four words of bytes 0, 1, 2: word l holds the elements that
// lie 32 * l further on in the group of 128.
fn unpack_codes(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(6u, 4u, 2u, 0u)) & vec4<u32>(0x03030303u);
}
