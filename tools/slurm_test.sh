#!/usr/bin/env bash
# Test under Slurm.
# Usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=12] tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS]
set -euo pipefail
partition=$1
job_name=$2
config=$3
checkpoint=$4
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
read -ra extra <<<"${SRUN_ARGS:-}"
srun -p "$partition" --job-name="$job_name" --gres="gpu:$per_node" --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-12}" --kill-on-bad-exit=1 \
    ${extra[@]+"${extra[@]}"} \
    python -u "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher slurm "${@:5}"
