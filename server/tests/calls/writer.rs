//! A model that writes given texts: each of its tokens stands at one place of one text, and what it
//! holds to be next is the token behind that place.

use std::collections::HashSet;
use std::sync::Arc;

use bitnet_engine::gguf::{Array, Gguf, Value, Writer};
use bitnet_engine::{Device, Engine, LoadOptions};
use bitnet_fixtures::{Arch, Recipe, Shape};
use bitnet_kernels::Format;

/// Width of the model: so wide that the embeddings of two tokens have little in common.
const HIDDEN: usize = 1024;
/// The first token that is no byte, and no end of a text.
const FIRST: usize = 257;
const END: usize = 256;

/// A model that writes texts.
pub(crate) struct Writing {
    pub(crate) engine: Engine,
    /// The first token of each text: with a bias of [`BIAS`] an answer begins with it.
    pub(crate) starts: Vec<u32>,
}

/// More than any token has behind a prompt, and less than the next one has within a text.
pub(crate) const BIAS: u32 = 30;

/// The model that writes `texts`.
pub(crate) fn writing(texts: &[String]) -> Writing {
    let mut known = HashSet::new();
    let texts: Vec<Vec<&[u8]>> = texts.iter().map(|text| cut(text, &mut known)).collect();
    let vocabulary = FIRST + texts.iter().map(Vec::len).sum::<usize>();
    let shape = Shape {
        layers: 1,
        hidden: HIDDEN,
        ffn: 256,
        heads: 8,
        kv_heads: 1,
        head_size: HIDDEN / 8,
        vocabulary,
        context: 4096,
        ..Shape::TINY
    };
    let recipe = Recipe {
        head: Format::F32,
        embedding: Some(Format::F32),
        ..Recipe::new(Arch::Llama, shape, Format::TQ2_0)
    };
    let noise = Gguf::from_bytes(recipe.to_bytes().expect("a shape")).expect("a file");
    let mut writer = Writer::new();
    for (key, value) in noise.metadata().iter() {
        let value = match key {
            "tokenizer.ggml.tokens" => spelled(value, &texts),
            _ => value.clone(),
        };
        writer.set(key, value);
    }
    let tensors = noise.tensors();
    for tensor in tensors {
        let declared = writer.tensor(&tensor.name, &tensor.shape, tensor.type_id);
        declared.expect("a tensor");
    }
    let mut next = vec![0.0; vocabulary * HIDDEN];
    let mut starts = Vec::new();
    let mut at = FIRST;
    for text in &texts {
        starts.push(at as u32);
        let end = at + text.len();
        for token in at..end {
            let follows = if token + 1 == end { END } else { token + 1 };
            let row = &mut next[follows * HIDDEN..][..HIDDEN];
            let own = embedding(token);
            row.iter_mut()
                .zip(own)
                .for_each(|(sum, own)| *sum += own / 16.0);
        }
        at = end;
    }
    let mut body = writer.begin(Vec::new()).expect("a head");
    for tensor in tensors {
        let bytes = noise.data(tensor).expect("a whole file").len();
        let data = match &*tensor.name {
            "output.weight" => bytes_of(next.iter().copied()),
            "token_embd.weight" => bytes_of((0..vocabulary).flat_map(embedding)),
            "output_norm.weight" => bytes_of(std::iter::repeat_n(1.0, HIDDEN)),
            // Layers add nothing.
            _ => vec![0; bytes],
        };
        body.write(&tensor.name, &data).expect("as declared");
    }
    let file = Gguf::from_bytes(body.finish().expect("whole")).expect("a sound file");
    let options = LoadOptions::default().device(Device::Cpu).threads(1);
    Writing {
        engine: Engine::from_gguf(Arc::new(file), &options).expect("a model"),
        starts,
    }
}

/// Cuts a text into tokens of a few bytes, none of which is `known`; some end within a character.
fn cut<'t>(text: &'t str, known: &mut HashSet<&'t [u8]>) -> Vec<&'t [u8]> {
    let bytes = text.as_bytes();
    let mut tokens: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let fresh = (3..=rest.len()).find(|len| !known.contains(&rest[..*len]));
        let token = match fresh {
            Some(len) => &rest[..len],
            // The end alone is known: it goes with what stands before it.
            None => {
                let before = tokens.pop().expect("a text of its own");
                known.remove(before);
                &bytes[at - before.len()..]
            }
        };
        at = token.as_ptr() as usize - bytes.as_ptr() as usize + token.len();
        assert!(known.insert(token), "{:?}", String::from_utf8_lossy(token));
        tokens.push(token);
    }
    tokens
}

/// The vocabulary of bytes `value` with the tokens of the texts, each byte as it stands there.
fn spelled(value: &Value, texts: &[Vec<&[u8]>]) -> Value {
    let Value::Array(array) = value else {
        panic!("texts");
    };
    let bytes: Vec<String> = array
        .strings()
        .expect("texts")
        .map(|text| text.expect("UTF-8").to_owned())
        .collect();
    let token = |token: &&[u8]| -> String {
        let letters = token.iter().map(|byte| bytes[usize::from(*byte)].as_str());
        letters.collect()
    };
    let own = texts.iter().flatten().map(token);
    let all: Vec<String> = bytes[..FIRST].iter().cloned().chain(own).collect();
    Array::from_strings(all.iter().map(String::as_str)).into()
}

/// That of a token: 1 and -1, as a seed has it.
fn embedding(token: usize) -> impl Iterator<Item = f32> {
    let mut state = (token as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..HIDDEN).map(move |_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        if state >> 63 == 0 { 1.0 } else { -1.0 }
    })
}

fn bytes_of(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}
