//! A built llama.cpp, of whatever age, behind the lane protocol.
//!
//! bitnet.cpp is a fork of llama.cpp, so both lanes are this wrapper over two
//! different libraries. What changed in the C API between them is decided at
//! build time from the header itself ([`model`] holds those few places). All
//! `unsafe` of the lanes is in this crate; it computes nothing itself.

mod bindings;
mod log;
mod model;
mod trace;

use std::ffi::CStr;
use std::io;

use bitnet_lane_protocol::message::{Hello, LaneError, LoadRequest};
use bitnet_lane_protocol::{PROTOCOL_VERSION, Reference, serve};

/// Serves one lane on standard input and output until the input ends.
///
/// `lane` is its name. What it was built from is taken from the environment of the build:
/// `BITNET_LANE_REFERENCE` (words for people) and `BITNET_LANE_FINGERPRINT`.
///
/// # Errors
/// When the pipes break.
pub fn run(lane: &'static str) -> io::Result<()> {
    let mut wire = serve::claim_stdout()?;
    log::capture();
    // SAFETY: called once, before anything else of the library.
    unsafe { bindings::llama_backend_init() };
    let outcome = serve::serve(&Lane { name: lane }, &mut io::stdin().lock(), &mut wire);
    // SAFETY: the loop has returned, so every model and context is freed.
    unsafe { bindings::llama_backend_free() };
    outcome
}

struct Lane {
    name: &'static str,
}

impl Reference for Lane {
    type Model = model::Model;

    fn hello(&self) -> Hello {
        // SAFETY: returns a static, NUL-terminated string.
        let system = unsafe { CStr::from_ptr(bindings::llama_print_system_info()) };
        Hello {
            protocol: PROTOCOL_VERSION,
            lane: self.name.to_owned(),
            reference: option_env!("BITNET_LANE_REFERENCE")
                .unwrap_or("unnamed build")
                .to_owned(),
            fingerprint: option_env!("BITNET_LANE_FINGERPRINT")
                .unwrap_or_default()
                .to_owned(),
            system: system.to_string_lossy().trim().to_owned(),
            flash_attention: true,
        }
    }

    fn load(&self, request: &LoadRequest) -> Result<Self::Model, LaneError> {
        model::Model::load(request)
    }
}
