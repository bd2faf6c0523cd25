#!/usr/bin/env bash
# All checks and measurements that need a GPU, in the order of their worth, each with a time limit:
#
#     bash benchmarks/on_a_gpu.sh OUT [DATA]
#     PARTS="loss data" bash benchmarks/on_a_gpu.sh OUT
#
# OUT is a folder for results.tgz (logs and figures; written again after each part) and work files.
# With DATA (CIFAR-10 as image folders), BAM and SimCLR are pretrained side by side at the end, for
# MINUTES minutes. The package, its test tools and lightly have to be importable by PYTHON.
set -eu
: "${1:?folder for the results}"
mkdir -p "$1"
out=$(cd "$1" && pwd)
data=${2:+$(cd "$2" && pwd)}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} minutes=${MINUTES:-5}
all="tests rates dense_steps loss training_step_vit_base training_step_vit_small \
training_step_resnet50 data kernels side_by_side"
parts=${PARTS:-$all}
for each in $parts; do
    [[ " $all " == *" $each "* ]] || { echo "PARTS: $each is none of $all" >&2; exit 1; }
done
export PYTHONUNBUFFERED=1
# A batch of 512 in flight has as many open files.
ulimit -n 65536 2> /dev/null || ulimit -n "$(ulimit -Hn)"

part() { # NAME LINES SECONDS ARGUMENTS-OF-PYTHON...
    [[ " $parts " == *" $1 "* ]] || return 0
    echo "== $1 (after $SECONDS s)"
    timeout -k 10 "$3" "$python" -W ignore "${@:4}" > "$out/$1.log" 2>&1
    local code=$?
    grep -v "OneDL\|mmengine - INFO" "$out/$1.log" | cut -c1-160 | tail -n "$2"
    [ $code = 0 ] || echo "exit code $code"
    tar czf "$out/results.tgz" --exclude='*.pth' --exclude=results.tgz -C "$out" .
}

set +e
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
part tests 30 200 -m pytest -ra -n "$(nproc)" --dist loadfile -m "gpu or not slow" --no-header
part rates 3 150 benchmarks/cifar_rates.py ${data:+--data "$data"} --workers "$(nproc)" \
    --json "$out/rates.json"
part dense_steps 3 90 benchmarks/dense_steps.py
for name in loss training_step_vit_base training_step_vit_small training_step_resnet50 data; do
    part "$name" 24 240 benchmarks/run_all.py --record --only "gpu_$name" --file "$out/recorded.json"
done
part kernels 50 150 benchmarks/step_kernels.py
if [ -n "$data" ]; then
    limit=$("$python" -c "print(int(60 * $minutes + 60))")
    part side_by_side 6 "$limit" benchmarks/cifar_side_by_side.py "$data" "$out/side_by_side" \
        --rates "$out/rates.json" --minutes "$minutes" ${CHANGE:+--change "$CHANGE"}
fi
echo "== end (after $SECONDS s)"
