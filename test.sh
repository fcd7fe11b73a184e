#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# All tests, or those named: ./test.sh [lint|unit|sanity|integration|molecule|e2e|install|conformance|faults|cycle [N]]…
# `install` has to be named: a distribution's installer from power-on to `ready`, which takes half an hour emulated, and those of
# older releases.
# So has `conformance`: Kubernetes' own tests, as far as a bundle has them and the lab can run them, two hours and more.
# `faults` does to a cluster what happens to one at night: to be named, too. `cycle N` makes one and takes it apart N times; `e2e` does it
# five times, after all else.
# What this computer cannot run is skipped by name with the reason; so is what would not end before KUBESTEAD_TESTS_UNTIL (seconds since
# 1970), of which only `e2e` takes notice.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
. ./environment.sh

suites=() last=""
for word in "$@"; do
  if [ "$last" = cycle ] && [[ $word =~ ^[1-9][0-9]*$ ]]; then export KUBESTEAD_CYCLES=$word; else suites+=("$word"); fi
  last=$word
done
[ ${#suites[@]} -gt 0 ] || suites=(lint unit sanity integration molecule e2e)
for suite in "${suites[@]}"; do
  case $suite in
    lint | unit | sanity | integration) ;;
    molecule | e2e | install | conformance | faults | cycle) if [ "$(id -u)" -ne 0 ]; then become_root "$PWD/test.sh" "$@"; fi ;;
    *) echo "test.sh: no suite $suite: choose from lint, unit, sanity, integration, molecule, e2e, install, conformance, faults, cycle." >&2; exit 2 ;;
  esac
done
make_environment requirements-test.txt
PATH="$PWD/.venv/bin:$PATH"
export ANSIBLE_CONFIG="$PWD/ansible.cfg"

failed=() skipped=()

# check NAME COMMAND…: run one check, tell how it ended and how long it took.
check() {
  local name=$1 start=$SECONDS
  shift
  if "$@"; then echo "✔ $name ($((SECONDS - start)) s)"; else echo "✘ $name ($((SECONDS - start)) s)"; failed+=("$name"); fi
}

skip() { echo "– $1 skipped: $2"; skipped+=("$1"); }

# finished PID FILE: wait for a program that runs beside the others and writes to that file; show what it has said.
finished() {
  local code=0
  wait "$1" || code=$?
  cat "$2"
  rm "$2"
  return "$code"
}

suite_lint() {
  local said
  said=$(mktemp)
  # It uses one processor and takes longer than all the others together.
  ANSIBLE_INVENTORY=inventory/lab ansible-lint --offline --strict -q >"$said" 2>&1 &
  local linter=$!
  check "ruff" ruff check
  check "ruff format" ruff format --check --quiet
  check "mypy" mypy
  check "yamllint" yamllint --strict .
  check "changelog fragments" antsibull-changelog lint
  if command -v shellcheck >/dev/null; then
    check "shellcheck" shellcheck --external-sources deploy.sh test.sh environment.sh tests/*.sh .ci/run \
      roles/boot_images/files/initramfs/* src/kubestead/agent/*.sh
  else
    skip "shellcheck" "it is not installed (apt-get install shellcheck)"
  fi
  check "ansible-lint" finished "$linter" "$said"
}

suite_unit() { check "unit" python -m pytest tests/unit --numprocesses auto; }

suite_sanity() { check "ansible-test sanity" tests/sanity.sh; }

# What the integration tests use: a browser for the dashboard, PostgreSQL for the store. Without root or sudo they
# are not installed, and the tests that want them are skipped by name.
integration_packages() {
  local lacks=() settings=/etc/postgresql-common/createcluster.d/kubestead-tests.conf
  command -v chromium >/dev/null || lacks+=(chromium)
  command -v openssl >/dev/null || lacks+=(openssl)
  compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || lacks+=(postgresql)
  [ ${#lacks[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] || return 0
  # The tests make databases of their own: the package's is not wanted, and nothing is to be started.
  mkdir -p "${settings%/*}"
  echo "create_main_cluster = false" >"$settings"
  install_packages "${lacks[@]}"
  rm "$settings"
}

suite_integration() {
  integration_packages
  check "integration" python -m pytest tests/integration --numprocesses auto --dist loadfile -ra
}

# Whether this computer can carry the lab, after installing what apt can bring. Where it cannot, the suite is
# skipped with the reason; in CI that is a failure.
can_carry_lab() {
  local packages reason
  mapfile -t packages < <(python -m lab missing-packages)
  [ -z "${packages[*]}" ] || install_packages "${packages[@]}"
  reason=$(python -m lab --lab "test" check 2>&1) && return
  if [ -n "${CI:-}" ]; then check "$1: this computer can carry the lab" false; fi
  skip "$1" "$reason"
  return 1
}

# Two at a time: what a scenario waits for leaves a processor to the other.
suite_molecule() {
  can_carry_lab molecule || return 0
  check "molecule" python -m pytest tests/roles --numprocesses 2 --dist worksteal -vv --durations=0
}

# Two groups of tests side by side (tests/e2e/conftest.py).
suite_e2e() {
  can_carry_lab e2e || return 0
  check "e2e" python -m pytest tests/e2e --ignore tests/e2e/test_faults.py --ignore tests/e2e/test_high_availability_faults.py \
    --numprocesses 2 -vv -ra --durations=40
}

suite_faults() {
  can_carry_lab faults || return 0
  check "faults" python -m pytest tests/e2e/test_faults.py tests/e2e/test_high_availability_faults.py -vv -s -ra
}

suite_cycle() {
  can_carry_lab cycle || return 0
  check "cycle" python -m pytest tests/e2e/test_cycle.py -vv -s -ra
}

suite_install() {
  can_carry_lab install || return 0
  check "install" env KUBESTEAD_ALL_INSTALLERS=1 python -m pytest tests/install tests/e2e/test_installers.py -vv -ra --durations=25
}

suite_conformance() {
  can_carry_lab conformance || return 0
  check "conformance" python -m pytest tests/conformance -vv -ra --durations=5
}

for suite in "${suites[@]}"; do
  echo "== $suite"
  "suite_$suite"
done

echo
[ ${#skipped[@]} -eq 0 ] || printf 'skipped: %s\n' "${skipped[@]}"
[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}"; exit 1; }
echo "Nothing failed in: ${suites[*]}."
