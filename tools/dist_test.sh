#!/usr/bin/env bash
# Test with torchrun on the GPUs of one or several machines (or on CPUs with gloo).
# Usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [ARGUMENTS OF tools/test.py]
set -euo pipefail
config=$1
checkpoint=$2
processes=$3
torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
