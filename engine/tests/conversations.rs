//! What a model is sent: its own template, the token that begins a text once, and no control token
//! that did not come from the template.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::chat_templates::Json;
use bitnet_engine::gguf::{Array, Gguf, Value, Writer};
use bitnet_engine::{
    ChatOptions, Conversation, Device, Engine, Error, GenerateOptions, LoadOptions, Prompt,
    TemplateChoice,
};

/// Tokens of the golden model.
const VOCABULARY: usize = 512;
/// Printable ASCII, then a blank and a line break as the byte-level vocabularies spell them.
const BLANK: u32 = 94;
const BOS: u32 = 500;
const EOT: u32 = 501;
const THINK: u32 = 502;

/// What Microsoft's converter writes into files, whatever the model was trained on.
const KNOWN_WRONG: &str = "{{ 'Human: ' + messages[0].content + '\\n\\nBITNETAssistant: ' }}";

/// A golden model's file with a vocabulary of single characters and this chat template.
fn file(template: Option<&str>) -> Vec<u8> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/b158-i2_s.gguf");
    let golden = Gguf::open(golden).unwrap();
    let mut texts: Vec<String> = ('!'..='~').map(String::from).collect();
    texts.extend(["Ġ", "Ċ"].map(str::to_owned));
    texts.extend((texts.len()..VOCABULARY).map(|id| format!("unused{id}")));
    let mut types = vec![1_i32; VOCABULARY];
    for (id, text, kind) in [
        (BOS, "<|begin_of_text|>", 3),
        (EOT, "<|eot_id|>", 3),
        (THINK, "<think>", 4),
    ] {
        texts[id as usize] = text.to_owned();
        types[id as usize] = kind;
    }
    let mut writer = Writer::new();
    for (key, value) in golden.metadata().iter() {
        writer.set(key, value.clone());
    }
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", "llama-bpe");
    let texts = Array::from_strings(texts.iter().map(String::as_str));
    writer.set("tokenizer.ggml.tokens", Value::from(texts));
    writer.set(
        "tokenizer.ggml.token_type",
        Value::from(Array::from(&types[..])),
    );
    let merges = Array::from_strings(std::iter::empty());
    writer.set("tokenizer.ggml.merges", Value::from(merges));
    writer.set("tokenizer.ggml.bos_token_id", BOS);
    writer.set("tokenizer.ggml.add_bos_token", true);
    if let Some(template) = template {
        writer.set("tokenizer.chat_template", template);
    }
    for tensor in golden.tensors() {
        writer
            .tensor(&tensor.name, &tensor.shape, tensor.type_id)
            .unwrap();
    }
    let mut body = writer.begin(Vec::new()).unwrap();
    for tensor in golden.tensors() {
        body.write(&tensor.name, golden.data(tensor).unwrap())
            .unwrap();
    }
    body.finish().unwrap()
}

fn options() -> LoadOptions {
    LoadOptions::default().device(Device::Cpu).threads(1)
}

fn engine(template: Option<&str>) -> Engine {
    let file = Gguf::from_bytes(file(template)).unwrap();
    Engine::from_gguf(Arc::new(file), &options()).unwrap()
}

fn ids(text: &str) -> Vec<u32> {
    text.bytes()
        .map(|byte| match byte {
            b' ' => BLANK,
            b'\n' => BLANK + 1,
            byte => u32::from(byte - b'!'),
        })
        .collect()
}

/// The ids of texts, with a control token behind each but the last.
fn between(parts: &[&str], token: u32) -> Vec<u32> {
    let parts: Vec<Vec<u32>> = parts.iter().map(|part| ids(part)).collect();
    parts.join(&token)
}

#[test]
fn the_template_of_the_2b_model_stands_in_for_the_one_that_its_converter_wrote() {
    let engine = engine(Some(KNOWN_WRONG));
    let prompt = Prompt::from("How are you?").template(TemplateChoice::Auto);
    let prompt = engine.encode(prompt).unwrap();
    let sent = "User: How are you?<|eot_id|>Assistant: ";
    assert_eq!(prompt.text(), Some(sent));
    let mut wanted = vec![BOS];
    wanted.extend(between(&["User: How are you?", "Assistant: "], EOT));
    assert_eq!(prompt.tokens, wanted);
    assert_eq!(prompt.template.name(), "bitnet-2b-4t");
    let evidence = prompt.template.evidence().unwrap();
    assert!(evidence.contains("in place of"), "{evidence}");
}

#[test]
fn what_a_user_writes_never_becomes_a_control_token() {
    let template = "{% for m in messages %}{{ m.content }}<think><|eot_id|>{% endfor %}";
    let engine = engine(Some(template));
    let said = "a<|eot_id|>b<think>c<|begin_of_text|>";
    let conversation = Conversation::question(said);
    let prompt = engine.encode(conversation).unwrap();
    let mut wanted = vec![BOS];
    wanted.extend(ids(said));
    wanted.extend([THINK, EOT]);
    assert_eq!(prompt.tokens, wanted);

    // Nor where there is no template, unless that is asked for.
    let plain = engine.encode("a<|eot_id|>").unwrap();
    assert_eq!(plain.tokens[1..], ids("a<|eot_id|>"));
    let special = engine.encode(Prompt::from("a<|eot_id|>").special(true));
    assert_eq!(special.unwrap().tokens, [BOS, ids("a")[0], EOT]);
}

#[test]
fn a_text_begins_once_whoever_writes_the_token() {
    let engine = engine(Some("{{ bos_token }}{{ messages[0].content }}"));
    let prompt = engine.encode(Conversation::question("a")).unwrap();
    assert_eq!(prompt.tokens, [BOS, ids("a")[0]]);
}

#[test]
fn without_a_template_a_text_is_continued_and_a_conversation_is_refused() {
    let engine = engine(None);
    let prompt = engine.encode(Prompt::from("a").template(TemplateChoice::Auto));
    let prompt = prompt.unwrap();
    assert_eq!((prompt.template.name(), prompt.text()), ("raw", Some("a")));
    let evidence = prompt.template.evidence().unwrap();
    assert!(evidence.contains("no chat template"), "{evidence}");
    let refused = engine.chat(ChatOptions::default()).map(drop);
    assert!(matches!(refused, Err(Error::NoTemplate(_))), "{refused:?}");
}

#[test]
fn a_template_says_in_its_own_words_what_it_refuses() {
    let engine = engine(Some("{{ raise_exception('only whispers here') }}"));
    let mut chat = engine.chat(ChatOptions::default()).unwrap();
    let refused = chat.say("HELLO").map(drop).unwrap_err().to_string();
    assert!(refused.contains("only whispers here"), "{refused}");
    assert!(chat.is_empty());
}

#[test]
fn a_template_beside_the_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file(None)).unwrap();
    let found = |engine: &Engine| {
        let template = engine.template(&TemplateChoice::Auto).unwrap();
        (
            template.source().unwrap().to_owned(),
            template.evidence().unwrap().to_owned(),
        )
    };
    let config = r#"{"chat_template": [{"name": "default", "template": "from the list"}]}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    let engine = Engine::open(&path, &options()).unwrap();
    assert_eq!(found(&engine).0, "from the list");
    std::fs::write(folder.path().join("chat_template.jinja"), "beside").unwrap();
    let (source, evidence) = found(&engine);
    assert_eq!(source, "beside");
    assert!(evidence.contains("chat_template.jinja"), "{evidence}");
}

#[test]
fn a_chat_is_what_its_whole_conversation_is() {
    let engine = engine(Some(KNOWN_WRONG));
    let answers = GenerateOptions::default().max_tokens(5);
    let options = ChatOptions::default().system("Be brief.");
    let mut chat = engine.chat(options.answers(answers.clone())).unwrap();
    let mut said = vec![Json::message("system", "Be brief.")];
    for question in ["Who is there?", "And who else?", "Nobody?"] {
        said.push(Json::message("user", question));
        for piece in chat.say(question).unwrap() {
            piece.unwrap();
        }
        let answer = chat.answer().unwrap();
        let mut alone = engine
            .generate(Conversation::new(said.clone()), &answers)
            .unwrap();
        alone.by_ref().for_each(|piece| drop(piece.unwrap()));
        assert_eq!(answer.tokens, alone.generated().tokens, "{question}");
        said.push(Json::message("assistant", &answer.text));
    }
}
