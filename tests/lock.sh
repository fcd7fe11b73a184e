#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the lock files anew from requirements*.in: the newest versions that fit, each with its hashes.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work"
"$work/bin/pip" install --quiet uv
lock() {
  "$work/bin/uv" pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
    --no-header --python-version 3.11 "$@"
}
lock requirements.in --output-file requirements.txt
lock requirements-test.in --constraints requirements.txt --output-file requirements-test.txt
lock src/kubestead/requirements.in --constraints requirements.txt --output-file src/kubestead/requirements.txt
