//! The references, and what each of them is called where.

/// A C++ reference that the engine is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// bitnet.cpp: I2_S.
    BitnetCpp,
    /// llama.cpp: TQ1_0, TQ2_0, F16.
    LlamaCpp,
}

impl Lane {
    /// Both lanes, in the order in which they are reported.
    pub const ALL: [Self; 2] = [Self::BitnetCpp, Self::LlamaCpp];

    /// The folder of the lane's program, and what the program calls itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet-cpp",
            Self::LlamaCpp => "llama-cpp",
        }
    }

    /// The reference as people write it.
    pub const fn reference(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet.cpp",
            Self::LlamaCpp => "llama.cpp",
        }
    }

    /// The reference as headings write it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BitnetCpp => "BitNet.cpp",
            Self::LlamaCpp => "llama.cpp",
        }
    }

    /// The short name in receipts and file names.
    pub const fn backend(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet",
            Self::LlamaCpp => "llama",
        }
    }

    /// The environment variable that names an installation to use in place of the pinned source.
    pub const fn directory_variable(self) -> &'static str {
        match self {
            Self::BitnetCpp => "BITNET_CPP_DIR",
            Self::LlamaCpp => "LLAMA_CPP_DIR",
        }
    }

    /// The package of cargo's registry that carries the reference's source.
    pub const fn source_package(self) -> &'static str {
        match self {
            Self::BitnetCpp => "bitnet-cpp-sys",
            Self::LlamaCpp => "llama-cpp-sys-2",
        }
    }

    /// The ternary format that the reference computes natively.
    pub const fn native_format(self) -> bitnet_kernels::format::Format {
        match self {
            Self::BitnetCpp => bitnet_kernels::format::Format::I2S,
            Self::LlamaCpp => bitnet_kernels::format::Format::TQ2_0,
        }
    }
}
