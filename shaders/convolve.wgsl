// A causal convolution of each channel and its SiLU. A thread has one channel, for all tokens of a
// stretch of a sequence.
#include shared/extent.wgsl
#include shared/exact.wgsl
#include shared/activate.wgsl
@group(0) @binding(2) var<storage, read> x: array<f32>;
// The columns of each channel; the last meets the newest row.
@group(0) @binding(3) var<storage, read> taps: array<f32>;
// The rows before the stretch, the oldest first.
@group(0) @binding(4) var<storage, read_write> state: array<f32>;
@group(0) @binding(5) var<storage, read_write> results: array<f32>;
override CHANNELS: u32;
override COLUMNS: u32;

// Of the rows before the stretch and those of the stretch, row i.
fn input(i: u32, channel: u32) -> f32 {
    if (i + 1u < COLUMNS) {
        return state[i * CHANNELS + channel];
    }
    return x[(extent.first_row + i + 1u - COLUMNS) * CHANNELS + channel];
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let channel = id.x;
    if (channel >= CHANNELS) {
        return;
    }
    for (var row = 0u; row < extent.rows; row += 1u) {
        var sum = 0.0;
        for (var column = 0u; column < COLUMNS; column += 1u) {
            sum = fma(taps[channel * COLUMNS + column], input(row + column, channel), sum);
        }
        results[(extent.first_row + row) * CHANNELS + channel] = activate(sum);
    }
    // Each row moves before the one that it overwrites is needed.
    for (var i = 0u; i + 1u < COLUMNS; i += 1u) {
        state[i * CHANNELS + channel] = input(extent.rows + i, channel);
    }
}
