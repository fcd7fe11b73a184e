# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: registry
short_description: Kubestead's machine registry as an inventory
version_added: "0.1.0"
author: Kubestead contributors (@kubestead)
description:
  - Reads the machine registry, a JSON or YAML file of machines by MAC address. Each machine is a host.
  - "Groups are made by role (C(control_plane), C(worker), C(compute)), feature (C(feature_gpu)), architecture
    (C(arch_amd64)), operating system (C(os_debian_12)), cluster (C(cluster_homelab)) and by the Kubernetes
    distribution (C(kubeadm), C(rke2), C(k3s)); machines of the role C(compute) have no distribution group."
  - "Host variables are C(machine_mac) and C(machine_<key>) for each key of the registry. Always there are
    C(machine_role), C(machine_architecture), C(machine_features), C(machine_specs), C(machine_cluster),
    C(machine_distribution), C(machine_labels), C(machine_taints) and C(machine_locked). The others are there
    where the registry has them: C(machine_ip), and with it C(ansible_host), C(machine_os), C(machine_disk),
    C(machine_firmware), C(machine_gpu_pci_address), C(machine_proxmox) and C(machine_bmc)."
  - A registry with problems gives no host at all, but an error that lists all the problems.
notes:
  - The file with these options is called C(kubestead.yml) or C(kubestead.yaml), or has a name that ends in
    C(.kubestead.yml). Used by its folder (C(-i inventory/lab)) it stands beside static inventory files.
  - Set C(any_unparsed_is_failed=true) in the section C([inventory]) of C(ansible.cfg), so that a registry
    with problems stops the run even where other inventory files beside it are fine.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: The name of this plugin, C(kubestead.homelab.registry).
    type: str
    required: true
    choices: [kubestead.homelab.registry]
  registry:
    description:
      - The registry's file. A relative path starts at the folder of the file with these options.
      - A file that ends in C(.yml) or C(.yaml) is read as YAML, every other as JSON.
    type: str
    default: registry.json
  cache:
    description:
      - Keep what was read in the inventory cache. It is read anew as soon as the file has changed.
      - Worth its while only for a large registry in YAML.
"""

EXAMPLES = r"""
# inventory/lab/kubestead.yml: with registry.json beside it, this is all.
plugin: kubestead.homelab.registry

---
# The groups of your own that the registry's groups do not give.
plugin: kubestead.homelab.registry
registry: ../../machines/registry.json
groups:
  big: "'64' in machine_specs.memory | default('')"
keyed_groups:
  - key: machine_labels.rack
    prefix: rack
compose:
  ansible_user: "'root' if machine_os | default('') is match('debian') else 'ubuntu'"
"""

import os
import re
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.kubestead.homelab.plugins.module_utils.machine import (
    DISTRIBUTIONS,
    FEATURES,
    FIELDS,
    ROLES,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.registry import (
    Machine,
    Problem,
    Registry,
    RegistryError,
)
from ansible_collections.kubestead.homelab.plugins.plugin_utils.unsafe import make_unsafe

_told: t.Dict[str, t.Tuple[Problem, ...]] = {}
_FILES = re.compile(r"(?:.*\.)?kubestead\.ya?ml")


# These are there for every machine, so that a play can use them without asking first.
_ALWAYS = frozenset({"features", "specs", "labels", "taints", "locked"})
_NOTHING: t.Tuple[t.Any, ...] = (None, {}, ())


def _group(prefix: str, name: str) -> str:
    return f"{prefix}_{name}".replace("-", "_").replace(".", "_")


def groups_of(machine: Machine) -> t.List[str]:
    """The names of the groups that a machine belongs to."""
    groups = [
        machine.role.replace("-", "_"),
        _group("cluster", machine.cluster),
        _group("arch", machine.architecture),
    ]
    groups.extend(_group("feature", feature) for feature in machine.features)
    if machine.os:
        groups.append(_group("os", machine.os))
    if machine.joins_cluster:
        groups.append(machine.distribution)
    return groups


def variables_of(machine: Machine) -> t.Dict[str, t.Any]:
    """The host variables of a machine."""
    variables = {
        f"machine_{key}": make_unsafe(value) for key, value in machine.extra.items() if key.isidentifier()
    }
    for name in FIELDS:
        value = getattr(machine, name)
        if name in _ALWAYS or value not in _NOTHING:
            variables[f"machine_{name}"] = make_unsafe(value)
    del variables["machine_hostname"]
    if machine.ip:
        variables["ansible_host"] = machine.ip
    return variables


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts, groups and variables from the machine registry."""

    NAME = "kubestead.homelab.registry"

    def verify_file(self, path: str) -> bool:
        """Take a file by its name: kubestead.yml."""
        return bool(super().verify_file(path) and _FILES.fullmatch(os.path.basename(path)))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Read the registry that the file at `path` names."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        registry = self._registry(
            os.path.join(os.path.dirname(os.path.abspath(path)), self.get_option("registry"))
        )
        for warning in registry.warnings:
            self.display.warning(warning)
        self._fill(registry)

    def _registry(self, path: str) -> Registry:
        file = os.path.normpath(path)
        shown = os.path.relpath(file) if not os.path.relpath(file).startswith("..") else file
        try:
            if not self.get_option("cache"):
                return self._load(file, shown)
            self.load_cache_plugin()
            return self._load_cached(file, shown)
        except RegistryError as error:
            raise AnsibleParserError(self._explain(shown, error)) from None

    def _explain(self, shown: str, error: RegistryError) -> str:
        count = "a problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"
        # Ansible goes on to try its `auto` plugin, which comes here again: once is enough to read.
        told = _told.get(shown) == error.problems
        _told[shown] = error.problems
        if told:
            return f"The machine registry {shown} has {count}; see above."
        problems = "\n".join(f"  - {problem}" for problem in error.problems)
        return f"The machine registry has {count}; correct the file and run again.\n{problems}"

    def _load(self, file: str, shown: str) -> Registry:
        return Registry.load(file, shown)

    def _load_cached(self, file: str, shown: str) -> Registry:
        key = self.get_cache_key(file)
        try:
            status = os.stat(file)
            stamp = [status.st_mtime_ns, status.st_size, status.st_ino]
        except OSError:
            return self._load(file, shown)
        try:
            entry = self._cache[key]
        except KeyError:
            entry = None
        if isinstance(entry, dict) and entry.get("stamp") == stamp:
            return Registry(entry["content"], shown)
        registry = self._load(file, shown)
        self._cache[key] = {"stamp": stamp, "content": registry.content()}
        return registry

    def _fill(self, registry: Registry) -> None:
        inventory = self.inventory
        for role in ROLES:
            inventory.add_group(role.replace("-", "_"))
        for name in (*DISTRIBUTIONS, *(_group("feature", feature) for feature in FEATURES)):
            inventory.add_group(name)
        strict = self.get_option("strict")
        compose, groups, keyed = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        for machine in registry:
            role, *others = groups_of(machine)
            host = inventory.add_host(machine.hostname, group=role)
            # From here on by the objects themselves: inventory.add_host and set_variable take twice the time
            # of all the rest, because ansible-core 2.19 walks through each name and value again.
            entity = inventory.get_host(host)
            for name in others:
                if name not in inventory.groups:
                    inventory.add_group(name)
                inventory.groups[name].add_host(entity)
            for name, value in variables_of(machine).items():
                entity.set_variable(name, value)
            if compose or groups or keyed:
                variables = entity.get_vars()
                self._set_composite_vars(compose, variables, host, strict=strict)
                variables = entity.get_vars()
                self._add_host_to_composed_groups(groups, variables, host, strict=strict)
                self._add_host_to_keyed_groups(keyed, variables, host, strict=strict)
