#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# `ansible-test sanity` on what Ansible loads of this checkout. It wants a real folder .../ansible_collections/
# kubestead/homelab, so the files are copied into one. The programs beside it are checked by ruff and mypy.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
PATH="$PWD/.venv/bin:$PATH"
cache="${KUBESTEAD_CACHE:-$HOME/.cache/kubestead}/sanity"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
collection="$work/ansible_collections/kubestead/homelab"
mkdir -p "$collection" "$cache/.ansible/test/cache"
git ls-files -z --cached --others --exclude-standard -- \
  plugins roles playbooks meta changelogs docs galaxy.yml README.md LICENSE |
  tar --create --null --files-from=- | tar --extract --directory "$collection"

# ansible-test bootstraps pip in environments of its own by a script that it would fetch from its project's host.
# Python carries a pip: with this script in its place nothing but the package index is asked.
python=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
version=$(python - "$python" <<'EOF'
import sys
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages

print(get_venv_packages(SimpleNamespace(version=sys.argv[1]))["pip"].replace(".", "_"))
EOF
)
echo 'import runpy, sys; sys.argv = ["ensurepip"]; runpy.run_module("ensurepip", run_name="__main__")' \
  >"$cache/.ansible/test/cache/get_pip_$version.py"

# Those environments are kept in our cache, apart from the user's own ~/.ansible; pip's settings are the user's.
[ ! -f "$HOME/.config/pip/pip.conf" ] || export PIP_CONFIG_FILE="$HOME/.config/pip/pip.conf"
cd "$collection"
HOME="$cache" ansible-test sanity --local --requirements --color no \
  --python "$python" "$@"
