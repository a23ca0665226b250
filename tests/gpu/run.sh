#!/usr/bin/env bash
# Make the record of a GPU in at most 8 minutes: OUT=gpu-record tests/gpu/run.sh [--sections NAME...] [--limit-s SECONDS] [--small]
# Without a GPU the same runs at a small size on the processor. No network is needed: packages that are missing are unpacked
# from gpu-wheels/ (`python -m tools.carry`) into a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$PYTHON" tests/gpu/bare.py gpu-wheels "$site"
export PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" tests/gpu/record.py --out "${OUT:-gpu-record}" "$@"
