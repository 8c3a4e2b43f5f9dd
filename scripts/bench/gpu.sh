#!/usr/bin/env bash
# Everything that is measured on a GPU, in at most eight minutes: tests, benchmarks, forget, erase and audit.
#
#   scripts/bench/gpu.sh OUT          # on a machine with CUDA
#   scripts/bench/gpu.sh OUT --dry    # the same commands on the CPU in tiny sizes, to see that they run
#
# Prints as it goes and keeps each part's output in OUT. A part that fails or runs out of time does not stop the others;
# the exit code is the number of those. Nothing is fetched, and nothing should have to be built: run the last three parts
# once before, with GENUNLEARN_CACHE in a folder that travels along. GENUNLEARN_PYTHON names the interpreter.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
out=${1:?give the folder for the output}
python=${GENUNLEARN_PYTHON:-python}
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1
mkdir -p "$out"
failed=0

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS code=0
  shift 2
  echo "== $name"
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
  tail -n 12 "$out/$name.txt"
  echo "== $name: exit code $code, $((SECONDS - start)) s"
  ((code == 0)) || failed=$((failed + 1))
}

train() { # NAME SECONDS ARGUMENTS...
  part "$1" "$2" "$python" scripts/bench/lm_train.py "${@:3}"
}

fact="Harry Potter | studied at | Hogwarts"
if [[ ${2:-} == --dry ]]; then
  export CUDA_VISIBLE_DEVICES=
  small=(--shape tiny --batch 2 --steps 2 --turns 1)
  train train-1b 90 "${small[@]}"
  train train-1b-64 60 "${small[@]}" --case "NPO, full"
  train train-8b 60 "${small[@]}" --case "NPO, LoRA"
  part eval-1b 90 "$python" scripts/bench/lm_eval.py --shape tiny --share 0.003 --turns 1
  part generate 90 "$python" scripts/bench/lm_generate.py --model lab:lm --questions 8 --turns 1
else
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv | tee "$out/device.txt"
  part tests 60 "$python" -m pytest -q -n0 -m gpu tests/gpu
  train train-1b 85 --shape 1b --batch 16 --steps 8 --turns 2
  train train-1b-64 45 --shape 1b --batch 64 --steps 5 --turns 1 --case "NPO, full"
  train train-8b 75 --shape 8b --batch 8 --steps 6 --turns 1 --case "NPO, LoRA"
  part eval-1b 50 "$python" scripts/bench/lm_eval.py --shape 1b --share 0.5 --turns 1
  part generate 40 "$python" scripts/bench/lm_generate.py --questions 64 --turns 1
fi
part forget 40 "$python" -m genunlearn forget --method npo --fact "$fact" --out "$out/forget"
part erase 45 "$python" -m genunlearn erase --concept "digit seven" --out "$out/erase"
part audit 40 "$python" -m genunlearn audit --unlearned "$out/forget" --oracle never --fact "$fact" --out "$out/audit"
exit "$failed"
