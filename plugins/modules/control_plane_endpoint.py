#!/usr/bin/python
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: control_plane_endpoint
short_description: The address in front of a cluster's API servers, on one of its control planes
version_added: 0.1.0
author: Kubestead contributors (@kubestead)
description:
  - Writes what HAProxy and keepalived, or kube-vip, need for a virtual address, each file checked by the
    program that reads it; lets them run; removes what an earlier O(mode) left; and verifies that the address
    answers. All of it in one round trip.
  - Nothing is touched when the address is another machine's, or none of the interface's network; when the
    port is taken; when a configuration file is somebody else's; or when the cluster on this machine was made
    with another endpoint.
  - Where the API server on this machine is ready, C(/readyz) has to answer at the endpoint too, with a
    certificate of this cluster.
extends_documentation_fragment:
  - kubestead.homelab.attributes
  - kubestead.homelab.attributes.changes
options:
  mode:
    description: What stands in front of the API servers.
    type: str
    choices: [none, haproxy, kube_vip, external]
    required: true
  endpoint:
    description: C(HOST:PORT) as it is written into the cluster. Not needed with O(mode=none).
    type: str
    default: ""
  name:
    description: This machine's name in O(members).
    type: str
    required: true
  members:
    description: The addresses of the control planes, by name.
    type: dict
    required: true
  vip:
    description: The virtual address.
    type: str
    default: ""
  port:
    description: The port of the virtual address.
    type: int
    default: 6443
  interface:
    description: The interface that gets the virtual address; empty for the one that has this machine's.
    type: str
    default: ""
  api_port:
    description: The port of the API servers.
    type: int
    default: 6443
  monitor_port:
    description: The port of 127.0.0.1 at which keepalived asks HAProxy.
    type: int
    default: 8404
  virtual_router_id:
    description: The number by which keepalived's members know each other, one for each virtual address of a
      network.
    type: int
    default: 51
  image:
    description: The image of kube-vip.
    type: str
    default: ""
  first:
    description: Whether this machine makes the cluster. Only it gets kube-vip before there is one.
    type: bool
    default: false
  super_admin:
    description: Whether kubeadm makes C(super-admin.conf), which it does from Kubernetes 1.29 on.
    type: bool
    default: true
  wait:
    description: How many seconds it may take until the address answers.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: A virtual address by HAProxy and keepalived
  kubestead.homelab.control_plane_endpoint:
    mode: haproxy
    endpoint: 10.0.0.100:8443
    name: "{{ inventory_hostname }}"
    members: {cp-1: 10.0.0.11, cp-2: 10.0.0.12, cp-3: 10.0.0.13}
    vip: 10.0.0.100
    port: 8443
"""

RETURN = r"""
missing:
  description: Packages that have to be installed before anything is done. In check mode they count among
    RV(actions) instead.
  returned: always
  type: list
  elements: str
  sample: [haproxy, keepalived]
actions:
  description: What was, or in check mode would be, done.
  returned: always
  type: list
  elements: str
  sample: [write /etc/haproxy/haproxy.cfg, reload haproxy]
holder:
  description: Whether this machine has the virtual address.
  returned: always
  type: bool
ready:
  description: Whether C(/readyz) answers with 200 at the endpoint. Asked for only when the API server on this
    machine is ready.
  returned: always
  type: bool
later:
  description: Whether something is left to do or to verify when there is a cluster on this machine.
  returned: always
  type: bool
"""

import time
from pathlib import Path
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubestead.homelab.plugins.module_utils import endpoint_files as files
from ansible_collections.kubestead.homelab.plugins.module_utils import endpoint_node as node
from ansible_collections.kubestead.homelab.plugins.module_utils.endpoint_plan import (
    ADMIN,
    EXTERNAL,
    HAPROXY,
    KUBE_VIP,
    MODES,
    NONE,
    SUPER_ADMIN,
    Seen,
    kube_vip_kubeconfig,
    parse_address,
    split_endpoint,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.endpoint_services import (
    Services,
    config_problem,
    is_default,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.host import FileChange, read_text
from ansible_collections.kubestead.homelab.plugins.module_utils.write import write_text

AUTHORITY = "/etc/kubernetes/pki/ca.crt"
KEPT = ".before-kubestead"
PROGRAMS = {"haproxy": "haproxy", "keepalived": "keepalived"}
MODE_OF = {files.CHECK_FILE: 0o755, files.KUBE_VIP_FILE: 0o600}


class Endpoint:
    """The endpoint on this machine."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.given: dict[str, Any] = module.params
        self.actions: list[str] = []
        self.diff: list[dict[str, str]] = []
        self.services = Services(module)
        self.own_address = str(self.given["members"].get(self.given["name"], ""))
        self.held = self.addresses()
        self.ready_here = self._ready_here()
        self.later = False

    def addresses(self) -> "list[node.Held]":
        """The addresses that this machine has now."""
        _code, out, _err = self.module.run_command(["ip", "-json", "address", "show"], check_rc=True)
        return node.addresses(out)

    def _ready_here(self) -> bool:
        if not self.own_address:
            return False
        return node.get(self.own_address, self.given["api_port"], "/readyz")[0] == 200

    def virtual(self) -> files.Virtual:
        """The virtual address as it is to be here."""
        given = self.given
        return files.Virtual(
            name=given["name"],
            members={name: str(address) for name, address in given["members"].items()},
            vip=given["vip"],
            port=given["port"],
            interface=given["interface"] or node.interface_of(self.held, self.own_address),
            api_port=given["api_port"],
            monitor_port=given["monitor_port"],
            virtual_router_id=given["virtual_router_id"],
        )

    def wanted(self) -> "dict[str, str]":
        """The text of each file that has to be here."""
        if self.given["mode"] == HAPROXY:
            virtual = self.virtual()
            return {
                files.HAPROXY_FILE: files.haproxy_config(virtual),
                files.CHECK_FILE: files.check_script(virtual),
                files.KEEPALIVED_FILE: files.keepalived_config(virtual),
            }
        if self.given["mode"] == KUBE_VIP:
            kubeconfig = self.kubeconfig()
            if kubeconfig:
                text = files.kube_vip_manifest(self.virtual(), self.given["image"], kubeconfig)
                return {files.KUBE_VIP_FILE: text}
        return {}

    def kubeconfig(self) -> str:
        """What kube-vip is to use; nothing where it has to wait."""
        leads = node.may_lead(Path(ADMIN), self.own_address, self.given["api_port"])
        self.later = not leads
        seen = Seen(
            leads=leads,
            ready=self.ready_here,
            files=[path for path in (ADMIN, SUPER_ADMIN) if Path(path).exists()],
            present=files.kubeconfig_of(read_text(Path(files.KUBE_VIP_FILE)) or ""),
        )
        return kube_vip_kubeconfig(seen, self.given["first"], self.given["super_admin"])

    # --- Before anything is touched -----------------------------------------------------------------------

    def check(self, wanted: "dict[str, str]", unwanted: "list[str]") -> None:
        """Fail with all that stands in the way."""
        problems = [self._cluster_problem(unwanted), self._name_problem()]
        if self.given["mode"] in (HAPROXY, KUBE_VIP):
            problems += self._address_problems()
        if self.given["mode"] == HAPROXY:
            problems += [self._foreign_problem(path) for path in wanted]
            problems += [
                self._port_problem(port) for port in (self.given["port"], self.given["monitor_port"])
            ]
        problems = [problem for problem in problems if problem]
        if problems:
            self.fail("\n".join([*problems, "Nothing was changed."]))

    def _cluster_problem(self, unwanted: "list[str]") -> str:
        made_with = split_endpoint(node.cluster_endpoint())
        if made_with is None:
            return ""
        told = "https://{}:{}".format(*made_with)
        rest = "A cluster keeps the endpoint that it was made with, for it is in certificates and kubeconfigs"
        if self.given["mode"] == NONE:
            held = {one for path in unwanted for one in files.addresses_of(read_text(Path(path)) or "")}
            if not held & {made_with[0], *node.resolve(made_with[0])}:
                return ""
            return (
                f"The cluster here is reached at {told}, and control_plane_endpoint_mode none would take "
                f"that address away. {rest}: leave the mode as it was, or reset the cluster first."
            )
        if made_with == split_endpoint(self.given["endpoint"]):
            return ""
        return (
            f"The cluster here is reached at {told}, and the settings ask for {self.given['endpoint']}. "
            f"{rest}: set control_plane_endpoint_vip and control_plane_endpoint_port (or "
            "control_plane_endpoint_mode external with control_plane_endpoint_external) to that one, or "
            "reset the cluster first."
        )

    def _name_problem(self) -> str:
        host = (split_endpoint(self.given["endpoint"]) or ("", 0))[0]
        if self.given["mode"] == NONE or not host or parse_address(host):
            return ""
        found = node.resolve(host)
        if self.given["vip"] in found or (found and self.given["mode"] == EXTERNAL):
            return ""
        means = f"means {', '.join(sorted(found))}" if found else "is not known"
        wanted = self.given["vip"] or "the balancer's address"
        problem = f"{host}, the host of the endpoint, {means} on {self.given['name']}, expected {wanted}."
        if self.module.check_mode:
            self.module.warn(f"{problem} In check mode it may not have been written into /etc/hosts yet.")
            return ""
        return f"{problem} Put it into DNS, or into os_prep_hosts."

    def _address_problems(self) -> "list[str]":
        virtual = self.virtual()
        if not virtual.interface:
            return [
                f"No interface here has {self.own_address or 'an address that is known'}, the address of "
                f"{virtual.name}: name the interface in control_plane_endpoint_interface."
            ]
        problem = node.network_problem(self.held, virtual.interface, virtual.vip)
        return [problem] if problem else [self._stranger_problem(virtual)]

    def _stranger_problem(self, virtual: files.Virtual) -> str:
        """Whether a machine that is no member has the address already."""
        if node.interface_of(self.held, virtual.vip) or ":" in virtual.vip:
            return ""
        present = [read_text(Path(path)) or "" for path in (files.KEEPALIVED_FILE, files.KUBE_VIP_FILE)]
        if any(virtual.vip in files.addresses_of(text) for text in present):
            return ""  # it was asked when these files were written
        strangers = node.who_has(virtual.interface, [virtual.vip])[virtual.vip]
        if not strangers:
            return ""
        others = [address for name, address in virtual.members.items() if name != virtual.name]
        known = set().union(*node.who_has(virtual.interface, others).values())
        if strangers <= known:
            return ""
        return (
            f"control_plane_endpoint_vip is {virtual.vip}, which {', '.join(sorted(strangers - known))} on "
            f"{virtual.interface} already has, and that is none of the control planes. Take a free address."
        )

    def _foreign_problem(self, path: str) -> str:
        text = read_text(Path(path))
        if text is None or files.is_ours(text) or is_default(self.module, path, text):
            return ""
        return (
            f"{path} is somebody else's: it does not begin with {files.MARK!r}, and it is not what the "
            "package brings. Move its work to another machine and the file away, or take another "
            "control_plane_endpoint_mode."
        )

    def _port_problem(self, port: int) -> str:
        present = read_text(Path(files.HAPROXY_FILE))
        if files.is_ours(present) and f":{port}\n" in str(present) and self.services.active("haproxy"):
            return ""
        _code, out, _err = self.module.run_command(
            ["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", f"sport = :{port}"]
        )
        others = [line for line in out.splitlines() if line.strip() and '(("haproxy"' not in line]
        if not others:
            return ""
        return f"Port {port}, which HAProxy needs here, is taken: {' '.join(others[0].split())}."

    # --- Convergence ----------------------------------------------------------------------------------------

    def remove(self, unwanted: "list[str]") -> None:
        """Stop and remove what another mode left; the files last, for they say that something is left."""
        addresses: list[str] = []
        for path, unit in ((files.KEEPALIVED_FILE, "keepalived"), (files.HAPROXY_FILE, "haproxy")):
            if path in unwanted:
                self.actions += self.services.stop(unit)
        for path in unwanted:
            text = read_text(Path(path)) or ""
            addresses += files.addresses_of(text)
            self.put(FileChange(path, text, read_text(Path(path + KEPT))), 0o644)
            if not self.module.check_mode:
                Path(path + KEPT).unlink(missing_ok=True)
        if not self.module.check_mode:
            for address in addresses:
                self._let_go(address)

    def _let_go(self, address: str) -> None:
        """Wait until the address has left this machine; take it away when nobody does."""
        self.wait_for(lambda: not node.interface_of(self.addresses(), address), self.given["wait"])
        for one in self.addresses():
            if one.address == address:
                self.module.run_command(
                    ["ip", "address", "delete", f"{address}/{one.bits}", "dev", one.interface], check_rc=True
                )
                self.actions.append(f"remove {address} from {one.interface}")

    def write(self, wanted: "dict[str, str]") -> None:
        """Check the texts that differ, then write them."""
        changes = [FileChange(path, read_text(Path(path)), text) for path, text in wanted.items()]
        changes = [change for change in changes if change.needed]
        problems = [config_problem(self.module, change) for change in changes]
        if any(problems):
            self.fail("\n".join([*filter(None, problems), "Nothing was changed."]))
        for change in changes:
            if change.before is not None and not files.is_ours(change.before) and not self.module.check_mode:
                Path(change.path).rename(change.path + KEPT)
            self.put(change, MODE_OF.get(change.path, 0o644))

    def put(self, change: FileChange, mode: int) -> None:
        """Write or remove one file, or note it."""
        self.actions.append(f"{'write' if change.after is not None else 'remove'} {change.path}")
        self.diff.append(
            {
                "before_header": change.path,
                "after_header": change.path,
                "before": change.before or "",
                "after": change.after or "",
            }
        )
        if not self.module.check_mode:
            write_text(self.module, change, mode)

    def run(self) -> None:
        """Let the services run with the configuration that is there."""
        if self.given["mode"] != HAPROXY:
            return
        for unit, path in (("haproxy", files.HAPROXY_FILE), ("keepalived", files.KEEPALIVED_FILE)):
            self.actions += self.services.run(unit, path, f"write {path}" in self.actions)

    # --- Verification ---------------------------------------------------------------------------------------

    def verify(self) -> bool:
        """Fail unless all is as it should be; return whether the endpoint is ready."""
        given = self.given
        if given["mode"] == HAPROXY:
            self._verify_haproxy()
        if given["mode"] in (HAPROXY, KUBE_VIP) and self.services.touched:
            self._settle()
        if given["mode"] == NONE:
            return self.ready_here
        if not self.ready_here:
            self.later = True
            return False
        return self._verify_endpoint()

    def _verify_haproxy(self) -> None:
        given = self.given
        if not self.wait_for(
            lambda: node.get("127.0.0.1", given["monitor_port"], "/alive", tls=False)[0] == 200, given["wait"]
        ):
            self.fail(f"HAProxy does not answer at 127.0.0.1:{given['monitor_port']}.", "haproxy")
        if not self.wait_for(lambda: node.connects(given["vip"], given["port"]), given["wait"]):
            self.fail(
                f"{given['vip']} takes no connection at port {given['port']}: no control plane holds the "
                "address, or a firewall is in between.",
                "keepalived",
            )

    def _settle(self) -> None:
        """Wait until it is clear for two seconds whether the address is here: members have agreed by then."""
        seen, since = self.holder(), time.monotonic()
        until = since + self.given["wait"]
        while time.monotonic() < min(until, since + 2):
            time.sleep(0.2)
            if self.holder() != seen:
                seen, since = not seen, time.monotonic()

    def _verify_endpoint(self) -> bool:
        host, port = split_endpoint(self.given["endpoint"]) or ("", 0)
        authority = AUTHORITY if Path(AUTHORITY).exists() else None
        said: list[str] = []

        def answers() -> bool:
            status, problem = node.get(host, port, "/readyz", ca_file=authority)
            said.append(problem or f"it says {status}")
            return status == 200

        if not self.wait_for(answers, self.given["wait"]):
            self.fail(
                f"The API server on {self.given['name']} is ready, but "
                f"https://{self.given['endpoint']}/readyz is not: {said[-1]}."
            )
        return True

    def holder(self) -> bool:
        """Whether this machine has the virtual address."""
        return bool(self.given["vip"] and node.interface_of(self.addresses(), self.given["vip"]))

    def wait_for(self, condition: "Callable[[], bool]", seconds: float) -> bool:
        """Whether it came true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)
        return True

    def fail(self, message: str, unit: str = "") -> None:
        """End with what is wrong, and what the unit said last."""
        said = self.services.journal(unit) if unit else []
        self.module.fail_json(msg="\n".join([message, *said]), actions=self.actions)


def main() -> None:
    """Look, check, converge, verify, tell."""
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": list(MODES), "required": True},
            "endpoint": {"type": "str", "default": ""},
            "name": {"type": "str", "required": True},
            "members": {"type": "dict", "required": True},
            "vip": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 6443},
            "interface": {"type": "str", "default": ""},
            "api_port": {"type": "int", "default": 6443},
            "monitor_port": {"type": "int", "default": 8404},
            "virtual_router_id": {"type": "int", "default": 51},
            "image": {"type": "str", "default": ""},
            "first": {"type": "bool", "default": False},
            "super_admin": {"type": "bool", "default": True},
            "wait": {"type": "int", "default": 180},
        },
        required_if=[
            ("mode", HAPROXY, ("endpoint", "vip")),
            ("mode", KUBE_VIP, ("endpoint", "vip", "image")),
            ("mode", EXTERNAL, ("endpoint",)),
        ],
        supports_check_mode=True,
    )
    endpoint = Endpoint(module)
    wanted = endpoint.wanted()
    present = (files.KEEPALIVED_FILE, files.HAPROXY_FILE, files.CHECK_FILE, files.KUBE_VIP_FILE)
    unwanted = [path for path in present if path not in wanted and files.is_ours(read_text(Path(path)))]
    if module.params["mode"] == KUBE_VIP:
        unwanted = [path for path in unwanted if path != files.KUBE_VIP_FILE]
    endpoint.check(wanted, unwanted)
    missing = [
        package
        for package, program in PROGRAMS.items()
        if module.params["mode"] == HAPROXY and not module.get_bin_path(program)
    ]
    ready = False
    if not missing or module.check_mode:
        endpoint.actions += [f"install {package}" for package in missing]
        endpoint.remove(unwanted)
        endpoint.write(wanted)
        endpoint.run()
        if not (module.check_mode and endpoint.actions):
            ready = endpoint.verify()
    result: dict[str, Any] = {
        "changed": bool(endpoint.actions),
        "actions": endpoint.actions,
        "missing": [] if module.check_mode else missing,
        "holder": endpoint.holder(),
        "ready": ready,
        "later": endpoint.later,
    }
    if module._diff and endpoint.diff:
        result["diff"] = endpoint.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
