//! Conversations become the tokens that the references give.

use std::fs;
use std::path::{Path, PathBuf};

use bitnet_engine::chat_templates::{Conversation, Family, Json};
use bitnet_engine::{ModelTemplate, Tokenizer};
use libtest_mimic::{Arguments, Trial};

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

fn families_of_the_llama3_vocabulary_give_the_ids_of_the_reference(llama3: &Path) {
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

/// Without the vocabulary the test is counted as ignored, which the harness of the compiler cannot
/// do.
fn main() {
    let llama3 = std::env::var_os("BITNET_TEST_LLAMA3").map(PathBuf::from);
    if llama3.is_none() {
        eprintln!("NOT RUN: set BITNET_TEST_LLAMA3 to the folder with tokenizer.model");
    }
    let missing = llama3.is_none();
    let test = move || {
        families_of_the_llama3_vocabulary_give_the_ids_of_the_reference(
            &llama3.unwrap_or_default(),
        );
        Ok(())
    };
    let name = "families_of_the_llama3_vocabulary_give_the_ids_of_the_reference";
    let trial = Trial::test(name, test).with_ignored_flag(missing);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}
