//! Weight formats: what a tensor's bytes mean.
//!
//! Each format has a file of its own that draws its block, packs and unpacks it plainly, and says
//! in a [`Descriptor`] all that others ask of it; [`Format`] is the table of them. Speed is the
//! backends' business.

mod descriptor;
mod encoding;
mod matrix;
mod rows;
mod storage;

pub mod i2_s;
pub mod k_groups;
pub mod plain;
pub mod ptq1_0;
pub mod q1_0;
pub mod q2_0;
pub mod q4_0;
pub mod q4_k;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod tq1_0;
pub mod tq2_0;

use std::fmt;

pub use descriptor::{Descriptor, FindWeight, Product, Reduction, Split, Trailer, Unpack, Values};
pub use encoding::{EncodedRow, Encoding, Q8_0_BLOCK, Q8K_BLOCK};
pub use matrix::{InvalidCode, Matrix, MatrixError};
pub use storage::Storage;

/// The table of formats: a name, ggml's type id and a [`Descriptor`] each, in the order of ids.
macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident = $id:literal: $descriptor:path;)+) => {
        /// A tensor encoding that this project computes with. The numbers are ggml's type ids.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Format {
            $($(#[$doc])* $name = $id,)+
        }

        impl Format {
            /// Every format, in the order of their ids.
            pub const ALL: [Format; [$($id),+].len()] = [$(Format::$name),+];

            /// What the format is.
            pub const fn descriptor(self) -> &'static Descriptor {
                match self {
                    $(Format::$name => &$descriptor,)+
                }
            }
        }
    };
}

formats! {
    /// IEEE binary32.
    F32 = 0: plain::F32;
    /// IEEE binary16.
    F16 = 1: plain::F16;
    /// 32 weights of 4 bits and one f16 scale.
    Q4_0 = 2: q4_0::DESCRIPTOR;
    /// 32 signed bytes and one f16 scale.
    Q8_0 = 8: q8_0::DESCRIPTOR;
    /// 256 weights of 4 bits, scales and minima of 6 bits for each 32, and two f16 scales for
    /// those.
    Q4K = 12: q4_k::DESCRIPTOR;
    /// 256 weights of 5 bits, scales and minima as in [`Format::Q4K`].
    Q5K = 13: q5_k::DESCRIPTOR;
    /// 256 weights of 6 bits, sixteen 8-bit sub-scales and one f16 scale.
    Q6K = 14: q6_k::DESCRIPTOR;
    /// bfloat16.
    BF16 = 30: plain::BF16;
    /// Ternary, five trits to a byte, one f16 scale per 256 weights.
    TQ1_0 = 34: tq1_0::DESCRIPTOR;
    /// Ternary, two bits a weight, one f16 scale per 256 weights.
    TQ2_0 = 35: tq2_0::DESCRIPTOR;
    /// Ternary, two bits a weight in groups of 128, one f32 scale for the tensor.
    I2S = 36: i2_s::DESCRIPTOR;
    /// Signs of 128 weights and one f16 scale.
    Q1_0 = 41: q1_0::DESCRIPTOR;
    /// Ternary and a fourth code, two bits a weight, one f16 scale per 64 weights.
    Q2_0 = 42: q2_0::Q2_0;
    /// The same with a scale per 128 weights.
    PQ2_0 = 142: q2_0::PQ2_0;
    /// Ternary, five trits to a byte, one f16 scale per 128 weights.
    PTQ1_0 = 143: ptq1_0::DESCRIPTOR;
}

/// Weights in the longest block of all formats.
pub const MAX_BLOCK_LEN: usize = {
    let (mut longest, mut i) = (0, 0);
    while i < Format::ALL.len() {
        let len = Format::ALL[i].block_len();
        longest = if len > longest { len } else { longest };
        i += 1;
    }
    longest
};

impl Format {
    /// The format with this ggml type id, if this project computes with it.
    pub fn from_ggml(id: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|format| *format as u32 == id)
    }

    /// The name that ggml gives the type, in upper case.
    pub const fn name(self) -> &'static str {
        self.descriptor().name
    }

    /// Weights in a block. A row's length must be a multiple of it.
    pub const fn block_len(self) -> usize {
        self.descriptor().block_len
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.descriptor().block_bytes
    }

    /// How weights lie on a device that runs shaders, if one reads them.
    pub const fn storage(self) -> Option<Storage> {
        self.descriptor().storage
    }

    /// Bytes of one row of `cols` weights, or `None` when `cols` is no multiple of the block.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Bytes of a matrix of `rows` by `cols`, the trailer included.
    pub const fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        let Some(row) = self.row_bytes(cols) else {
            return None;
        };
        let Some(bytes) = row.checked_mul(rows) else {
            return None;
        };
        match &self.descriptor().trailer {
            Some(trailer) => bytes.checked_add(trailer.bytes),
            None => Some(bytes),
        }
    }

    /// Splits a tensor's bytes into its rows and the scale of all its weights, which is 1 where
    /// the format keeps none. `None` if they are too short for it.
    pub fn split(self, tensor: &[u8]) -> Option<(&[u8], f32)> {
        match &self.descriptor().trailer {
            Some(trailer) => (trailer.split)(tensor),
            None => Some((tensor, 1.0)),
        }
    }

    /// Whether rows can be multiplied with activations. Rows of the others can only be read: such a
    /// format serves as an embedding.
    pub const fn can_multiply(self) -> bool {
        self.descriptor().product.is_some()
    }

    /// The encoding of the activations that this format is multiplied with; `F32` where it
    /// [cannot be](Format::can_multiply).
    pub const fn encoding(self) -> Encoding {
        match &self.descriptor().product {
            Some(product) => product.encoding,
            None => Encoding::F32,
        }
    }

    /// Whether a model whose matrices have this format rounds its softmax weights to f16.
    pub const fn rounds_softmax_weights(self) -> bool {
        match &self.descriptor().product {
            Some(product) => product.rounds_softmax_weights,
            None => false,
        }
    }

    /// How a block is read as integers and their one scale, where the format's products are sums
    /// of such blocks. Where it has minima, they are still to be taken off.
    pub const fn unpack(self) -> Option<Unpack> {
        match &self.descriptor().product {
            Some(Product {
                reduction: Reduction::Blocks { unpack, .. } | Reduction::BlockLanes { unpack },
                ..
            }) => Some(*unpack),
            _ => None,
        }
    }

    /// Whether every weight is -1, 0 or 1 times a scale.
    pub const fn is_ternary(self) -> bool {
        matches!(self.descriptor().values, Values::Trits { .. })
    }

    /// Decodes a row of weights, without the tensor's scale where the format keeps one.
    ///
    /// `bytes` holds at least the row, `out.len()` is its length in weights.
    ///
    /// # Panics
    /// If `bytes` is shorter, or the row holds no whole blocks.
    pub fn dequantize_row(self, bytes: &[u8], out: &mut [f32]) {
        (self.descriptor().dequantize)(self.only_row(bytes, out.len()), out);
    }

    /// Reads a row of ternary weights as -1, 0 and 1.
    ///
    /// `bytes` holds at least the row, `out.len()` is its length in weights.
    ///
    /// # Panics
    /// If the format is not ternary, `bytes` is shorter, or the row holds no whole blocks.
    pub fn unpack_row(self, bytes: &[u8], out: &mut [i8]) {
        match self.descriptor().values {
            Values::Trits { unpack, .. } => unpack(self.only_row(bytes, out.len()), out),
            Values::Floats { .. } => panic!("{self} is not ternary"),
        }
    }

    /// Appends a row of -1, 0 and 1 times `scale`, exactly for a ternary format, rounded for
    /// another. The tensor's scale, where the format keeps one, is [`Format::pack_trailer`]'s.
    ///
    /// # Panics
    /// If `trits` are not whole blocks.
    pub fn pack_trits(self, trits: &[i8], scale: f32, out: &mut Vec<u8>) {
        match self.descriptor().values {
            Values::Trits { pack, .. } => pack(trits, scale, out),
            Values::Floats { pack } => {
                let weights: Vec<f32> = trits.iter().map(|t| scale * f32::from(*t)).collect();
                pack(&weights, out);
            }
        }
    }

    /// Appends a row of any numbers, rounded to what the format holds.
    ///
    /// # Panics
    /// If the format is ternary or `weights` are not whole blocks.
    pub fn pack_row(self, weights: &[f32], out: &mut Vec<u8>) {
        match self.descriptor().values {
            Values::Floats { pack } => pack(weights, out),
            Values::Trits { .. } => panic!("{self} holds -1, 0 and 1 alone"),
        }
    }

    /// Appends what follows the last row of a tensor with this scale; nothing for most formats.
    pub fn pack_trailer(self, scale: f32, out: &mut Vec<u8>) {
        if let Some(trailer) = &self.descriptor().trailer {
            (trailer.pack)(scale, out);
        }
    }

    fn only_row(self, bytes: &[u8], cols: usize) -> &[u8] {
        match self.row_bytes(cols) {
            Some(len) => &bytes[..len],
            None => panic!("{cols} weights are no whole blocks of {self}"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_and_each_finds_its_format() {
        assert!(Format::ALL.is_sorted());
        for format in Format::ALL {
            assert_eq!(Format::from_ggml(format as u32), Some(format));
        }
        assert_eq!(Format::from_ggml(4000), None);
    }

    #[test]
    fn blocks_of_weights_and_of_activations_fit_each_other() {
        for format in Format::ALL {
            let Some(product) = &format.descriptor().product else {
                continue;
            };
            let weights = format.block_len();
            let activations = product.encoding.block_len(weights);
            match product.reduction {
                Reduction::Floats => assert_eq!(product.encoding, Encoding::F32, "{format}"),
                Reduction::Tensor => {
                    assert_eq!(product.encoding, Encoding::I8, "{format}");
                    assert!(format.descriptor().trailer.is_some() && format.is_ternary());
                }
                Reduction::Blocks { .. } => {
                    assert!(matches!(product.encoding, Encoding::Q8K | Encoding::Q8_0));
                    let activations = activations.expect("these have scales");
                    assert!(
                        weights.is_multiple_of(activations) || activations.is_multiple_of(weights),
                        "{format}"
                    );
                }
                Reduction::BlockLanes { .. } => {
                    assert_eq!((weights, activations), (Q8_0_BLOCK, Some(Q8_0_BLOCK)));
                }
            }
        }
    }

    /// A device keeps what [`Format::unpack`] gives in a byte, two bits or a trit.
    #[test]
    fn integers_fit_what_a_device_keeps_them_in() {
        for format in Format::ALL {
            let (fits, kept) = match format.storage() {
                Some(Storage::ScaledTrits) => (-1..=1, "trits"),
                Some(Storage::Codes) => (-1..=2, "codes"),
                Some(Storage::Bytes) => (-128..=127, "bytes"),
                _ => continue,
            };
            let unpack = format.unpack().expect("such a format has integers");
            let mut block = vec![0; format.block_len()];
            for byte in 0..=u8::MAX {
                let mut bytes = vec![byte; format.block_bytes()];
                let whole = &mut bytes[..];
                if format
                    .descriptor()
                    .find_invalid_code
                    .is_some_and(|find| find(whole).is_some())
                {
                    continue;
                }
                unpack(whole, &mut block);
                assert!(block.iter().all(|q| fits.contains(q)), "{format} as {kept}");
            }
        }
    }

    /// What a block is as integers and what it is as floats must agree: the first is multiplied,
    /// the second embedded.
    #[test]
    fn integers_times_their_scale_are_the_decoded_weights() {
        for format in Format::ALL {
            let Some(product) = &format.descriptor().product else {
                continue;
            };
            let (unpack, minima) = match product.reduction {
                Reduction::Blocks { unpack, minima } => (unpack, minima),
                Reduction::BlockLanes { unpack } => (unpack, None),
                Reduction::Floats | Reduction::Tensor => continue,
            };
            let len = format.block_len();
            let trits: Vec<i8> = (0..len).map(|i| ((i * i + i / 7) % 3) as i8 - 1).collect();
            let mut bytes = Vec::new();
            format.pack_trits(&trits, 0.75, &mut bytes);
            let (mut integers, mut floats) = (vec![0; len], vec![f32::NAN; len]);
            let scale = unpack(&bytes, &mut integers);
            let mut taken_off = vec![0; len];
            let minimum_scale = minima.map_or(0.0, |unpack| unpack(&bytes, &mut taken_off));
            format.dequantize_row(&bytes, &mut floats);
            for ((integer, minimum), float) in integers.iter().zip(taken_off).zip(&floats) {
                let weight = scale * f32::from(*integer) - minimum_scale * f32::from(minimum);
                assert_eq!(weight, *float, "{format}");
            }
        }
    }
}
