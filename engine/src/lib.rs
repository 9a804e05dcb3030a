//! Model graphs, KV cache, sampling and device selection: GGUF in, tokens out.
