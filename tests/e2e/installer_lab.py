# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab for the distributions' own installers: a real State API, a small DHCP server, machines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.debian_installer import SUITES, InstallerError, Source, present
from lab import Lab, MachineSpec, apt, network, paths
from lab.gateway import PROXY_PORT
from lab.machine import Machine
from lab.process import wait_until
from lab.spec import GATEWAY
from tests.e2e.needs import require_machines

API_PORT, BOOT_PORT = 8080, 8081
BASE = f"http://{GATEWAY}:{BOOT_PORT}"
BEARER = "a-token-that-is-long-enough"
DNSMASQ = """
port=0
interface=br0
bind-interfaces
except-interface=lo
user=root
dhcp-leasefile={folder}/leases
pid-file={folder}/dnsmasq.pid
dhcp-range=10.77.0.200,10.77.0.209,255.255.255.0,10m
dhcp-match=set:ipxe,175
dhcp-boot=tag:ipxe,{base}/boot.ipxe
# Who answers IPv6's question for a router spares iPXE the wait for it; no route is announced.
enable-ra
dhcp-range=fd77::,ra-only,64,10m
ra-param=br0,0,0
"""


def archive() -> str:
    """The Debian archive that this computer's apt uses."""
    return next(source.uri for source in apt.sources_for("bookworm") if not source.kind)


def installer(release: str) -> Path:
    """The folder with kernel and initrd of a release's installer, as the archive has it now."""
    folder = paths.cache() / "installers"
    folder.mkdir(parents=True, exist_ok=True)
    dest = folder / f"debian-{release}-amd64"
    source = Source(archive(), release, "amd64", folder / f"apt-{SUITES[release]}")
    try:
        if source.refresh() != present(dest):
            source.extract(dest)
    except InstallerError as error:
        reason = f"the installer of Debian {release} cannot be had: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return dest


@dataclass
class InstallerLab:
    """What runs in the lab, and how it is asked."""

    lab: Lab
    folder: Path

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the State API, as the operator; with a body by POST."""
        request = urllib.request.Request(
            f"http://{GATEWAY}:{API_PORT}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {BEARER}", "Content-Type": "application/json"},
        )

        def answer() -> Any:
            with urllib.request.urlopen(request, timeout=20) as answered:
                return json.load(answered)

        return network.inside(self.lab.namespace, answer)

    def told(self, mac: str) -> dict[str, Any]:
        """What the State API knows of a machine."""
        found: dict[str, Any] = self.ask(f"/api/machines/{mac}")
        return found

    def wait_words(self, mac: str, words: str, seconds: float) -> dict[str, Any]:
        """Wait until a machine has said these words, which may be some time ago; return the event."""
        said: list[dict[str, Any]] = []

        def heard() -> bool:
            events = self.ask(f"/api/events?mac={mac}&limit=500")
            said.extend(event for event in events if event["message"] == words)
            return bool(said)

        assert wait_until(heard, seconds, pause=1), f"{words!r} not heard in {seconds} s: {self.told(mac)}"
        return said[0]

    def off(self, machine: Machine) -> None:
        """Take a machine's power away."""
        if machine.running():
            machine.cut()


@contextmanager
def installer_lab(
    name: str,
    folder: Path,
    specs: Mapping[str, MachineSpec],
    entries: Mapping[str, Mapping[str, Any]],
    **more: Any,
) -> Iterator[InstallerLab]:
    """A lab with machines, by name, and their registry entries; `more` goes into the boot settings."""
    require_machines(*([] if shutil.which("dnsmasq") else ["dnsmasq-base"]))
    lab = Lab(name, say=print)
    lab.down()
    with ExitStack() as stack:
        stack.callback(lab.down)
        lab.network_up()
        lab.gateway_start()
        bridge = ["ip", "-n", lab.namespace, "address", "add", "fd77::1/64", "dev", "br0", "nodad"]
        subprocess.run(bridge, check=True)
        lab.machines_make(list(specs.values()))
        registry = {specs[host].mac: {"hostname": host, **entry} for host, entry in entries.items()}
        _write(folder, registry, (lab.private_key.with_suffix(".pub")).read_text().strip(), more)
        (folder / "dnsmasq.conf").write_text(
            DNSMASQ.format(folder=folder, base=BASE)
            + "".join(f"dhcp-host={spec.mac},{spec.ip},{spec.name}\n" for spec in specs.values())
        )
        for program, argv in _programs(folder).items():
            log = stack.enter_context((folder / f"{program}.log").open("w"))
            process = subprocess.Popen(lab.network_argv(argv), stdout=log, stderr=log, cwd=paths.checkout())
            stack.callback(partial(process.wait, 20))
            stack.callback(process.terminate)
        running = InstallerLab(lab, folder)

        def answers() -> bool:
            try:
                return bool(running.ask("/healthz"))
            except (OSError, urllib.error.URLError):
                return False

        assert wait_until(answers, 60), (folder / "api.log").read_text()
        yield running


def _write(folder: Path, registry: object, key: str, more: Mapping[str, Any]) -> None:
    (folder / "boot" / "installers").mkdir(parents=True)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(BEARER)
    (folder / "registry.json").write_text(json.dumps(registry))
    settings = {
        "base": BASE,
        "api_url": f"http://{GATEWAY}:{API_PORT}",
        "method": "installer",
        "ssh_keys": [key],
        "mirrors": {"debian": archive()},
        "proxy": f"http://{GATEWAY}:{PROXY_PORT}",
        "kernel_arguments": "console=ttyS0,115200n8",
        **more,
    }
    (folder / "boot.json").write_text(json.dumps(settings))


def _programs(folder: Path) -> dict[str, list[str]]:
    api = [sys.executable, "-m", "kubestead.api", "--bind", GATEWAY, "--port", str(API_PORT)]
    api += ["--boot-port", str(BOOT_PORT), "--boot-dir", str(folder / "boot")]
    api += ["--boot-settings", str(folder / "boot.json"), "--token-file", str(folder / "token")]
    api += ["--database", str(folder / "machines.db"), "--registry", str(folder / "registry.json")]
    return {
        "api": api,
        "dnsmasq": ["dnsmasq", "--keep-in-foreground", f"--conf-file={folder / 'dnsmasq.conf'}"],
    }
