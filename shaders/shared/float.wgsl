// How ${FORMAT} weights lie in a vector of four words.
#if HALF
const PER_WORD: u32 = 8u;

fn decode_pair(word: u32) -> vec2<f32> {
#if BF16
    return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
#else
    return unpack2x16float(word);
#endif
}

fn decode_low(words: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(decode_pair(words.x), decode_pair(words.y));
}

fn decode_high(words: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(decode_pair(words.z), decode_pair(words.w));
}
#else
const PER_WORD: u32 = 4u;
#endif
