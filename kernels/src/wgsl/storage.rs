//! What shaders do with weights, by how they lie.

use crate::format::Storage;

impl Storage {
    /// The flag in the sources that selects it.
    pub(super) const fn flag(self) -> &'static str {
        match self {
            Storage::Floats => "FLOATS",
            Storage::Trits => "TRITS",
            Storage::ScaledTrits => "SCALED_TRITS",
            Storage::Codes => "CODES",
            Storage::Bytes => "BYTES",
            Storage::SubScaledBytes => "SUB_SCALED_BYTES",
            Storage::BytesWithMinima => "BYTES_WITH_MINIMA",
        }
    }

    /// Whether products run over tiles of tokens where there are many.
    pub const fn has_gemm(self) -> bool {
        matches!(self, Storage::Trits | Storage::ScaledTrits)
    }

    /// Whether rows can be looked up.
    pub const fn embeds(self) -> bool {
        !matches!(self, Storage::Trits | Storage::ScaledTrits)
    }
}
