#!/usr/bin/env bash
# One model and one prompt through both C++ references and this engine, and a check of the receipts.
# usage: scripts/parity_smoke.sh [MODEL [TOKENIZER]]
# MODEL is BITNET_GGUF if left out. Lanes that are missing are built, except in CI.
set -euo pipefail

model=${1:-${BITNET_GGUF:-}}
[ -n "$model" ] || { sed -n '3,4s/^# //p' "$0" >&2; exit 2; }
arguments=(--model "$(realpath -m "$model")")
[ $# -lt 2 ] || arguments+=(--tokenizer "$(realpath -m "$2")")

cd "$(dirname "$0")/.."
out=.parity
cargo xtask parity-both "${arguments[@]}" --out-dir "$out"
cargo xtask verify-receipt "$out/receipt_bitnet.json" "$out/receipt_llama.json"
