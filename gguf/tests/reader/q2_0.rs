//! Type 42 was written with blocks of 128 weights before it was settled at 64: the sizes tell.

use crate::specimen::Raw;
use bitnet_gguf::tensor_type::{PQ2_0, Q2_0};
use bitnet_gguf::{Error, Gguf};

/// Bytes of 64 rows of 128 weights in blocks of 64, and in blocks of 128.
const OF_64: usize = 2304;
const OF_128: usize = 2176;

/// Two matrices of that shape and a small one, with as many bytes of room.
fn file(first: usize, second: usize, third: usize) -> Result<Gguf, Error> {
    Raw::header(3, 0)
        .tensor("a", &[128, 64], Q2_0, 0)
        .tensor("b", &[128, 64], Q2_0, first as u64)
        .tensor("c", &[128, 1], Q2_0, (first + second) as u64)
        .data(first + second + third)
        .open()
}

#[test]
fn sizes_tell_the_two_layouts_apart() {
    for (bytes, id, of_128) in [(OF_64, Q2_0, 36), (OF_128, PQ2_0, 34)] {
        // The smallest tensor could be of either; it is what the others are.
        let gguf = file(bytes, bytes, 64).expect("it opens");
        for tensor in gguf.tensors() {
            assert_eq!(tensor.type_id, id, "{}", tensor.name);
        }
        let lengths: Vec<u64> = gguf.tensors().iter().filter_map(|t| t.bytes).collect();
        assert_eq!(lengths, [bytes as u64, bytes as u64, of_128]);
    }
}

#[test]
fn rows_of_64_are_of_one_layout() {
    let file = Raw::header(1, 0).tensor("a", &[64, 1], Q2_0, 0);
    let gguf = file.data(4096).open().expect("it opens");
    assert_eq!(gguf.tensors()[0].type_id, Q2_0);
}

#[test]
fn layouts_that_are_mixed_are_refused_by_name() {
    let error = file(OF_64, OF_128, 64).expect_err("damaged");
    assert_eq!(
        error.to_string(),
        "tensors of type 42 (Q2_0) are of different blocks by their sizes: `b` of 128 weights, `a` \
         of others; the file is damaged or put together from different ones"
    );
}

#[test]
fn a_file_that_does_not_tell_is_refused_by_name() {
    for (shape, data) in [([128, 1], 64), ([128, 64], 4096)] {
        let file = Raw::header(1, 0).tensor("a", &shape, Q2_0, 0).data(data);
        let error = file.open().expect_err("it could be either").to_string();
        let start = "tensor `a` of type 42 (Q2_0) has room for";
        assert!(error.starts_with(start), "{error}");
    }
}
