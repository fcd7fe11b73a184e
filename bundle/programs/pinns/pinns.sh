#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
#
# Makes the namespaces of a pod and keeps them by bind mounts, as CRI-O asks for them:
#   pinns -d FOLDER -f NAME [-s KEY=VALUE]… [--ipc[=host]] [--net[=host]] [--uts[=host]] [--cgroup[=host]]
# Each is then at FOLDER/<kind>ns/NAME; settings are those of the new namespaces.
set -eu

# In the new namespaces: the settings, then nothing more; the mounts keep them.
if [ "${1:-}" = set ]; then
    shift
    for setting in "$@"; do
        key=$(printf %s "${setting%%=*}" | tr ./ /.)
        printf '%s\n' "${setting#*=}" >"/proc/sys/$key"
    done
    exit
fi

refuse() {
    echo "pinns: $1" >&2
    exit 1
}

folder='' name='' new='' host='' settings=''
while [ $# -gt 0 ]; do
    case $1 in
        -d) folder=$2; shift ;;
        -f) name=$2; shift ;;
        -s) settings="$settings$2
"; shift ;;
        --ipc | --net | --uts | --cgroup) new="$new ${1#--}" ;;
        --ipc=host | --net=host | --uts=host | --cgroup=host) kind=${1#--}; host="$host ${kind%=host}" ;;
        --user=host | --uid-mapping= | --gid-mapping=) ;;
        --user* | --uid-mapping=* | --gid-mapping=*) refuse 'user namespaces are not supported by this build of CRI-O' ;;
        *) refuse "$1 is not known" ;;
    esac
    shift
done
[ -n "$folder" ] && [ -n "$name" ] || refuse '-d FOLDER and -f NAME are needed'

pin() {
    mkdir -p "$folder/$1ns"
    : >>"$folder/$1ns/$name"
}

for kind in $host; do
    pin "$kind"
    mount --bind "/proc/self/ns/$kind" "$folder/${kind}ns/$name"
done

script=$0
IFS='
'
set -f
# shellcheck disable=SC2086 # one word a line
set -- "$script" set $settings
IFS=' '
# shellcheck disable=SC2086
for kind in $new; do
    pin "$kind"
    set -- "--$kind=$folder/${kind}ns/$name" "$@"
done
exec unshare "$@"
