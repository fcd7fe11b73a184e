# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registry costs as an inventory: `python tests/benchmarks/inventory.py [MACHINES]`.

`ansible-inventory --list` of a registry, against the same hosts, groups and variables as a static YAML
inventory: both print the same. The last line is the ratio of their CPU times, which depends little on the
computer; it ends with 1 where that is above 1.2. Starting Python and Ansible is in both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OPTIONS = "plugin: kubestead.homelab.registry\n"
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
RUNS = 1
HIGHEST = 1.2


def registry(machines: int) -> dict[str, Any]:
    """A registry of so many machines."""
    return {
        f"52:54:00:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}": {
            "hostname": f"node-{i}",
            "role": "control-plane" if i < 3 else "worker",
            "architecture": "amd64",
            "features": ["kubernetes", "nfs"] if i % 2 else ["kubernetes"],
            "ip": f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}",
            "specs": {"cpu": "4c/4t", "memory": "16GB", "storage": "20TB RAID"},
            "os": "debian-12",
            "labels": {"rack": f"r{i % 40}"},
        }
        for i in range(machines)
    }


def ansible_inventory(source: Path) -> tuple[Any, float]:
    """What `ansible-inventory --list` prints, and the CPU seconds that it took."""
    program = os.environ.get("ANSIBLE_INVENTORY_PROGRAM") or str(
        Path(sys.executable).parent / "ansible-inventory"
    )
    before = os.times()
    done = subprocess.run(
        [program, "-i", source, "--list"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        stdout=subprocess.PIPE,
        check=True,
    )
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    # ansible-core 2.19 says of text that is no template that it is none: {"__ansible_unsafe": …}.
    return json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found)), spent


def as_static(found: Any) -> dict[str, Any]:
    """A listing as a YAML inventory: every group with its hosts, the variables at the hosts."""
    hosts = found["_meta"]["hostvars"]
    groups = {
        name: {
            **({"hosts": dict.fromkeys(group["hosts"])} if group.get("hosts") else {}),
            **({"children": dict.fromkeys(group["children"])} if group.get("children") else {}),
        }
        for name, group in found.items()
        if name not in ("_meta", "all", "ungrouped")
    }
    empty = {name: None for name in found["all"]["children"] if name != "ungrouped" and name not in groups}
    return {"all": {"hosts": hosts, "children": {**groups, **empty}}}


def main() -> None:
    """Measure and print."""
    machines = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        ours, static, none = Path(folder, "ours"), Path(folder, "static"), Path(folder, "none")
        for one, content in ((ours, registry(machines)), (none, {})):
            one.mkdir()
            (one / "kubestead.yml").write_text(OPTIONS, encoding="utf-8")
            (one / "registry.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        listing, _ = ansible_inventory(ours / "kubestead.yml")
        static.mkdir()
        (static / "hosts.yml").write_text(
            yaml.dump(as_static(listing), Dumper=_DUMPER, sort_keys=False), encoding="utf-8"
        )
        times: dict[str, list[float]] = {"registry": [], "YAML": [], "nothing": []}
        for _ in range(RUNS):
            again, spent = ansible_inventory(ours / "kubestead.yml")
            times["registry"].append(spent)
            same, spent = ansible_inventory(static / "hosts.yml")
            times["YAML"].append(spent)
            if same["_meta"] != listing["_meta"] or again != listing:
                sys.exit("the two inventories do not have the same hosts and variables")
            times["nothing"].append(ansible_inventory(none / "kubestead.yml")[1])
    best = {name: min(values) for name, values in times.items()}
    print(f"machines                 {machines}")
    print(f"no machine at all        {best['nothing']:.2f} s")
    print(f"as a static YAML file    {best['YAML']:.2f} s")
    print(f"from the registry        {best['registry']:.2f} s")
    ratio = best["registry"] / best["YAML"]
    print(f"ratio                    {ratio:.2f}")
    sys.exit(ratio > HIGHEST)


if __name__ == "__main__":
    main()
