//! The tokens of AVX-512, and their tables of kernels.

use crate::isa::table::{Kernels, kernels};

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI, and AVX2, FMA and F16C; VBMI where `VBMI`
/// is set; and tiles of bytes, which this process may use, where `AMX` is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512<const VBMI: bool, const AMX: bool>(());

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && (!VBMI || is_x86_feature_detected!("avx512vbmi"))
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && (!AMX || super::tiles::permitted());
        found.then_some(Avx512(()))
    }
}

impl Avx512<false, false> {
    /// The kernels of AVX-512 with VNNI.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "avx512",
            Avx512::<false, false>(()),
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        );
        &KERNELS
    }
}

impl Avx512<true, false> {
    /// The kernels of AVX-512 with VNNI and VBMI.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "avx512vbmi",
            Avx512::<true, false>(()),
            #[target_feature(
                enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c"
            )]
        );
        &KERNELS
    }
}

impl Avx512<true, true> {
    /// The kernels of AVX-512 with VNNI, VBMI and AMX.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "amx",
            Avx512::<true, true>(()),
            #[target_feature(
                enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c"
            )]
        );
        &KERNELS
    }
}
