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
  - Reads the machine registry, machines by MAC address, from a JSON or YAML file or from the State API. Each
    machine is a host.
  - "Groups are made by role (C(control_plane), C(worker), C(compute)), feature (C(feature_gpu)), architecture
    (C(arch_amd64)), operating system (C(os_debian_12)), cluster (C(cluster_homelab)) and by the Kubernetes
    distribution (C(kubeadm), C(rke2), C(k3s)); machines of the role C(compute) have no distribution group."
  - "Host variables are C(machine_mac) and C(machine_<key>) for each key of the registry. Always there are
    C(machine_role), C(machine_architecture), C(machine_features), C(machine_specs), C(machine_cluster),
    C(machine_distribution), C(machine_labels), C(machine_taints) and C(machine_locked). The others are there
    where the registry has them: C(machine_ip), C(machine_os), C(machine_disk), C(machine_firmware),
    C(machine_install_method), C(machine_gpu_pci_address), C(machine_proxmox) and C(machine_bmc).
    C(machine) is all of that in one: the machine's record, with its C(hostname) and the keys that we
    do not know."
  - "C(ansible_host) is the machine's C(ip); without one, the address from which the State API heard of it
    last, where C(api_url) is set; without that it is not set, and Ansible goes by the host name."
  - A registry with problems gives no host at all, but an error that lists all the problems.
notes:
  - The file with these options is called C(kubestead.yml) or C(kubestead.yaml), or has a name that ends in
    C(.kubestead.yml). Used by its folder (C(-i inventory/lab)) it stands beside static inventory files.
  - Set C(any_unparsed_is_failed=true) in the section C([inventory]) of C(ansible.cfg), so that a registry
    with problems stops the run even where other inventory files beside it are fine.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
  - kubestead.homelab.state_api
  - kubestead.homelab.state_api.plugin
options:
  plugin:
    description: The name of this plugin, C(kubestead.homelab.registry).
    type: str
    required: true
    choices: [kubestead.homelab.registry]
  source:
    description:
      - C(file) reads the registry of C(registry).
      - C(api) reads the live registry of the State API at C(api_url), which needs an operator's token. A
        relative path in C(api_token_file) or C(api_ca_file) starts at the folder of this file.
    type: str
    choices: [file, api]
    default: file
  registry:
    description:
      - The registry's file. A relative path starts at the folder of the file with these options.
      - A file that ends in C(.yml) or C(.yaml) is read as YAML, every other as JSON.
    type: str
    default: registry.json
  kubespray_groups:
    description:
      - Make Kubespray's groups too, of the machines whose distribution is C(kubeadm). C(kube_control_plane)
        and C(etcd) hold the control planes, C(kube_node) the workers, C(k8s_cluster) is the parent of all.
      - "It also sets the variables that Kubespray reads of a host: C(ip) and C(access_ip) (C(ip6) and
        C(access_ip6) where the address is one of IPv6), C(etcd_member_name), C(node_labels), C(node_taints)."
    type: bool
    default: false
  kubespray_cluster:
    description: The cluster for C(kubespray_groups), where the registry has more than one of C(kubeadm).
    type: str
  cache:
    description:
      - Keep what was read in the inventory cache.
      - A file is read anew as soon as it has changed. Worth its while only for a large registry in YAML.
      - The State API is asked again after C(cache_timeout) seconds, or with C(--flush-cache). While it does
        not answer, what it said last is used, with a warning. Without the cache that is an error.
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

---
# From the live registry, also while the State API is away.
plugin: kubestead.homelab.registry
source: api
api_url: https://10.0.0.10:8080
api_token_file: ~/.config/kubestead/operator.token
api_ca_file: ~/.cache/kubestead/state-api/boot.ca.crt
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/kubestead/inventory

---
# For Kubespray: ansible-inventory -i inventory/home --list --yaml --output kubespray.yml
plugin: kubestead.homelab.registry
kubespray_groups: true
"""

import os
import re
import time
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.kubestead.homelab.plugins.module_utils.registry import (
    Problem,
    Registry,
    RegistryError,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.registry_file import render
from ansible_collections.kubestead.homelab.plugins.module_utils.registry_groups import (
    KUBESPRAY_CHILDREN,
    KUBESPRAY_CLUSTER,
    KUBESPRAY_ETCD,
    STANDARD_GROUPS,
    groups_of,
    kubespray_clusters,
    kubespray_groups_of,
    kubespray_variables,
    record_of,
    variables_of,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.registry_source import (
    fetch_addresses,
    fetch_registry,
    lacking_address,
)
from ansible_collections.kubestead.homelab.plugins.module_utils.state_api_client import (
    StateApiClient,
    StateApiError,
    read_token,
)
from ansible_collections.kubestead.homelab.plugins.plugin_utils.unsafe import make_unsafe

_told: t.Dict[str, t.Tuple[Problem, ...]] = {}
_FILES = re.compile(r"(?:.*\.)?kubestead\.ya?ml")

Entry = t.Dict[str, t.Any]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts, groups and variables from the machine registry."""

    NAME = "kubestead.homelab.registry"

    def verify_file(self, path: str) -> bool:
        """Take a file by its name: kubestead.yml."""
        return bool(super().verify_file(path) and _FILES.fullmatch(os.path.basename(path)))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Read the registry that the file at `path` names."""
        super().parse(inventory, loader, path, cache)
        self._written = self._read_config_data(path)
        self._folder = os.path.dirname(os.path.abspath(path))
        self._may_read_cache = cache
        if self.get_option("cache"):
            self._open_cache()
        from_api = self.get_option("source") == "api"
        try:
            registry = self._live_registry() if from_api else self._registry()
            addresses = self._addresses(registry)
        except StateApiError as error:
            raise AnsibleParserError(f"The State API cannot give the inventory: {error}.") from None
        for warning in registry.warnings:
            self.display.warning(warning)
        self._fill(registry, addresses)

    # The registry as a file

    def _registry(self) -> Registry:
        file = os.path.normpath(os.path.join(self._folder, os.path.expanduser(self.get_option("registry"))))
        shown = os.path.relpath(file) if not os.path.relpath(file).startswith("..") else file
        try:
            return self._cached_file(file, shown) if self.get_option("cache") else Registry.load(file, shown)
        except RegistryError as error:
            raise AnsibleParserError(self._explain(shown, error)) from None

    def _cached_file(self, file: str, shown: str) -> Registry:
        try:
            status = os.stat(file)
        except OSError:
            return Registry.load(file, shown)
        stamp = [status.st_mtime_ns, status.st_size, status.st_ino]
        key = self.get_cache_key(file)
        entry = self._entry(key)
        if self._may_read_cache and entry.get("stamp") == stamp:
            registry = Registry.parse(str(entry["text"]))
            registry.warnings = tuple(str(warning) for warning in entry["warnings"])
            return registry
        registry = Registry.load(file, shown)
        # As text: nothing that is done to the inventory reaches it, and JSON is read faster than YAML.
        text = render(registry.content(), "registry.json")
        self._cache[key] = {"stamp": stamp, "text": text, "warnings": list(registry.warnings)}
        return registry

    def _explain(self, shown: str, error: RegistryError) -> str:
        count = "a problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"
        # Ansible goes on to try its `auto` plugin, which comes here again: once is enough to read.
        told = _told.get(shown) == error.problems
        _told[shown] = error.problems
        if told:
            return f"The machine registry {shown} has {count}; see above."
        problems = "\n".join(f"  - {problem}" for problem in error.problems)
        return f"The machine registry has {count}; correct the file and run again.\n{problems}"

    # The State API

    def _live_registry(self) -> Registry:
        found = self._asked("registry", lambda client: fetch_registry(client)._asdict())
        try:
            return Registry.parse(str(found["text"]), str(found["source"]))
        except RegistryError as error:
            raise AnsibleParserError(self._explain(str(found["source"]), error)) from None

    def _addresses(self, registry: Registry) -> t.Mapping[str, str]:
        """Where the machines without an `ip` were seen last, if there are any and there is an API to ask."""
        lacking = lacking_address(registry)
        if not lacking or not self.get_option("api_url"):
            return {}
        try:
            return dict(self._asked("addresses", fetch_addresses))
        except StateApiError as error:
            if self.get_option("source") == "api":
                raise
            names = ", ".join(registry.machines[mac].hostname for mac in lacking[:5])
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            self.display.warning(
                f"The registry has no ip for {names}{more}, and the State API cannot say where they are: "
                f"{error}. Their host names are used."
            )
            return {}

    def _asked(self, what: str, ask: t.Callable[[StateApiClient], Entry]) -> Entry:
        """The State API's answer, or the one in the cache: while it is fresh, and while there is no other."""
        url = self.get_option("api_url")
        if not self.get_option("cache"):
            return ask(self._client())
        key = self.get_cache_key(f"{what} {url}")
        entry = self._entry(key)
        age = time.time() - float(entry.get("at", 0))
        lasts = self.get_option("cache_timeout")
        if entry and self._may_read_cache and (lasts == 0 or 0 <= age < lasts):
            return dict(entry["answer"])
        try:
            answer = ask(self._client())
        except StateApiError as error:
            if not entry:
                raise
            self.display.warning(f"{error}. What the State API said {_ago(age)} is used, from the cache.")
            return dict(entry["answer"])
        self._cache[key] = {"at": time.time(), "answer": dict(answer)}
        return answer

    def _client(self) -> StateApiClient:
        url, token_file, ca_file = (
            self.get_option(name) for name in ("api_url", "api_token_file", "api_ca_file")
        )
        for name, value in (("api_url", url), ("api_token_file", token_file)):
            if not value:
                variable = f"KUBESTEAD_{name.upper()}"
                raise StateApiError(f"{name} is not set, neither in the inventory's file nor by {variable}")
        token = read_token(self._path("api_token_file", token_file))
        ca_file = self._path("api_ca_file", ca_file) if ca_file else None
        return StateApiClient(url, token, self.get_option("api_timeout"), ca_file)

    def _path(self, option: str, path: str) -> str:
        """Where a file is: Ansible takes a relative path in any file for one below the present folder."""
        written = self._written.get(option)
        if not written:
            return path
        return os.path.join(self._folder, os.path.expanduser(os.path.expandvars(str(written))))

    # The cache

    def _open_cache(self) -> None:
        # That an entry is old is decided here, since an old one is better than none.
        lasts = self.get_option("cache_timeout")
        self.set_option("cache_timeout", 0)
        self.load_cache_plugin()
        self.set_option("cache_timeout", lasts)

    def _entry(self, key: str) -> Entry:
        try:
            entry = self._cache[key]
        except KeyError:
            return {}
        return entry if isinstance(entry, dict) else {}

    # The inventory

    def _fill(self, registry: Registry, addresses: t.Mapping[str, str]) -> None:
        inventory = self.inventory
        for name in STANDARD_GROUPS:
            inventory.add_group(name)
        cluster = self._kubespray_cluster(registry)
        strict = self.get_option("strict")
        compose, groups, keyed = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        for machine in registry:
            address = addresses.get(machine.mac)
            role, *others = groups_of(machine)
            record = record_of(machine, make_unsafe)
            variables = variables_of(machine, record, address)
            if cluster:
                others.extend(kubespray_groups_of(machine, cluster))
                variables.update(kubespray_variables(machine, record, address))
            host = inventory.add_host(machine.hostname, group=role)
            # From here on by the objects themselves: inventory.add_host and set_variable take twice the time
            # of all the rest, because ansible-core 2.19 walks through each name and value again.
            entity = inventory.get_host(host)
            for name in others:
                if name not in inventory.groups:
                    inventory.add_group(name)
                inventory.groups[name].add_host(entity)
            for name, value in variables.items():
                entity.set_variable(name, value)
            if compose or groups or keyed:
                variables = entity.get_vars()
                self._set_composite_vars(compose, variables, host, strict=strict)
                variables = entity.get_vars()
                self._add_host_to_composed_groups(groups, variables, host, strict=strict)
                self._add_host_to_keyed_groups(keyed, variables, host, strict=strict)

    def _kubespray_cluster(self, registry: Registry) -> str:
        """The cluster that gets Kubespray's groups, which are made here; empty when none does."""
        if not self.get_option("kubespray_groups"):
            return ""
        for name in (*KUBESPRAY_CHILDREN, KUBESPRAY_ETCD, KUBESPRAY_CLUSTER):
            self.inventory.add_group(name)
        for name in KUBESPRAY_CHILDREN:
            self.inventory.add_child(KUBESPRAY_CLUSTER, name)
        clusters = kubespray_clusters(registry)
        wanted = str(self.get_option("kubespray_cluster") or "")
        if wanted and wanted not in clusters:
            there = ", ".join(clusters) or "none"
            raise AnsibleParserError(
                f"kubespray_cluster is {wanted}, expected a cluster of kubeadm: {there}."
            )
        if len(clusters) > 1 and not wanted:
            raise AnsibleParserError(
                "Kubespray deploys one cluster at a time, and the registry has several of kubeadm: say which "
                f"by kubespray_cluster ({', '.join(clusters)})."
            )
        return wanted or "".join(clusters)


def _ago(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes} minutes ago" if minutes >= 2 else f"{max(0, int(seconds))} seconds ago"
