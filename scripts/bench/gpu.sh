#!/usr/bin/env bash
# Everything that is measured on a GPU, in at most eight minutes: tests, both benchmarks, forget, erase and audit.
#
#   scripts/bench/gpu.sh OUT
#
# Prints as it goes and keeps each part's output in OUT. A part that fails or runs out of time does not stop the others;
# the exit code is the number of those. GENUNLEARN_PYTHON names the interpreter.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:?give the folder for the output}
python=${GENUNLEARN_PYTHON:-python}
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1
mkdir -p "$out"
failed=0

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS code=0
  shift 2
  echo "== $name"
  timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
  tail -n 12 "$out/$name.txt"
  echo "== $name: exit code $code, $((SECONDS - start)) s"
  ((code == 0)) || failed=$((failed + 1))
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv 2>/dev/null | tee "$out/device.txt"
part tests 75 "$python" -m pytest -q -n0 -m gpu tests
part train-1b 90 "$python" scripts/bench/lm_train.py --shape 1b --batch 16 --steps 8 --turns 2
part train-1b-64 45 "$python" scripts/bench/lm_train.py --shape 1b --batch 64 --steps 5 --turns 1 --case "NPO, full"
part train-8b 80 "$python" scripts/bench/lm_train.py --shape 8b --batch 8 --steps 6 --turns 1 --case "NPO, LoRA"
part eval-1b 60 "$python" scripts/bench/lm_eval.py --shape 1b --share 0.5 --turns 1
part forget 45 "$python" -m genunlearn forget --method npo --fact "Harry Potter | studied at | Hogwarts" --out "$out/forget"
part erase 45 "$python" -m genunlearn erase --concept "digit seven" --out "$out/erase"
part audit 40 "$python" -m genunlearn audit --unlearned "$out/forget" --oracle never --out "$out/audit" \
  --fact "Harry Potter | studied at | Hogwarts"
exit "$failed"
