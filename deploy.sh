#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The one command: makes its own virtual environment from the lock file, then hands over to Python.
# `./deploy.sh --help` lists what it does; exit codes are in docs/exit-codes.md.
set -euo pipefail
export KUBESTEAD_CALLED_FROM="${KUBESTEAD_CALLED_FROM:-$PWD}"
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
. ./environment.sh

if [ "${1:-}" = lab ] && [ "$(id -u)" -ne 0 ]; then become_root "$PWD/deploy.sh" "$@"; fi
make_environment requirements.txt

case "${1:-}" in
  lab | bundle) exec .venv/bin/python -m "$@" ;;
  *) exec .venv/bin/python -m kubestead.deploy "$@" ;;
esac
