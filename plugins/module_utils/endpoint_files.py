# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a virtual address in front of API servers: HAProxy's, keepalived's, kube-vip's."""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t

MARK = "# Managed by kubestead.homelab: role control_plane_endpoint"

HAPROXY_FILE = "/etc/haproxy/haproxy.cfg"
KEEPALIVED_FILE = "/etc/keepalived/keepalived.conf"
CHECK_FILE = "/etc/keepalived/kubestead-endpoint"
KUBE_VIP_FILE = "/etc/kubernetes/manifests/kube-vip.yaml"

_HAPROXY = """\
{mark}
# Ends of TLS are the API servers and their clients: HAProxy passes on what it does not read.
global
    log stdout format raw daemon notice
    user haproxy
    group haproxy
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 600 level operator

defaults
    mode tcp
    log global
    option clitcpka
    option srvtcpka
    timeout connect 5s
    timeout check 5s
    timeout client 1h
    timeout server 1h

frontend kubernetes-api
    bind {bind}
    default_backend kubernetes-api

# Only servers whose /readyz says 200 get connections. What the others still had is closed: clients come anew.
backend kubernetes-api
    balance leastconn
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host kubernetes
    http-check expect status 200
    default-server check check-ssl verify none on-marked-down shutdown-sessions
    default-server inter 2s fastinter 500ms downinter 1s rise 1 fall 3
{servers}

# What keepalived asks: whether HAProxy runs (/alive), and whether it has an API server to send to (/ready).
frontend monitor
    mode http
    timeout client 5s
    bind 127.0.0.1:{monitor_port}
    monitor-uri /ready
    monitor fail if {{ nbsrv(kubernetes-api) lt 1 }}
    http-request return status 200 content-type text/plain string alive if {{ path /alive }}
    http-request return status 404
"""

_KEEPALIVED = """\
{mark}
global_defs {{
    router_id {name}
    enable_script_security
    script_user nobody
}}

# Without HAProxy this machine must not hold the address.
vrrp_script alive {{
    script "{check} alive"
    interval 1
    timeout 5
    fall 3
    rise 1
}}

# One that reaches an API server holds it rather than one that does not.
vrrp_script ready {{
    script "{check} ready"
    interval 2
    timeout 5
    fall 2
    rise 1
    weight 50
}}

# All have the same priority: the address stays where it is while that machine is as well as the others.
vrrp_instance kubernetes_api {{
    state BACKUP
    interface {interface}
    virtual_router_id {virtual_router_id}
    priority 100
    advert_int 1
    preempt_delay 5
    unicast_src_ip {address}
{peers}    virtual_ipaddress {{
        {vip}/{bits}
    }}
    track_script {{
        alive
        ready
    }}
}}
"""

_CHECK = """\
#!/bin/bash
{mark}
# Ask HAProxy on this machine: kubestead-endpoint alive|ready
exec 3<>/dev/tcp/127.0.0.1/{monitor_port} || exit 1
printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' "$1" >&3
read -r -t 4 _ status _ <&3
[[ $status == 200 ]]
"""


class Virtual(t.NamedTuple):
    """A virtual address on this machine, which is `name` among the members (their addresses by name)."""

    name: str
    members: t.Mapping[str, str]
    vip: str
    port: int
    interface: str
    api_port: int = 6443
    monitor_port: int = 8404
    virtual_router_id: int = 51


def _bits(address: str) -> int:
    return ipaddress.ip_address(address).max_prefixlen


def _server(name: str, address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"    server {name} {host}:{port}"


def haproxy_config(virtual: Virtual) -> str:
    """HAProxy's configuration; the same on all members."""
    any_address = ":::" if ":" in virtual.vip else "*:"
    servers = [_server(name, address, virtual.api_port) for name, address in sorted(virtual.members.items())]
    return _HAPROXY.format(
        mark=MARK,
        bind=f"{any_address}{virtual.port}",
        monitor_port=virtual.monitor_port,
        servers="\n".join(servers),
    )


def keepalived_config(virtual: Virtual) -> str:
    """keepalived's configuration on this member. The members talk to each other only, not to a group."""
    others = [address for name, address in sorted(virtual.members.items()) if name != virtual.name]
    listed = "".join(f"        {address}\n" for address in others)
    return _KEEPALIVED.format(
        mark=MARK,
        name=virtual.name,
        check=CHECK_FILE,
        interface=virtual.interface,
        virtual_router_id=virtual.virtual_router_id,
        address=virtual.members[virtual.name],
        peers=f"    check_unicast_src\n    unicast_peer {{\n{listed}    }}\n" if others else "",
        vip=virtual.vip,
        bits=_bits(virtual.vip),
    )


def check_script(virtual: Virtual) -> str:
    """The program by which keepalived asks HAProxy."""
    return _CHECK.format(mark=MARK, monitor_port=virtual.monitor_port)


def kube_vip_manifest(virtual: Virtual, image: str, kubeconfig: str) -> str:
    """kube-vip's static pod. It talks to the API server of its own machine, with the kubeconfig given.

    The one that has the lease holds the address. Who cannot renew it, because the own API server is not well,
    loses it.
    """
    environment = {
        "address": virtual.vip,
        "port": str(virtual.port),
        # Since 1.2 it would ask the kubeconfig's server: the very address that it is to bring up.
        "kubernetes_addr": f"kubernetes:{virtual.port}",
        "cp_enable": "true",
        "cp_namespace": "kube-system",
        "vip_arp": "true",
        "vip_interface": virtual.interface,
        "vip_subnet": str(_bits(virtual.vip)),
        "vip_leaderelection": "true",
        "vip_leasename": "plndr-cp-lock",
        "vip_leaseduration": "15",
        "vip_renewdeadline": "10",
        "vip_retryperiod": "2",
        "svc_enable": "false",
    }
    node_name = {"name": "vip_nodename", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube-vip", "namespace": "kube-system"},
        "spec": {
            "hostNetwork": True,
            "priorityClassName": "system-node-critical",
            # While it is exchanged for one with another kubeconfig nobody has the address.
            "terminationGracePeriodSeconds": 5,
            "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["kubernetes"]}],
            "containers": [
                {
                    "name": "kube-vip",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["manager"],
                    "env": [{"name": name, "value": value} for name, value in environment.items()]
                    + [node_name],
                    "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
                    "volumeMounts": [
                        {"name": "kubeconfig", "mountPath": "/etc/kubernetes/admin.conf", "readOnly": True}
                    ],
                }
            ],
            "volumes": [{"name": "kubeconfig", "hostPath": {"path": kubeconfig, "type": "File"}}],
        },
    }
    return f"{MARK}\n{json.dumps(pod, indent=2)}\n"


def kubeconfig_of(manifest: str) -> str:
    """The kubeconfig that kube-vip's static pod is given; nothing where the text is none."""
    found = re.search(r'"hostPath": \{\s+"path": "([^"]+)"', manifest)
    return found.group(1) if found else ""


def is_ours(text: str | None) -> bool:
    """Whether this role has written the text."""
    return text is not None and MARK in text.split("\n", 2)[:2]


def addresses_of(text: str) -> list[str]:
    """The virtual addresses that one of our files names."""
    keepalived = re.findall(r"virtual_ipaddress \{\s+([0-9a-fA-F.:]+)/", text)
    kube_vip = re.findall(r'"name": "address",\s+"value": "([^"]+)"', text)
    return keepalived + kube_vip
