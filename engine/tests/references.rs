//! Conversations become the tokens that the references give, and the keys of metadata that
//! llama.cpp knows are known here, over data that environment variables name.

use std::fs;
use std::path::Path;

use bitnet_engine::chat_templates::{Conversation, Family, Json};
use bitnet_engine::{ModelTemplate, Tokenizer};
use bitnet_fixtures::DataTest;

/// Names the folder with LLaMA-3's tokenizer.model.
const LLAMA3: &str = "BITNET_TEST_LLAMA3";
/// Names llama.cpp's llama-arch.cpp.
const LLAMA_CPP_ARCH: &str = "BITNET_TEST_LLAMA_CPP_ARCH";

fn cases(family: &str) -> Vec<Json> {
    let path = format!("../chat-templates/tests/data/families/{family}.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let data = Json::parse(&fs::read_to_string(path).expect("the family's data")).expect("JSON");
    match field(&data, "cases") {
        Some(Json::List(cases)) => cases.clone(),
        _ => panic!("no cases"),
    }
}

fn field<'j>(json: &'j Json, name: &str) -> Option<&'j Json> {
    match json {
        Json::Map(map) => map.get(name),
        other => panic!("{} instead of a mapping", other.kind()),
    }
}

fn families_of_the_llama3_vocabulary_give_the_ids_of_the_reference() {
    let llama3 = DataTest::data(LLAMA3);
    let tokenizer = Tokenizer::from_file(&llama3.join("tokenizer.model")).expect("LLaMA-3");
    let mut compared = 0;
    for name in ["bitnet-2b-4t", "llama3-instruct"] {
        let family = Family::named(name).expect("a family");
        let template = ModelTemplate::of_family(family, None, &tokenizer).expect("it compiles");
        assert!(template.stops(&tokenizer).contains(&128_009), "{name}");
        for case in cases(name) {
            let Some(Json::List(ids)) = field(&case, "ids") else {
                continue;
            };
            let Some(Json::List(messages)) = field(&case, "messages") else {
                continue;
            };
            let mut conversation = Conversation::new(messages.clone());
            conversation.add_generation_prompt =
                field(&case, "add_generation_prompt") != Some(&Json::Bool(false));
            let encoded = template
                .encode(&conversation, &tokenizer)
                .expect("it renders");
            let got: Vec<Json> = encoded
                .tokens
                .iter()
                .map(|&id| Json::Int(id.into()))
                .collect();
            assert_eq!(got, *ids, "{name}: {:?}", field(&case, "name"));
            compared += 1;
        }
    }
    assert!(compared >= 15, "{compared} cases");
}

/// Against the source itself; a key that llama.cpp gains is missing in the list.
fn the_list_of_keys_is_that_of_the_lane() {
    let source = fs::read_to_string(DataTest::data(LLAMA_CPP_ARCH)).expect("llama-arch.cpp");
    let (_, table) = source.split_once("LLM_KV_NAMES = {").expect("the table");
    let (table, _) = table.split_once("};").expect("the end of the table");
    let names = table.split('"').skip(1).step_by(2);
    let listed = include_str!("data/llama_cpp_keys.txt").lines();
    let listed = listed.filter(|line| !line.starts_with('#'));
    assert_eq!(names.collect::<Vec<_>>(), listed.collect::<Vec<_>>());
}

fn main() {
    bitnet_fixtures::data_tests! {
        families_of_the_llama3_vocabulary_give_the_ids_of_the_reference: LLAMA3;
        the_list_of_keys_is_that_of_the_lane: LLAMA_CPP_ARCH;
    }
}
