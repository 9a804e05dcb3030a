//! Reads whatever bytes come as what a lane answers and as what a lane is asked: nothing may panic
//! or ask for memory that no bytes fill, and what was read is the same after another journey, its
//! floats to the bit.
//!
//! In `crossval/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/frames
//! cargo +nightly fuzz run frames fuzz/corpus/frames fuzz/seeds/frames -- \
//!     -max_len=4096 -rss_limit_mb=512 -max_total_time=120
//! ```

#![no_main]

use bitnet_lane_protocol::message::{
    Hello, LaneError, LoadRequest, ModelInfo, Request, TokenizeRequest,
};
use bitnet_lane_protocol::{PROTOCOL_VERSION, Reference, ReferenceModel, Step, frame, serve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    while let Ok(Some((response, floats))) = frame::read_response(&mut input) {
        let mut wire = Vec::new();
        frame::write_response(&mut wire, response.clone(), &floats).expect("memory");
        let (again, other) = frame::read_response(&mut wire.as_slice())
            .expect("what was written is read")
            .expect("a response");
        assert_eq!(again, response);
        assert!(floats.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits())));
    }
    let mut input = bytes;
    while let Ok(Some(request)) = frame::read_line::<Request>(&mut input) {
        let mut wire = Vec::new();
        frame::write_line(&mut wire, &request).expect("memory");
        let again = frame::read_line(&mut wire.as_slice()).expect("what was written is read");
        assert_eq!(again, Some(request));
    }
    // A lane answers all that it is asked, one for one, whatever it is.
    let mut answers = Vec::new();
    serve(&Echo, &mut &*bytes, &mut answers).expect("memory");
    let mut answers = answers.as_slice();
    while frame::read_response(&mut answers).expect("what a lane writes is read").is_some() {}
});

/// Positions of the model.
const CONTEXT: usize = 64;

/// A reference with a model of four tokens, whose logits are the tokens that it is fed.
struct Echo;

struct Fed;

impl Reference for Echo {
    type Model = Fed;

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            lane: "echo".to_owned(),
            reference: "none".to_owned(),
            fingerprint: String::new(),
            system: String::new(),
            flash_attention: false,
        }
    }

    fn load(&self, request: &LoadRequest) -> Result<Fed, LaneError> {
        match request.context {
            0 => Err(LaneError::failed("no context")),
            _ => Ok(Fed),
        }
    }
}

impl ReferenceModel for Fed {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            description: String::new(),
            vocabulary: 4,
            layers: 0,
            hidden: 1,
            context: CONTEXT as u32,
            tokenizer: true,
            load_ms: 0.0,
        }
    }

    fn batch_limit(&self) -> usize {
        3
    }

    fn tokenize(&self, request: &TokenizeRequest) -> Result<Vec<i32>, LaneError> {
        Ok(request.text.bytes().map(|byte| i32::from(byte % 4)).collect())
    }

    fn reset(&mut self) {}

    fn step(&mut self, tokens: &[i32], position: usize, _: bool) -> Result<Step, LaneError> {
        if position + tokens.len() > CONTEXT {
            return Err(LaneError::failed("the context is full"));
        }
        Ok(Step {
            logits: tokens.iter().flat_map(|token| [*token as f32; 4]).collect(),
            layers: Vec::new(),
        })
    }
}
