//! The golden models hold the same ternary weights in every encoding, written by other programs.

use std::path::Path;

use bitnet_gguf::{Gguf, TensorType};
use bitnet_kernels::format::{Format, Matrix};

fn open(name: &str) -> Gguf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    Gguf::open(folder.join(name)).unwrap()
}

fn matrix<'a>(gguf: &'a Gguf, name: &str) -> Matrix<'a> {
    let tensor = gguf.tensor(name).unwrap();
    let format = Format::from_ggml(tensor.type_id).unwrap();
    let [cols, rows] = tensor.shape[..] else {
        panic!("{name} is no matrix")
    };
    let bytes = gguf.data(tensor).unwrap();
    Matrix::new(format, rows as usize, cols as usize, bytes).unwrap()
}

#[test]
fn i2_s_tq1_0_and_tq2_0_decode_to_the_same_weights() {
    for model in ["llama", "bitnet"] {
        let i2_s = open(&format!("{model}-i2_s.gguf"));
        let tq1_0 = open(&format!("{model}-tq1_0.gguf"));
        let tq2_0 = open(&format!("{model}-tq2_0.gguf"));
        let mut matrices = 0;
        for tensor in i2_s.tensors() {
            if Format::from_ggml(tensor.type_id) != Some(Format::I2S) {
                continue;
            }
            matrices += 1;
            let name = &tensor.name;
            let [a, b, c] = [&i2_s, &tq1_0, &tq2_0].map(|gguf| matrix(gguf, name));
            for row in 0..a.rows() {
                let [mut codes, mut tq1, mut tq2] = [(); 3].map(|()| vec![9; a.cols()]);
                a.unpack_row(row, &mut codes);
                b.unpack_row(row, &mut tq1);
                c.unpack_row(row, &mut tq2);
                assert!(codes.iter().all(|w| (-1..=1).contains(w)), "{model} {name}");
                assert_eq!(codes, tq1, "{model} {name} row {row}");
                assert_eq!(codes, tq2, "{model} {name} row {row}");

                // The scale is f32 in one and f16 in the others.
                let [mut exact, mut halved] = [(); 2].map(|()| vec![f32::NAN; a.cols()]);
                a.dequantize_row(row, &mut exact);
                b.dequantize_row(row, &mut halved);
                let rounded = |w: &f32| half::f16::from_f32(*w).to_f32();
                assert!(exact.iter().map(rounded).eq(halved.iter().copied()));
                c.dequantize_row(row, &mut exact);
                assert_eq!(exact, halved, "{model} {name} row {row}");
            }
            assert!(
                [a, b, c]
                    .iter()
                    .all(|matrix| matrix.find_invalid_code().is_none())
            );
        }
        assert_eq!(matrices, 3 * 7, "{model} has seven matrices in each layer");
    }
}

#[test]
fn packing_golden_weights_gives_the_golden_bytes() {
    let name = "blk.1.ffn_gate.weight";
    for file in ["bitnet-i2_s.gguf", "bitnet-tq1_0.gguf", "bitnet-tq2_0.gguf"] {
        let gguf = open(file);
        let matrix = matrix(&gguf, name);
        for row in 0..matrix.rows() {
            let (mut codes, mut weights) = (vec![9; matrix.cols()], vec![0.0; matrix.cols()]);
            matrix.unpack_row(row, &mut codes);
            matrix.dequantize_row(row, &mut weights);
            let scale = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
            let mut packed = Vec::new();
            matrix.format().pack_trits(&codes, scale, &mut packed);
            assert!(packed == matrix.row(row), "{file} row {row}");
        }
    }
}

#[test]
fn sizes_are_those_that_files_are_checked_with() {
    for format in Format::ALL {
        let known = TensorType::from_id(format as u32).unwrap();
        assert_eq!(known.name, format.name());
        let (rows, cols) = (3, 2 * format.block_len());
        let bytes = known
            .block
            .unwrap()
            .tensor_bytes((rows * cols) as u64, cols as u64);
        let ours = format.matrix_bytes(rows, cols).unwrap();
        assert_eq!(bytes, Some(ours as u64), "{format}");
    }
}
