//! What a model is sent: its own template, the token that begins a text once, and no control token
//! that did not come from the template.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::chat_templates::Json;
use bitnet_engine::gguf::{Array, Gguf, Value, Writer};
use bitnet_engine::sampler::{Candidates, RepeatPenalty, SampleStage};
use bitnet_engine::{
    Chat, ChatOptions, Conversation, Device, Engine, Error, GenerateOptions, LoadOptions, OnFull,
    Prompt, Sampler, Sampling, StopReason, TemplateChoice,
};

/// Tokens of the golden model.
const VOCABULARY: usize = 512;
/// Printable ASCII, then a blank and a line break as the byte-level vocabularies spell them.
const BLANK: u32 = 94;
const BOS: u32 = 500;
const EOT: u32 = 501;
const THINK: u32 = 502;
const END_OF_THOUGHT: u32 = 503;

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
        (END_OF_THOUGHT, "</think>", 4),
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
    for question in ["Who is there?", "And who else?", "Nobody?"] {
        let answer = say(&mut chat, question);
        let mut said = chat.messages();
        said.pop();
        assert_eq!(answer, alone(&engine, said, &answers), "{question}");
    }
}

/// Each turn as its role's first letter, its text and a line break.
const LINES: &str =
    "{% for m in messages %}{{ m.role[0] ~ m.content ~ '\\n' }}{% endfor %}{{ 'a' }}";

/// Says something and waits for all of the answer.
fn say(chat: &mut Chat, text: &str) -> Vec<u32> {
    chat.say(text)
        .unwrap()
        .for_each(|piece| drop(piece.unwrap()));
    chat.answer().unwrap().tokens.clone()
}

/// What a conversation is answered with on its own.
fn alone(engine: &Engine, messages: Vec<Json>, answers: &GenerateOptions) -> Vec<u32> {
    let mut generation = engine
        .generate(Conversation::new(messages), answers)
        .unwrap();
    generation.by_ref().for_each(|piece| drop(piece.unwrap()));
    generation.generated().tokens.clone()
}

#[test]
fn a_full_context_drops_the_oldest_questions_with_their_answers() {
    let engine = engine(Some(LINES));
    let answers = GenerateOptions::default().max_tokens(2);
    let options = ChatOptions::default().system("Be brief.").context(90);
    let mut chat = engine.chat(options.answers(answers.clone())).unwrap();
    let mut before = 0;
    for number in 1..=9 {
        let question = format!("Number {number}?");
        let answer = say(&mut chat, &question);
        let dropped = chat.dropped();
        assert!(dropped >= before && dropped.is_multiple_of(2), "{question}");
        assert!(chat.len() <= chat.capacity());
        // What is sent is what such a conversation would be from its beginning.
        let mut sent = chat.messages();
        sent.pop();
        sent.drain(1..1 + dropped);
        assert_eq!(answer, alone(&engine, sent, &answers), "{question}");
        before = dropped;
    }
    assert!((2..16).contains(&before), "{before}");
    // Nothing is forgotten.
    assert_eq!(chat.messages().len(), 19);
    let refused = chat.say(&"x".repeat(120)).map(drop);
    assert!(
        matches!(refused, Err(Error::ContextFull { .. })),
        "{refused:?}"
    );
    assert_eq!(chat.messages().len(), 19);
}

#[test]
fn an_answer_that_fills_the_context_goes_on_behind_what_is_still_sent() {
    let engine = engine(Some(LINES));
    let long = ids("abcdefghijklmnopqrstuvwx");
    let chat = |on_full| {
        let script = [&ids("ok")[..], &[EOT], &long].concat();
        let answers = GenerateOptions::default()
            .max_tokens(24)
            .sampler(Sampler::best().then(Script(script)));
        let options = ChatOptions::default().context(36).on_full(on_full);
        let mut chat = engine.chat(options.answers(answers)).unwrap();
        say(&mut chat, "One?");
        let answer = say(&mut chat, "Two?");
        (chat.answer().unwrap().stop, answer, chat.dropped())
    };
    let whole = (Some(StopReason::MaxTokens), long.clone(), 2);
    assert_eq!(chat(OnFull::Drop), whole);
    // 18 tokens are sent, and the last one of an answer is not read.
    let cut = (Some(StopReason::ContextFull), long[..19].to_vec(), 0);
    assert_eq!(chat(OnFull::Stop), cut);
}

#[test]
fn without_room_and_with_nothing_dropped_a_question_is_refused() {
    let engine = engine(Some(LINES));
    let answers = GenerateOptions::default().max_tokens(6);
    let options = ChatOptions::default().context(20).on_full(OnFull::Stop);
    let mut chat = engine.chat(options.answers(answers)).unwrap();
    say(&mut chat, "One?");
    let before = chat.messages();
    let refused = chat.say("And two?").map(drop);
    assert!(
        matches!(refused, Err(Error::ContextFull { .. })),
        "{refused:?}"
    );
    assert_eq!(chat.messages(), before);
}

#[test]
fn turns_are_taken_back_and_answered_again() {
    let engine = engine(Some(LINES));
    let answers = GenerateOptions::default()
        .max_tokens(6)
        .sampling(Sampling::default().repeat_penalty(1.7));
    let mut chat = engine
        .chat(ChatOptions::default().answers(answers.clone()))
        .unwrap();
    assert!(chat.undo().is_none());
    assert!(chat.regenerate().unwrap().is_none());
    say(&mut chat, "One?");
    let kept = chat.messages();
    let first = say(&mut chat, "Two?");
    // The penalty looks back on what is sent, not on what was taken back.
    let again = chat.regenerate().unwrap().unwrap();
    again.for_each(|piece| drop(piece.unwrap()));
    assert_eq!(chat.answer().unwrap().tokens, first);
    assert_eq!(chat.undo().as_deref(), Some("Two?"));
    assert_eq!(chat.messages(), kept);
    assert_eq!(say(&mut chat, "Two?"), first);
    chat.reset();
    assert!(chat.messages().is_empty());
    chat.set_messages(kept);
    assert_eq!(say(&mut chat, "Two?"), first);
    chat.set_system(Some("Be kind."));
    let again = chat.regenerate().unwrap().unwrap();
    again.for_each(|piece| drop(piece.unwrap()));
    let mut sent = chat.messages();
    sent.pop();
    assert_eq!(sent[0], Json::message("system", "Be kind."));
    let answer = chat.answer().unwrap().tokens.clone();
    assert_eq!(answer, alone(&engine, sent, &answers));
}

#[test]
fn random_numbers_go_on_from_answer_to_answer() {
    let engine = engine(Some(LINES));
    let sampling = Sampling::default().temperature(5.0).top_k(0).min_p(0.0);
    let answers = GenerateOptions::default()
        .max_tokens(12)
        .sampling(sampling.top_p(1.0));
    let mut chat = engine
        .chat(ChatOptions::default().answers(answers))
        .unwrap();
    let first = say(&mut chat, "One?");
    chat.reset();
    assert_ne!(say(&mut chat, "One?"), first);
}

/// Chooses these tokens, whatever the model says.
#[derive(Clone)]
struct Script(Vec<u32>);

impl SampleStage for Script {
    fn apply(&mut self, candidates: &mut Candidates) {
        let next = self.0.remove(0);
        candidates.retain(|candidate| candidate.id == next);
    }
}

#[test]
fn a_thought_is_set_apart_from_its_answer() {
    let engine = engine(Some(LINES));
    let written = [&[THINK], &ids("so")[..], &[END_OF_THOUGHT], &ids("\nYes")].concat();
    let script = [&written[..], &[EOT]].concat();
    let sampler = Sampler::best()
        .then(RepeatPenalty::new(1.0))
        .then(Script(script));
    let answers = GenerateOptions::default().sampler(sampler);
    let mut chat = engine
        .chat(ChatOptions::default().answers(answers))
        .unwrap();
    let (mut thought, mut said) = (String::new(), String::new());
    let mut tokens = Vec::new();
    for piece in chat.say("Well?").unwrap() {
        let piece = piece.unwrap();
        match piece.thought {
            true => thought.push_str(&piece.text),
            false => said.push_str(&piece.text),
        }
        tokens.extend(piece.token.map(|token| token.id));
    }
    assert_eq!((thought.as_str(), said.as_str()), ("so", "Yes"));
    assert_eq!(tokens, written);
    let message = chat.messages().pop().unwrap();
    assert_eq!(message.text_at("content"), Some("Yes"));
    assert_eq!(message.text_at("reasoning_content"), Some("so"));
    // What the model wrote stays as it is.
    assert_eq!(chat.answer().unwrap().text, "<think>so</think>\nYes");
}

#[cfg(unix)]
#[test]
fn a_file_that_was_shortened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file(Some(LINES))).unwrap();
    let engine = Engine::open(&path, &options()).unwrap();
    let mut chat = engine.chat(ChatOptions::default()).unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    let shortened = std::fs::File::options().write(true).open(&path).unwrap();
    shortened.set_len(length - 10).unwrap();
    let mut answer = chat.say("Well?").unwrap();
    let error = answer.next().unwrap().unwrap_err();
    assert!(matches!(error, Error::Changed(_)), "{error:?}");
    assert!(error.to_string().contains("lost 10 bytes"), "{error}");
    assert!(answer.next().is_none());
}

#[test]
fn a_long_prompt_can_be_stopped_between_its_batches() {
    let file = Gguf::from_bytes(file(Some(LINES))).unwrap();
    let engine = Engine::from_gguf(Arc::new(file), &options().batch(8)).unwrap();
    let options = GenerateOptions::default().max_tokens(2);
    let mut generation = engine.generate("x".repeat(20), &options).unwrap();
    let read: Vec<bool> = generation
        .by_ref()
        .map(|piece| piece.unwrap().token.is_none())
        .collect();
    // With the token that begins a text, 21 tokens are three batches.
    assert_eq!(read, [true, true, false, false]);
    assert_eq!(generation.generated().tokens.len(), 2);
}
