//! The bitnet.cpp lane: I2_S, architectures `llama` and `bitnet` (and `bitnet-b1.58` when built
//! against an installation that knows it).

fn main() -> std::io::Result<()> {
    bitnet_lane_wrapper::run("bitnet-cpp")
}
