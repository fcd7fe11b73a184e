#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Brings a machine that is installed already to Kubestead: run it as root on the machine, as often as you like.
#
#   wget @BASE@/scripts/provision-machine.sh && sudo sh provision-machine.sh [--mac MAC]
#
# It fetches the first-boot agent, which asks to be adopted; a person says yes with `kubestead machines adopt CODE`.
# Nothing is installed but the agent, and no disk is touched.
set -eu

base='@BASE@'
api_url='@API_URL@'
wait=60
mac=''

say() { echo "provision-machine.sh: $*"; }
fail() {
    echo "provision-machine.sh: $*" >&2
    exit 3
}

while [ $# -gt 0 ]; do
    case $1 in
        --mac) mac=${2:?--mac needs the MAC address by which the registry knows this machine} && shift ;;
        --no-wait) wait=0 ;;
        *)
            echo "provision-machine.sh: unknown argument $1; known are --mac MAC and --no-wait" >&2
            exit 2
            ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || fail "needs root: sudo sh $0"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
    fail "needs Python 3.9 or newer: apt-get install python3, or dnf install python3"

fetch() { # what, where, mode
    if command -v wget >/dev/null 2>&1; then
        wget -q -O "$work/$1" "$base/scripts/$1"
    else
        curl -fsS -o "$work/$1" "$base/scripts/$1"
    fi || fail "$base/scripts/$1 cannot be fetched: is the boot server up, and wget or curl installed?"
    [ -s "$work/$1" ] || fail "$base/scripts/$1 is empty"
    mkdir -p "$(dirname "$2")"
    install -m "$3" "$work/$1" "$2.new"
    mv "$2.new" "$2"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p /etc/kubestead
fetch kubestead-agent /usr/local/sbin/kubestead-agent 755
fetch machine-state.sh /usr/local/sbin/machine-state.sh 755
case $api_url in
    https://*)
        fetch ca.crt /etc/kubestead/ca.crt 644
        say "the State API at $api_url is trusted by this authority; compare it with what the role state_api has printed:"
        python3 - /etc/kubestead/ca.crt <<'END'
import hashlib, ssl, sys
digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(open(sys.argv[1]).read())).hexdigest().upper()
print("  SHA256 " + ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)))
END
        ;;
esac
/usr/local/sbin/kubestead-agent configure --api-url "$api_url" --base "$base" ${mac:+--mac "$mac"}

if [ -d /run/systemd/system ]; then
    fetch kubestead-agent.service /etc/systemd/system/kubestead-first-boot.service 644
    systemctl daemon-reload
    systemctl enable --quiet kubestead-first-boot.service
    systemctl restart kubestead-first-boot.service
    say "the agent runs: journalctl -u kubestead-first-boot"
    [ "$wait" = 0 ] || exec /usr/local/sbin/kubestead-agent status --wait "$wait"
else
    say "no systemd here: the agent runs until it is done; Ctrl-C ends it"
    exec /usr/local/sbin/kubestead-agent run
fi
