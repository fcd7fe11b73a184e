# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""machine_power: what it takes of community.general's modules to have a machine run."""

from __future__ import annotations

import sys
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubestead.homelab.plugins.module_utils import bmc as controllers
from ansible_collections.kubestead.homelab.plugins.plugin_utils.messages import failure_message

_OPTIONS: t.Dict[str, t.Dict[str, t.Any]] = {
    "bmc": {"type": "dict", "required": True},
    "mac": {"type": "str", "required": True},
    "network": {"type": "bool", "default": False},
    "reset": {"type": "bool", "default": False},
    "firmware": {"type": "str", "choices": ["bios", "uefi"]},
    "timeout": {"type": "int", "default": 60},
}


class ActionModule(ActionBase):
    """Follows the reference to the secret, and has the modules do the work."""

    def run(
        self, tmp: t.Optional[str] = None, task_vars: t.Optional[t.Dict[str, t.Any]] = None
    ) -> t.Dict[str, t.Any]:
        """Run the task."""
        result: t.Dict[str, t.Any] = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "skipped": True, "msg": "in check mode no machine is switched on"}
        self._variables = dict(task_vars or {})
        if str(self._connection.transport) == "local":
            # Ansible's own Python has pyghmi; the one that a host of the inventory names need not.
            self._variables["ansible_python_interpreter"] = sys.executable
        _valid, self._options = self.validate_argument_spec(_OPTIONS)
        bmc = self._options["bmc"]
        ways = {
            controllers.REDFISH: self._redfish,
            controllers.IPMI: self._ipmi,
            controllers.WOL: self._wake,
        }
        if bmc.get("type") not in ways:
            raise AnsibleActionFail(f"bmc.type is {bmc.get('type')!r}, expected {', '.join(ways)}")
        try:
            did = ways[bmc["type"]](bmc)
        except controllers.BmcError as error:
            raise AnsibleActionFail(f"{error}.") from None
        return {**result, "changed": bool(did), "did": ", ".join(did) or "it was on already"}

    def _redfish(self, bmc: t.Mapping[str, t.Any]) -> t.List[str]:
        login = controllers.credentials(bmc, self._variable)
        common: t.Dict[str, t.Any] = {
            "category": "Systems",
            "baseuri": controllers.redfish_host(bmc),
            "username": login.username,
            "password": login.password,
            "timeout": self._options["timeout"],
        }
        if bmc.get("system"):
            common["resource_id"] = str(bmc["system"])
        if bmc.get("verify"):
            common["validate_certs"] = True

        def command(word: str, **more: t.Any) -> bool:
            done = self._module("redfish_command", {**common, "command": [word], **more})
            return bool(done.get("changed"))

        did = []
        if self._options["network"]:
            mode = {"bios": "Legacy", "uefi": "UEFI"}.get(self._options["firmware"] or "")
            more = {"boot_override_mode": mode} if mode else {}
            command("SetOneTimeBoot", bootdevice="Pxe", **more)
            did.append("network boot once")
        if command("PowerOn"):
            did.append("switched on")
        elif self._options["reset"]:
            command("PowerForceRestart")
            did.append("reset")
        return did

    def _ipmi(self, bmc: t.Mapping[str, t.Any]) -> t.List[str]:
        login = controllers.credentials(bmc, self._variable)
        host, port = controllers.port_of(bmc, controllers.IPMI_PORT)
        longest = controllers.IPMI_PASSWORD
        if len(login.password.encode()) > longest:
            raise controllers.BmcError(
                f"IPMI takes passwords of at most {longest} characters, and that of {host} is longer"
            )
        common = {"name": host, "port": port, "user": login.username, "password": login.password}
        did = []
        if self._options["network"]:
            uefi = self._options["firmware"] == "uefi"
            self._module("ipmi_boot", {**common, "bootdev": "network", "uefiboot": uefi})
            did.append("network boot once")
        state = "boot" if self._options["reset"] else "on"
        timeout = self._options["timeout"]
        if self._module("ipmi_power", {**common, "state": state, "timeout": timeout}).get("changed"):
            did.append("switched on or reset" if self._options["reset"] else "switched on")
        return did

    def _wake(self, bmc: t.Mapping[str, t.Any]) -> t.List[str]:
        host, port = controllers.port_of(bmc, controllers.WOL_PORT)
        self._module("wakeonlan", {"mac": self._options["mac"], "broadcast": host, "port": port})
        return ["woken by a magic packet"]

    def _module(self, name: str, arguments: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
        done: t.Dict[str, t.Any] = self._execute_module(
            module_name=f"community.general.{name}", module_args=arguments, task_vars=self._variables
        )
        if done.get("failed"):
            where = arguments.get("baseuri") or arguments.get("name") or arguments.get("broadcast")
            raise AnsibleActionFail(f"{name} by {where}: {failure_message(done)}")
        return done

    def _variable(self, name: str) -> t.Any:
        return self._templar.template(self._variables.get(name))
