//! Rotation of queries and keys, and the width of what is kept.

use bitnet_kernels::order::LANES;
use bitnet_kernels::program::Pairing;

use crate::microkernel::simd::Simd;

/// Rotates a head by `rotations`, the cosines of its pairs and then their sines. What lies behind
/// the pairs stays.
#[inline(always)]
pub(crate) fn rotate<L: Simd>(l: L, pairing: Pairing, rotations: &[f32], head: &mut [f32]) {
    let (cosines, sines) = rotations.split_at(rotations.len() / 2);
    let (pairs, _) = head.split_at_mut(rotations.len());
    if pairing == Pairing::Adjacent {
        let rotations = cosines.iter().zip(sines);
        for ([x, y], (cos, sin)) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(rotations) {
            (*x, *y) = (*x * cos - *y * sin, *y * cos + *x * sin);
        }
        return;
    }
    let (first, second) = pairs.split_at_mut(cosines.len());
    let first = first.chunks_mut(LANES).zip(second.chunks_mut(LANES));
    let rotations = cosines.chunks(LANES).zip(sines.chunks(LANES));
    for ((first, second), (cos, sin)) in first.zip(rotations) {
        let (cos, sin) = (l.load_tail(cos, 0.0), l.load_tail(sin, 0.0));
        let (x, y) = (l.load_tail(first, 0.0), l.load_tail(second, 0.0));
        let rotated = l.sub(l.mul(x, cos), l.mul(y, sin));
        first.copy_from_slice(&l.to_array(rotated)[..first.len()]);
        let rotated = l.add(l.mul(y, cos), l.mul(x, sin));
        second.copy_from_slice(&l.to_array(rotated)[..second.len()]);
    }
}

/// Rounds to binary16.
#[inline(always)]
pub(crate) fn narrow<L: Simd>(l: L, x: &[f32], out: &mut [u16]) {
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let mut halves = [0; LANES];
        l.store_f16(l.load_tail(x, 0.0), &mut halves);
        out.copy_from_slice(&halves[..out.len()]);
    }
}

/// Rounds to what binary16 holds.
#[inline(always)]
pub(crate) fn round_f16<L: Simd>(l: L, x: &mut [f32]) {
    for x in x.chunks_mut(LANES) {
        let mut halves = [0; LANES];
        l.store_f16(l.load_tail(x, 0.0), &mut halves);
        x.copy_from_slice(&l.to_array(l.load_f16(&halves))[..x.len()]);
    }
}
