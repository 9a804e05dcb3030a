//! The tensor types of ggml and its forks: ids, names and sizes, not what the bytes mean.

/// A tensor type: its id in the file, its name, and the size of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorType {
    /// The id in the file.
    pub id: u32,
    /// The name ggml gives it, in upper case. Where forks use one id for different types, all of
    /// their names.
    pub name: &'static str,
    /// How many bytes it takes, or `None` where the id alone does not say.
    pub block: Option<Block>,
}

/// The size of a tensor type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Weights in a block. A row holds whole blocks.
    pub len: u64,
    /// Bytes of a block.
    pub bytes: u64,
    /// Bytes that follow all blocks of the tensor.
    pub trailer: u64,
}

/// IEEE binary32.
pub const F32: u32 = 0;
/// IEEE binary16.
pub const F16: u32 = 1;
/// 32 weights of 4 bits and one f16 scale.
pub const Q4_0: u32 = 2;
/// 32 signed bytes and one f16 scale.
pub const Q8_0: u32 = 8;
/// 256 weights of 6 bits with sub-scales.
pub const Q6_K: u32 = 14;
/// bfloat16.
pub const BF16: u32 = 30;
/// Ternary, 1.6875 bits a weight.
pub const TQ1_0: u32 = 34;
/// Ternary, 2.0625 bits a weight.
pub const TQ2_0: u32 = 35;
/// Ternary, 2 bits a weight and one scale for the tensor (bitnet.cpp).
pub const I2_S: u32 = 36;
/// Signs, 1.125 bits a weight.
pub const Q1_0: u32 = 41;
/// Ternary and a fourth code, 2.25 bits a weight.
pub const Q2_0: u32 = 42;
/// The same with a scale per 128 weights, 2.125 bits a weight (PrismML's fork of llama.cpp).
pub const PQ2_0: u32 = 142;
/// Ternary, 1.75 bits a weight (PrismML's fork of llama.cpp).
pub const PTQ1_0: u32 = 143;

const fn sized(id: u32, name: &'static str, len: u64, bytes: u64) -> TensorType {
    let block = Block {
        len,
        bytes,
        trailer: 0,
    };
    TensorType {
        id,
        name,
        block: Some(block),
    }
}

const fn unsized_type(id: u32, name: &'static str) -> TensorType {
    TensorType {
        id,
        name,
        block: None,
    }
}

/// Every type known here, in ascending order of id.
///
/// Ids 36 to 39 were given to different types by llama.cpp and bitnet.cpp. For 36 the older
/// llama.cpp type was withdrawn before files with it spread, so I2_S is meant. The others cannot be
/// told apart. From 97 on they are ik_llama.cpp's, but for 142 and 143.
pub const ALL: &[TensorType] = &[
    sized(F32, "F32", 1, 4),
    sized(F16, "F16", 1, 2),
    sized(Q4_0, "Q4_0", 32, 18),
    sized(3, "Q4_1", 32, 20),
    unsized_type(4, "Q4_2"),
    unsized_type(5, "Q4_3"),
    sized(6, "Q5_0", 32, 22),
    sized(7, "Q5_1", 32, 24),
    sized(Q8_0, "Q8_0", 32, 34),
    sized(9, "Q8_1", 32, 36),
    sized(10, "Q2_K", 256, 84),
    sized(11, "Q3_K", 256, 110),
    sized(12, "Q4_K", 256, 144),
    sized(13, "Q5_K", 256, 176),
    sized(Q6_K, "Q6_K", 256, 210),
    sized(15, "Q8_K", 256, 292),
    sized(16, "IQ2_XXS", 256, 66),
    sized(17, "IQ2_XS", 256, 74),
    sized(18, "IQ3_XXS", 256, 98),
    sized(19, "IQ1_S", 256, 50),
    sized(20, "IQ4_NL", 32, 18),
    sized(21, "IQ3_S", 256, 110),
    sized(22, "IQ2_S", 256, 82),
    sized(23, "IQ4_XS", 256, 136),
    sized(24, "I8", 1, 1),
    sized(25, "I16", 1, 2),
    sized(26, "I32", 1, 4),
    sized(27, "I64", 1, 8),
    sized(28, "F64", 1, 8),
    sized(29, "IQ1_M", 256, 56),
    sized(BF16, "BF16", 1, 2),
    sized(31, "Q4_0_4_4", 32, 18),
    sized(32, "Q4_0_4_8", 32, 18),
    sized(33, "Q4_0_8_8", 32, 18),
    sized(TQ1_0, "TQ1_0", 256, 54),
    sized(TQ2_0, "TQ2_0", 256, 66),
    TensorType {
        id: I2_S,
        name: "I2_S",
        block: Some(Block {
            len: 128,
            bytes: 32,
            trailer: 32,
        }),
    },
    unsized_type(37, "I8_S or IQ4_NL_4_8"),
    unsized_type(38, "TL1 or IQ4_NL_8_8"),
    unsized_type(39, "MXFP4 or TL2"),
    sized(40, "NVFP4", 64, 36),
    sized(Q1_0, "Q1_0", 128, 18),
    sized(Q2_0, "Q2_0", 64, 18),
    sized(43, "STQ1_0", 256, 42),
    unsized_type(97, "Q8_0_X4"),
    unsized_type(98, "Q8_1_X4"),
    unsized_type(99, "Q8_2_X4"),
    unsized_type(133, "Q6_0"),
    unsized_type(134, "IQ1_BN"),
    unsized_type(135, "IQ2_BN"),
    unsized_type(136, "Q8_K64"),
    unsized_type(137, "IQ2_K"),
    unsized_type(138, "IQ3_K"),
    unsized_type(139, "IQ4_K"),
    unsized_type(140, "IQ5_K"),
    unsized_type(141, "IQ6_K"),
    sized(PQ2_0, "PQ2_0", 128, 34),
    sized(PTQ1_0, "PTQ1_0", 128, 28),
    unsized_type(144, "IQ4_KS"),
    unsized_type(145, "IQ2_KS"),
    unsized_type(146, "IQ4_KSS"),
    unsized_type(147, "Q8_K16"),
    unsized_type(148, "Q8_K32"),
    unsized_type(149, "Q8_KR8"),
    unsized_type(150, "Q8_K128"),
    unsized_type(151, "Q8_KV"),
    unsized_type(152, "IQ5_KS"),
    unsized_type(153, "IQ2_KT"),
    unsized_type(154, "IQ3_KT"),
    unsized_type(155, "IQ4_KT"),
    unsized_type(156, "IQ3_KS"),
    unsized_type(157, "IQ2_KL"),
    unsized_type(158, "IQ1_KT"),
    unsized_type(202, "Q4_0_R8"),
    unsized_type(206, "Q5_0_R4"),
    unsized_type(208, "Q8_0_R8"),
    unsized_type(210, "Q2_K_R4"),
    unsized_type(211, "Q3_K_R4"),
    unsized_type(212, "Q4_K_R4"),
    unsized_type(213, "Q5_K_R4"),
    unsized_type(214, "Q6_K_R4"),
    unsized_type(216, "IQ2_XXS_R4"),
    unsized_type(217, "IQ2_XS_R4"),
    unsized_type(218, "IQ3_XXS_R4"),
    unsized_type(219, "IQ1_S_R4"),
    unsized_type(220, "IQ4_NL_R4"),
    unsized_type(221, "IQ3_S_R4"),
    unsized_type(222, "IQ2_S_R4"),
    unsized_type(223, "IQ4_XS_R8"),
    unsized_type(229, "IQ1_M_R4"),
    unsized_type(230, "BF16_R16"),
    unsized_type(233, "Q6_0_R4"),
    unsized_type(335, "IQ2_BN_R4"),
    unsized_type(337, "IQ2_K_R4"),
    unsized_type(338, "IQ3_K_R4"),
    unsized_type(339, "IQ4_K_R4"),
    unsized_type(340, "IQ5_K_R4"),
    unsized_type(344, "IQ4_KS_R4"),
    unsized_type(352, "IQ5_KS_R4"),
    unsized_type(353, "MXFP4_R8"),
    unsized_type(397, "Q8_K_R16"),
    unsized_type(398, "Q8_KV_R8"),
    unsized_type(399, "Q8_K_R8"),
];

impl TensorType {
    /// The type with this id, if it is known.
    pub fn from_id(id: u32) -> Option<&'static TensorType> {
        ALL.binary_search_by_key(&id, |known| known.id)
            .ok()
            .map(|index| &ALL[index])
    }

    /// Where a type comes from that files have and few programs read, in half a sentence.
    pub fn origin(id: u32) -> Option<&'static str> {
        Some(match id {
            4 | 5 => "removed from ggml in 2023",
            31..=33 => "Q4_0 in the order of one CPU, removed from GGUF files",
            37 | 38 => "bitnet.cpp's, or removed from GGUF files",
            39 => "llama.cpp's, or bitnet.cpp's for one CPU and shape",
            43 => "proposed for llama.cpp",
            142 | 143 => "PrismML's, for models whose activations go through a Hadamard transform",
            97..=99 | 133..=399 => "ik_llama.cpp's own",
            _ => return None,
        })
    }

    /// The name of the type with this id, `unknown` where there is none.
    pub fn name_of(id: u32) -> &'static str {
        Self::from_id(id).map_or("unknown", |known| known.name)
    }
}

impl Block {
    /// Bytes of a tensor of `elements` weights in rows of `row`; `None` where rows do not hold
    /// whole blocks or the number is too large to count.
    pub fn tensor_bytes(&self, elements: u64, row: u64) -> Option<u64> {
        if !row.is_multiple_of(self.len) {
            return None;
        }
        (elements / self.len)
            .checked_mul(self.bytes)?
            .checked_add(self.trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_so_that_the_search_finds_them() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        for known in ALL {
            assert_eq!(TensorType::from_id(known.id), Some(known));
        }
        assert_eq!(TensorType::from_id(100), None);
        assert_eq!(TensorType::name_of(4000), "unknown");
    }

    #[test]
    fn every_type_that_files_were_written_with_has_its_name() {
        let names = [
            4, 5, 31, 36, 37, 38, 39, 40, 41, 42, 43, 134, 135, 142, 143, 335,
        ];
        let names: Vec<_> = names.into_iter().map(TensorType::name_of).collect();
        let wanted = "Q4_2 Q4_3 Q4_0_4_4 I2_S I8_S or IQ4_NL_4_8 TL1 or IQ4_NL_8_8 MXFP4 or TL2 \
                      NVFP4 Q1_0 Q2_0 STQ1_0 IQ1_BN IQ2_BN PQ2_0 PTQ1_0 IQ2_BN_R4";
        assert_eq!(names.join(" "), wanted);
        for id in [4, 31, 38, 43, 134, 142, 335] {
            assert!(TensorType::origin(id).is_some(), "{id}");
        }
    }

    #[test]
    fn i2_s_has_one_trailer_for_the_whole_tensor() {
        let block = TensorType::from_id(I2_S).and_then(|t| t.block).unwrap();
        assert_eq!(block.tensor_bytes(256 * 768, 768), Some(49_184));
        assert_eq!(block.tensor_bytes(64 * 2, 64), None);
    }

    #[test]
    fn a_size_that_cannot_be_counted_is_none() {
        let block = TensorType::from_id(F32).and_then(|t| t.block).unwrap();
        assert_eq!(block.tensor_bytes(u64::MAX, 1), None);
    }
}
