# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# Sourced by deploy.sh and test.sh, in the folder of the checkout: the virtual environment `.venv`,
# made from a lock file and made again only when that file changes. Exit 3: this computer lacks something.

# A setting of many containers. Without byte code each process of Ansible, and it has one for each task and host,
# compiles its plugins anew; its start alone takes twice as long.
unset PYTHONDONTWRITEBYTECODE

# become_root SCRIPT [ARGUMENT…]: the same again as root; the password is asked for once, here.
# The caller's cache and the settings of the package clients are taken along.
become_root() {
  local keep=("KUBESTEAD_CACHE=${KUBESTEAD_CACHE:-$HOME/.cache/kubestead}") name
  command -v sudo >/dev/null ||
    { echo "The lab makes network namespaces and mounts: run this as root, or install sudo." >&2; exit 3; }
  for name in $(compgen -e | grep -E '^(KUBESTEAD|PIP|GO)[A-Z_]+$|_(proxy|PROXY)$'); do
    [ "$name" = KUBESTEAD_CACHE ] || keep+=("$name=${!name}")
  done
  exec sudo env "${keep[@]}" "$@"
}

# Installs Debian packages, saying so; without root or sudo it says what to type instead.
install_packages() {
  local as=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "As root: apt-get install $*" >&2; exit 3; }
    as=(sudo)
  fi
  command -v apt-get >/dev/null || { echo "This computer lacks: $*. Install them with its package manager, then run this again." >&2; exit 3; }
  echo "Installing Debian packages: $*" >&2
  "${as[@]}" apt-get -qq update
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@" >/dev/null </dev/null ||
    { echo "apt-get could not install: $*. See its message above." >&2; exit 3; }
}

# The first Python 3.11 or newer: $KUBESTEAD_PYTHON, else what PATH has.
find_python() {
  local python
  for python in ${KUBESTEAD_PYTHON:-} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  echo "Kubestead needs Python 3.11 or newer. Install it, or name one in KUBESTEAD_PYTHON." >&2
  exit 3
}

# stamp LOCKFILE PYTHON: one line that says what .venv was made from.
stamp() { echo "$1 $(cat "$1" pyproject.toml | sha256sum | cut -d' ' -f1) $PWD $("$2" -c 'import sys; print(sys.version.split()[0])')"; }

# make_environment LOCKFILE: .venv holds at least what LOCKFILE pins. Two that come at once wait for each other.
make_environment() {
  local lock=$1 python lacks=() as=()
  # A user who became root by sudo keeps the files in the checkout.
  [ -z "${SUDO_USER:-}" ] || [ "$(stat -c %U .)" != "$SUDO_USER" ] || as=(runuser -u "$SUDO_USER" --)
  "${as[@]}" mkdir -p .ansible/collections/ansible_collections/kubestead
  "${as[@]}" ln -sfn ../../../.. .ansible/collections/ansible_collections/kubestead/homelab
  python=$(find_python)
  exec 9>.ansible/environment.lock
  flock 9
  if ! grep -qxF "$(stamp "$lock" "$python")" .venv/complete 2>/dev/null; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || lacks+=(python3-venv)
    command -v ssh >/dev/null || lacks+=(openssh-client)
    [ ${#lacks[@]} -eq 0 ] || install_packages "${lacks[@]}"

    echo "Making the virtual environment .venv from $lock (once, about a minute)" >&2
    "${as[@]}" .venv/bin/python -m pip --version >/dev/null 2>&1 || "${as[@]}" "$python" -m venv --clear .venv
    # The lock names every package with its hash: nothing is left to resolve. Byte code is made on first use.
    "${as[@]}" .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --no-compile --no-deps --require-hashes -r "$lock" ||
      { echo "pip could not fetch what $lock names. Is the package index reachable? (pip config list)" >&2; exit 3; }
    "${as[@]}" .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    # Written last, so that an interrupted one is known. What the tests need includes what deploying needs.
    { stamp "$lock" "$python"; stamp requirements.txt "$python"; } | "${as[@]}" tee .venv/complete >/dev/null
  fi
  exec 9>&-
}
