#!/usr/bin/env bash
# Everything that is measured on a GPU, in at most eight minutes: tests, benchmarks, forget, erase and audit.
#
#   scripts/bench/gpu.sh OUT          # on a machine with CUDA
#   scripts/bench/gpu.sh OUT --dry    # the same commands on the CPU in tiny sizes, to see that they run
#
# Prints as it goes and keeps each part's output in OUT. A part that fails or runs out of time does not stop the others;
# the exit code is the number of those. Nothing is fetched, and nothing should have to be built: run the whole once with
# --dry before, with GENUNLEARN_CACHE in a folder that travels along. GENUNLEARN_PYTHON names the interpreter. The limits
# add up to 480 seconds; what matters most comes first.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
out=${1:?give the folder for the output}
python=${GENUNLEARN_PYTHON:-python}
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1
mkdir -p "$out"
failed=0

# Sizes: of a machine with CUDA, and of a dry run, which only has to come to its end.
shape_1b=1b shape_8b=8b sd15=sd15 sdxl=sdxl batch=16 many=64 batch_8b=8 steps=6 turns=2 share=0.25 answers=128
images=16 images_xl=4 erasure=200 erasure_xl=60 plain=10 plain_xl=4 patience=1
short_forget=() short_erase=() short_audit=()
if [[ ${2:-} == --dry ]]; then
  export CUDA_VISIBLE_DEVICES=
  shape_1b=tiny shape_8b=tiny sd15=lab sdxl=lab batch=2 many=2 batch_8b=2 steps=2 turns=1 share=0.003 answers=4
  images=2 images_xl=2 erasure=2 erasure_xl=2 plain=1 plain_xl=1 patience=10
  short_forget=(--set train.max_steps=2)
  short_erase=(--set train.max_steps=2 --set method.trajectories=1 --set evaluate.images=4 --set evaluate.steps=2)
  short_audit=(--set evaluate.phrasings=2 --set "attacks={paraphrase: {}}" --set request.force=true)
else
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv | tee "$out/device.txt"
fi

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$(($2 * patience)) start=$SECONDS code=0
  shift 2
  echo "== $name"
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
  tail -n 12 "$out/$name.txt"
  echo "== $name: exit code $code, $((SECONDS - start)) s of $limit"
  ((code == 0)) || failed=$((failed + 1))
}

bench() { # NAME SECONDS SCRIPT ARGUMENTS...
  part "$1" "$2" "$python" "scripts/bench/$3.py" "${@:4}"
}

fact="Harry Potter | studied at | Hogwarts"
train=(--steps "$steps" --turns "$turns")
bench train-1b 70 lm_train --shape "$shape_1b" --batch "$batch" "${train[@]}"
bench train-8b 50 lm_train --shape "$shape_8b" --batch "$batch_8b" --steps "$steps" --turns 1 --case "NPO, LoRA"
bench train-1b-64 35 lm_train --shape "$shape_1b" --batch "$many" --steps 4 --turns 1 --case "NPO, full"
bench generate 55 lm_generate --shape "$shape_1b" --compile --sequences "$answers" --turns "$turns"
part tests 45 "$python" -m pytest -q -n0 -m gpu tests/gpu
bench images-sd15 60 images --shape "$sd15" --images "$images" --steps "$erasure" --plain-steps "$plain" --turns 1
bench eval-1b 30 lm_eval --shape "$shape_1b" --share "$share" --turns 1
part forget 25 "$python" -m genunlearn forget --method npo --fact "$fact" --out "$out/forget" "${short_forget[@]}"
part erase 35 "$python" -m genunlearn erase --concept "digit seven" --out "$out/erase" "${short_erase[@]}"
part audit 25 "$python" -m genunlearn audit --unlearned "$out/forget" --oracle never --fact "$fact" --out "$out/audit" \
  "${short_audit[@]}"
bench images-sdxl 50 images --shape "$sdxl" --images "$images_xl" --steps "$erasure_xl" --plain-steps "$plain_xl" --turns 1
exit "$failed"
