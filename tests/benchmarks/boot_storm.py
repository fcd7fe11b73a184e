# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hundred machines are switched on at once: `python -m tests.benchmarks.boot_storm [--dhcp kea]`.

Needs root: a lab with one node, which the roles make a PXE server with its State API. All machines are to be
installed. The clients' packets are real: DHCP twice, as firmware and as iPXE, the boot loader by TFTP, the
boot script, the preseed file with its token, from an address each. They run on the same processors as the
server, so the figure is the sum of both.

Printed is how long the last one took, and that against as many machines one after the other. Ends with 1 when
one of them did not get all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab import Lab, MachineSpec
from tests.e2e.boot_lab import CHECKOUT, Homelab, registry

CLIENTS, ALONE = 200, 20
FIRST = IPv4Address("10.77.0.11")
RANGE = ["10.77.0.220", "10.77.0.229"]
KINDS = ("dnsmasq", "kea", "isc")
# Clients load no kernel, but the State API begins no installation without one.
KERNELS = "/srv/http/boot/installers/debian-13-amd64"
INSTALLS = """
from kubestead.model.state_api_client import StateApiClient, read_token
token = read_token("/etc/kubestead/state-api.token")
api = StateApiClient("https://127.0.0.1:8080", token, ca_file="/etc/kubestead/pki/ca.crt")
for mac, view in api.machines().items():
    api.act(mac, "reinstall", hostname=view["hostname"])
"""


def machines(count: int) -> list[MachineSpec]:
    """So many machines of the registry."""
    return [MachineSpec(f"storm-{number}", str(FIRST + number)) for number in range(count)]


def have_addresses(lab: Lab, specs: list[MachineSpec]) -> None:
    """Let the lab's bridge have the clients' addresses, so that they can send from them."""
    lines = "".join(f"address add {spec.ip}/32 dev br0\n" for spec in specs)
    subprocess.run(["ip", "-n", lab.namespace, "-batch", "-"], input=lines, text=True, check=True)


def boot(lab: Lab, specs: list[MachineSpec], at_once: bool, answer: str = "preseed.cfg") -> dict[str, Any]:
    """Let the clients boot, in a process of their own in the lab's network."""
    asked = {
        "machines": [{"mac": spec.mac, "ip": spec.ip} for spec in specs],
        "at_once": at_once,
        "answer": answer,
    }
    done = subprocess.run(
        lab.network_argv([sys.executable, "-m", "tests.benchmarks.boot_storm_clients"]),
        input=json.dumps(asked), stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, check=True,
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT / 'src'}:{CHECKOUT}"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tell(kind: str, one: dict[str, Any], all_of_them: dict[str, Any]) -> None:
    """Print what it took."""
    alone = statistics.median(client["all"] for client in one["clients"] if "all" in client)
    count, seconds = len(all_of_them["clients"]), all_of_them["seconds"]
    print(f"{kind}: {count} machines at once: {seconds:.2f} s until the last had its preseed file")
    print(f"  one alone {alone * 1000:.0f} ms; ratio {seconds / alone / count:.2f} of {count} one by one")
    print(
        f"  {all_of_them['sent_again']} packets had to be sent again, {len(all_of_them['failures'])} failures"
    )
    names = dict.fromkeys(name for client in all_of_them["clients"] for name in client)
    for name in names:
        took = sorted(client[name] for client in all_of_them["clients"] if name in client)
        print(f"  {name:<21} median {statistics.median(took):6.2f} s, last {took[-1]:6.2f} s")
    for failure in all_of_them["failures"][:10]:
        print(f"  failed: {failure}")


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many (%(default)s, at most 200)")
    parser.add_argument("--dhcp", nargs="+", default=KINDS[:1], choices=KINDS, help="(%(default)s)")
    options = parser.parse_args()
    specs, failures = machines(min(options.clients, CLIENTS)), 0
    with tempfile.TemporaryDirectory() as folder:
        homelab = Homelab(Lab("storm", say=print), Path(folder))
        try:
            homelab.up()
            have_addresses(homelab.lab, specs)
            for kind in options.dhcp:
                homelab.play(pxe_server_dhcp=kind, pxe_server_range=RANGE)
                known = registry(specs, os="debian-13", install_method="installer")
                homelab.takes(known, specs[-1].mac, specs[-1].ip)
                homelab.on_server(f"mkdir -p {KERNELS} && touch {KERNELS}/linux {KERNELS}/initrd.gz")
                homelab.python(INSTALLS)
                alone = boot(homelab.lab, specs[:ALONE], at_once=False)
                together = boot(homelab.lab, specs, at_once=True)
                tell(kind, alone, together)
                failures += len(alone["failures"]) + len(together["failures"])
        finally:
            homelab.down()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
