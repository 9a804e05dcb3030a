// A pair of elements, rotated by the angle of a cosine and a sine.
fn rotate(pair: vec2<f32>, cos_sin: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(fma(pair.x, cos_sin.x, -(pair.y * cos_sin.y)), fma(pair.y, cos_sin.x, pair.x * cos_sin.y));
}
