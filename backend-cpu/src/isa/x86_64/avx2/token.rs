//! The tokens of AVX2 and AVX-VNNI, and their tables of kernels.

use crate::isa::table::{Kernels, kernels};

/// Proof that the CPU has AVX2, FMA and F16C, and AVX-VNNI where `VNNI` is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && (!VNNI || is_x86_feature_detected!("avxvnni"));
        found.then_some(Avx2(()))
    }
}

impl Avx2<false> {
    /// The kernels of AVX2.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "avx2",
            Avx2::<false>(()),
            #[target_feature(enable = "avx2,fma,f16c")]
        );
        &KERNELS
    }
}

impl Avx2<true> {
    /// The kernels of AVX-VNNI.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "avxvnni",
            Avx2::<true>(()),
            #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        );
        &KERNELS
    }
}
