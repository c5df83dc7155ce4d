#!/usr/bin/env bash
# Tests and measures training, fleets, decoding and serving on this machine's GPU, beside peft on the same GPU, and prints
# one table. Takes at most 8 minutes and no network. Without a GPU it does the same on the CPU at tiny sizes, and skips
# what needs a GPU. Results: .benchmarks/gpu-check, or $GPU_CHECK_FOLDER.
#
#     benchmarks/gpu_check.sh                        with the packages of .venv, or else of python3 (or $PYTHON)
#     GPU_WHEELS=FOLDER benchmarks/gpu_check.sh      with the wheels in FOLDER, which `make gpu-wheels` collects on a
#                                                    machine with a network; torch is python3's own, if FOLDER has none
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SECONDS=0

fail() { # $1 wanted, $2 got, $3 what to do
    echo "wanted: $1; got: $2; fix: $3" >&2
    exit 2
}

out=$(realpath -m "${GPU_CHECK_FOLDER:-.benchmarks/gpu-check}")
rm -rf "$out" && mkdir -p "$out"
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -z "${GPU_WHEELS:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
command -v "$python" >/dev/null || fail "Python 3.11 or newer" "no $python on PATH" "set PYTHON"
export PYTHONPATH="$PWD:$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "${GPU_WHEELS:-}" ]; then
    ls "$GPU_WHEELS"/*.whl >/dev/null 2>&1 || fail "wheels in GPU_WHEELS" "none in $GPU_WHEELS" "make gpu-wheels"
    # A wheel is an archive of what an installation would copy: no pip is needed.
    for wheel in "$GPU_WHEELS"/*.whl; do "$python" -m zipfile -e "$wheel" "$out/packages"; done
    PYTHONPATH="$PWD:$PWD/benchmarks:$out/packages${PYTHONPATH#"$PWD:$PWD/benchmarks"}"
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=1
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
found=$("$python" - 2>&1 <<'END' | tail -n 1  # packages print warnings before it
import sys
try:
    import torch, numpy, peft, pydantic_core, pytest, safetensors, tokenizers, transformers  # noqa: F401
except ImportError as problem:
    print(f"Python {sys.version_info.major}.{sys.version_info.minor}: {problem}".replace("\n", " "))
else:
    print("gpu" if torch.cuda.is_available() else "cpu")
END
) || true
case "$found" in
    gpu) limit_s=480 ;;
    cpu) limit_s=${GPU_CHECK_CPU_SECONDS:-600} ;;
    *) fail "torch and the packages of benchmarks/gpu_packages.txt" "$found" \
        "make gpu-wheels GPU_PYTHON=(this version of Python), then set GPU_WHEELS to the folder" ;;
esac

status=0
run() { # $1 part; then a command: run in what is left of the time, noting how it ended
    local part=$1 left_s=$((limit_s - SECONDS - 5)) started_s=$SECONDS code=0
    shift
    if [ "$left_s" -lt 10 ]; then echo "$part: skipped, no time is left" >>"$out/parts.txt"; return; fi
    echo "== $part, $left_s s left"
    timeout --kill-after=5 "$left_s" "$@" 2>&1 | tee "$out/${part// /-}.log" || code=$?
    if [ "$code" = 124 ] || [ "$code" = 137 ]; then echo "$part: ended, as the time was over" >>"$out/parts.txt"
    elif [ "$code" != 0 ]; then echo "$part: failed with exit code $code" >>"$out/parts.txt"; status=1
    else echo "$part: $((SECONDS - started_s)) s" >>"$out/parts.txt"; fi
}
bench() { # $1 script; then its options
    local script=$1
    shift
    run "$script" "$python" "benchmarks/$script.py" --results "$out/results.jsonl" "$@"
}

run rates "$python" -m harness.gpu_report measure "$out"
tests=("$python" -m pytest tests/gpu -m gpu --confcutdir=tests/gpu -p no:cacheprovider --junitxml="$out/tests.xml" -q)
if [ "$found" = gpu ]; then
    run tests "${tests[@]}"
    bench training --shape small --batch-size 64 --steps 10 --rounds 3 \
        --sides peft peft-bf16-grouped peft-bf16-weights-grouped ours-fp32 ours
    bench decoding --shape small --inputs 128 --tenants 1 --single 2 --rows 128 --peft-rows 64 --rounds 2
    bench serving --shape small --tenants 32 --requests 256 --sample 16 --rounds 2 --rows 64 --swaps 8 --registered 0 \
        --dtype bfloat16
    bench fleet_training --shape small --tenants 16 --examples 128 --batch-size 16 --rounds 1
else
    run tests env PREFIXFLEET_TEST_DEVICE=cpu "${tests[@]}"
    bench training --shape tiny --steps 2 --rounds 2 --sides peft peft-bf16-grouped ours-fp32 ours
    bench decoding --shape tiny --inputs 12 --tenants 1 --single 2 --rounds 1 --peft-rows 4 --dtype float32
    bench serving --shape tiny --tenants 5 --requests 16 --sample 4 --rounds 1 --rows 8 --swaps 2 --registered 0
    bench fleet_training --shape tiny --tenants 2 --examples 20 --rounds 1
fi
"$python" -m harness.gpu_report print "$out" | tee "$out/table.md"
echo "$SECONDS s; table, logs and figures: $out"
exit "$status"
