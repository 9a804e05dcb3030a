// What a pass was asked for: the ids of its tokens, and the rows whose logits are wanted. An extent
// says where those of its rows begin.
@group(0) @binding(8) var<storage, read> inputs: array<u32>;
