//! The llama.cpp lane: TQ1_0, TQ2_0, F16, architectures `llama` and `bitnet`.

fn main() -> std::io::Result<()> {
    bitnet_lane_wrapper::run("llama-cpp")
}
