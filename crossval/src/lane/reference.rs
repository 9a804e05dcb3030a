//! The references, and what each of them is called where.

use bitnet_engine::CacheType;

/// A reference implementation that the engine is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// bitnet.cpp: I2_S; architectures `llama`, `bitnet`.
    BitnetCpp,
    /// llama.cpp: TQ1_0, TQ2_0, F16; architectures `llama`, `bitnet`.
    LlamaCpp,
    /// Hugging Face transformers: I2_S; architecture `bitnet-b1.58`.
    Transformers,
}

impl Lane {
    /// Every lane, in the order in which they are reported.
    pub const ALL: [Self; 3] = [Self::BitnetCpp, Self::LlamaCpp, Self::Transformers];

    /// The lanes around C++ references: those that a command is about where nothing else is said.
    pub const CPP: [Self; 2] = [Self::BitnetCpp, Self::LlamaCpp];

    /// The folder of the lane's program, and what the program calls itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet-cpp",
            Self::LlamaCpp => "llama-cpp",
            Self::Transformers => "transformers",
        }
    }

    /// The reference as people write it.
    pub const fn reference(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet.cpp",
            Self::LlamaCpp => "llama.cpp",
            Self::Transformers => "transformers",
        }
    }

    /// The reference as headings write it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BitnetCpp => "BitNet.cpp",
            Self::LlamaCpp => "llama.cpp",
            Self::Transformers => "Hugging Face transformers",
        }
    }

    /// The short name in receipts and file names.
    pub const fn backend(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet",
            Self::LlamaCpp => "llama",
            Self::Transformers => "transformers",
        }
    }

    /// The environment variable that names an installation to use in place of the pinned source,
    /// where the reference is a C++ library.
    pub const fn directory_variable(self) -> Option<&'static str> {
        match self {
            Self::BitnetCpp => Some("BITNET_CPP_DIR"),
            Self::LlamaCpp => Some("LLAMA_CPP_DIR"),
            Self::Transformers => None,
        }
    }

    /// How the reference keeps keys and values unless told otherwise.
    pub const fn cache_type(self) -> CacheType {
        match self {
            Self::BitnetCpp | Self::LlamaCpp => CacheType::F16,
            Self::Transformers => CacheType::F32,
        }
    }
}
