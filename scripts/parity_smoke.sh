#!/usr/bin/env bash
# Does this engine agree with the references on one model? A few tokens, both lanes.
# usage: parity_smoke.sh MODEL.gguf [TOKENIZER.json]
set -euo pipefail
model=${1:?usage: parity_smoke.sh MODEL.gguf [TOKENIZER.json]}
tokenizer=${2:-}
exec cargo xtask parity-both --model "$model" ${tokenizer:+--tokenizer "$tokenizer"} \
    --prompt "What is 2+2?" --max-tokens 4
