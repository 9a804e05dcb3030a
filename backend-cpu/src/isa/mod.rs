//! Instruction sets: which there are, which this CPU has, which one to use.
//!
//! An instruction set is a token type whose only constructor checks the CPU; against the token it
//! hands out its [`table::Kernels`].

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod scalar;
pub(crate) mod table;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::fmt;

use scalar::Scalar;
use table::Kernels;

/// An instruction set with kernels of its own, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, for any CPU.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// AVX2 with AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 (F, BW, DQ, VL) and VNNI.
    Avx512,
    /// AVX-512 with VNNI and VBMI.
    Avx512Vbmi,
    /// AVX-512 with VNNI and VBMI, and AMX with tiles of bytes.
    Amx,
    /// AArch64 with NEON.
    Neon,
    /// AArch64 with NEON and `sdot`.
    Dotprod,
    /// AArch64 with NEON, `sdot` and `smmla`.
    I8mm,
}

/// An instruction set that was asked for but cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IsaError {
    /// No such name.
    #[error("unknown instruction set `{0}`; known are {names}", names = names(Isa::ALL))]
    Unknown(String),
    /// This CPU, or this build, lacks it.
    #[error("this CPU has no {0}; it has {names}", names = names(&Isa::available()))]
    Missing(Isa),
}

fn names(isas: &[Isa]) -> String {
    isas.iter()
        .map(|isa| isa.name())
        .collect::<Vec<_>>()
        .join(", ")
}

impl Isa {
    /// All of them, slowest first.
    pub const ALL: &'static [Isa] = &[
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Vbmi,
        Isa::Amx,
        Isa::Neon,
        Isa::Dotprod,
        Isa::I8mm,
    ];

    /// The name in `BITNET_ISA`, in kernel names and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vbmi => "avx512vbmi",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    /// Those that this CPU has, slowest first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL
            .iter()
            .copied()
            .filter(|isa| isa.kernels().is_some())
            .collect()
    }

    /// The fastest that this CPU has.
    pub fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Scalar)
    }

    /// The one with this name, if this CPU has it.
    ///
    /// # Errors
    /// There is none of this name, or this CPU lacks it.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        let found = Isa::ALL
            .iter()
            .copied()
            .find(|isa| isa.name() == name.to_ascii_lowercase());
        let isa = found.ok_or_else(|| IsaError::Unknown(name.to_owned()))?;
        if isa.kernels().is_some() {
            Ok(isa)
        } else {
            Err(IsaError::Missing(isa))
        }
    }

    /// The dispatch table: one line per instruction set.
    pub(crate) fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Isa::Scalar => Some(Scalar.kernels()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86_64::avx2::token::Avx2::<false>::new().map(|token| token.kernels()),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => x86_64::avx2::token::Avx2::<true>::new().map(|token| token.kernels()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                x86_64::avx512::token::Avx512::<false, false>::new().map(|token| token.kernels())
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vbmi => {
                x86_64::avx512::token::Avx512::<true, false>::new().map(|token| token.kernels())
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => {
                x86_64::avx512::token::Avx512::<true, true>::new().map(|token| token.kernels())
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512 | Isa::Avx512Vbmi | Isa::Amx => None,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => aarch64::neon::Neon::new().map(|token| token.kernels()),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => aarch64::dotprod::Dotprod::new().map(|token| token.kernels()),
            #[cfg(target_arch = "aarch64")]
            Isa::I8mm => aarch64::i8mm::I8mm::new().map(|token| token.kernels()),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon | Isa::Dotprod | Isa::I8mm => None,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
