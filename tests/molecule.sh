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
scenario=roles/$role/molecule/default
if [ "$*" != test ] || [ ! -e "$scenario/in-the-labs-network" ]; then
  cd "roles/$role"
  exec molecule "$@"
fi

# The role asks an API that only the lab's network has from here.
step() { (cd "roles/$role" && molecule "$@"); }
trap 'step destroy' EXIT
step destroy
step create
for name in converge idempotence verify; do
  python -m lab --lab "mol-${role//_/-}" run sh -c "cd roles/$role && exec molecule $name"
done
