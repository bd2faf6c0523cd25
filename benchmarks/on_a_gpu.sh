#!/usr/bin/env bash
# All checks and measurements that need a GPU, in the order of their worth, each with a time limit:
#
#     bash benchmarks/on_a_gpu.sh OUT [DATA]
#
# OUT is a folder for logs and results. With DATA (CIFAR-10 as image folders), BAM and SimCLR are
# pretrained side by side at the end. Takes about 8 minutes without that on one H100 with 16 cores.
set -u
cd "$(dirname "$0")/.."
out=${1:?folder for the results}; data=${2:-}
python=${PYTHON:-python3}
mkdir -p "$out"
part() { # NAME SECONDS COMMAND...
    echo "== $1 (after $SECONDS s)"
    timeout "$2" "$python" -W ignore "${@:3}" > "$out/$1.log" 2>&1
    local code=$?
    grep -v "OneDL\|mmengine - INFO" "$out/$1.log" | cut -c1-200 | tail -n "${LINES_SHOWN:-30}"
    [ $code = 0 ] || echo "exit code $code"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
LINES_SHOWN=40 part tests 200 -m pytest -q -ra -n "$(nproc)" --dist loadfile -m "gpu or not slow" --no-header
part rates 100 benchmarks/cifar_rates.py ${data:+--data "$data"} --workers "$(nproc)" --json "$out/rates.json"
part dense_steps 90 benchmarks/dense_steps.py
for name in loss training_step_vit_base training_step_vit_small training_step_resnet50 data; do
    part "$name" 150 benchmarks/run_all.py --record --only "gpu_$name" --file "$out/recorded.json"
done
LINES_SHOWN=60 part kernels 90 benchmarks/step_kernels.py
if [ -n "$data" ]; then
    minutes=${MINUTES:-5}
    part side_by_side $((60 * minutes + 60)) benchmarks/cifar_side_by_side.py "$data" "$out/side_by_side" \
        --rates "$out/rates.json" --minutes "$minutes" ${CHANGE:+--change "$CHANGE"}
fi
echo "== end (after $SECONDS s)"
