#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Test one role on real nodes: tests/molecule.sh ROLE [molecule's command and options]
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
role=${1:?expected the name of a role}
shift
[ $# -gt 0 ] || set -- test
export PATH="$PWD/.venv/bin:$PATH"
unset ANSIBLE_CONFIG # molecule writes its own
cd "roles/$role"
exec molecule "$@"
