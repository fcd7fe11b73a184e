#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Reports a state or a datum of this machine to the State API, with the machine's own token.
#
#   machine-state.sh STATE [PHASE [PROGRESS [MESSAGE…]]]    machine-state.sh provisioning prepare 40 "disks found"
#   machine-state.sh --data KEY TEXT | --json KEY JSON      keeps a value; - is standard input
#   machine-state.sh --get KEY                              prints it
#   machine-state.sh                                        prints what is known of this machine
set -eu
agent=/usr/local/sbin/kubestead-agent
if [ ! -x "$agent" ]; then
    echo "machine-state.sh: $agent is not here: run provision-machine.sh of the boot server first" >&2
    exit 3
fi
exec "$agent" machine-state "$@"
