#!/usr/bin/env bash
# The tests and the speed benchmarks on a machine with a GPU, in one command from the root of the
# project:
#
#     bash docs/benchmarks/on_gpu.sh [FOLDER]
#
# A new virtual environment gets the build of torch that pip chooses, which on Linux is one for CUDA,
# or the one that PIP_CONSTRAINT pins. What is printed is kept in FOLDER (default: on_gpu): tests.txt,
# speed.txt, and distributed.txt where there are several GPUs. The exit status is that of the tests.
set -euo pipefail

folder=${1:-on_gpu}
device=${DEEPFM_DEVICE:-cuda}
mkdir -p "$folder"
python3 -m venv "$folder/venv"
python=$(cd "$folder" && pwd)/venv/bin/python
"$python" -m pip install --quiet -e ".[test,plot,onnx]"
"$python" -c "import torch; torch.empty(1, device='$device')" ||
    { echo "torch has no device '$device' here" >&2; exit 1; }

# Every model is trained there, unless a test names a device. One test compares the documented default.
status=0
DEEPFM_DEVICE=$device "$python" -m pytest -q -k "not documented_defaults" |
    tee "$folder/tests.txt" || status=$?

"$python" docs/benchmarks/bench_speed.py --contenders ours skorch --device "$device" \
    --features 100k 1M 10M --fields 39 --mlp 128-64 400-400-400 --batch 4096 65536 --memory-limit 100 |
    tee "$folder/speed.txt"
"$python" docs/benchmarks/bench_speed.py --contenders ours --device "$device" --precision bfloat16 \
    --features 1M --fields 39 --mlp 400-400-400 --batch 4096 65536 --memory-limit 100 |
    tee -a "$folder/speed.txt"

gpus=$("$python" -c "import torch; print(torch.cuda.device_count())")
if ((gpus > 1)); then
    "$python" docs/benchmarks/bench_distributed.py --device cuda --processes "$gpus" |
        tee "$folder/distributed.txt"
fi
exit "$status"
