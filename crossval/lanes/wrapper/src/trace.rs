//! Reads the residual stream after each layer through the evaluation callback.

use std::ffi::{CStr, c_void};

use crate::bindings;

/// The name that the references' graphs give a layer's output, before its number.
const LAYER_OUTPUT: &str = "l_out-";

/// What the callback collects. Lives in a `Box` that outlives the context.
#[derive(Default)]
pub(crate) struct Trace {
    /// Whether the current step wants the layers.
    pub(crate) on: bool,
    /// Per layer, the values seen in the current step.
    pub(crate) layers: Vec<Vec<f32>>,
}

/// The callback: `ask` asks whether the tensor is wanted, otherwise it has been computed.
///
/// # Safety
/// `tensor` is a live tensor of the library and `user` the `Trace` given to the context.
pub(crate) unsafe extern "C" fn observe(
    tensor: *mut bindings::ggml_tensor,
    ask: bool,
    user: *mut c_void,
) -> bool {
    // SAFETY: by contract; nothing else touches the trace while the library computes.
    let trace = unsafe { &mut *user.cast::<Trace>() };
    if !trace.on {
        return false;
    }
    // SAFETY: a tensor's name is a NUL-terminated array inside it.
    let name = unsafe { CStr::from_ptr(bindings::ggml_get_name(tensor)) };
    let layer = name
        .to_str()
        .ok()
        .and_then(|n| n.strip_prefix(LAYER_OUTPUT)?.parse().ok());
    let Some(layer) = layer.filter(|l: &usize| *l < trace.layers.len()) else {
        return false;
    };
    if !ask {
        // SAFETY: the tensor has been computed; layer outputs are contiguous f32.
        let bytes = unsafe { bindings::ggml_nbytes(tensor) };
        let mut values = vec![0f32; bytes / size_of::<f32>()];
        // SAFETY: the destination holds `bytes` bytes, which is all of the tensor.
        unsafe {
            bindings::ggml_backend_tensor_get(tensor, values.as_mut_ptr().cast(), 0, bytes);
        }
        trace.layers[layer] = values;
    }
    true
}
