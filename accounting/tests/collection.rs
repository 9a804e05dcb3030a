//! The built-in encodings and LLaMA-3's against tiktoken, over collections that environment
//! variables name.

mod rows;

use bitnet_accounting::Encoding;
use bitnet_fixtures::DataTest;
use bitnet_tokenizers::Tokenizer;
use rows::{check, corpus};

/// Names the folder with tiktoken.jsonl.
const TOKENS: &str = "BITNET_TEST_TOKENS";
/// Names the folder with LLaMA-3's tokenizer.model.
const LLAMA3: &str = "BITNET_TEST_LLAMA3";

fn collection() -> Vec<rows::Row> {
    let rows = rows::rows(&DataTest::data(TOKENS).join("tiktoken.jsonl"));
    assert!(rows.len() >= 448);
    rows
}

fn ids_of_the_collection_are_those_of_tiktoken() {
    for encoding in [Encoding::Cl100kBase, Encoding::O200kBase] {
        check(encoding.tokenizer(), encoding.name(), &collection());
    }
}

fn ids_of_llama3_are_those_of_tiktoken() {
    let model = DataTest::data(LLAMA3).join("tokenizer.model");
    let llama3 = Tokenizer::from_file(&model).expect("LLaMA-3");
    check(&llama3, "llama3", &collection());
    check(&llama3, "llama3", &corpus());
}

fn main() {
    bitnet_fixtures::data_tests! {
        ids_of_the_collection_are_those_of_tiktoken: TOKENS;
        ids_of_llama3_are_those_of_tiktoken: TOKENS, LLAMA3;
    }
}
