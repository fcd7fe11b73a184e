# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's gateway: one process that brings the nodes what they need, and leads to them from here.

In the lab's network: 10.77.0.1:3142, a proxy that keeps apt's files, and 10.77.0.1:8086, the bundle of
Kubernetes software. On this computer's loopback: the State API and the Kubernetes API. Nothing is routed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from kubestead.model.atomic import write_atomically
from lab import apt, network, paths
from lab.errors import LabError
from lab.host import Port
from lab.process import Process, wait_until
from lab.spec import GATEWAY

PROXY_PORT = 3142
BUNDLE_PORT = 8086
API = ("10.77.0.10", 8080)
KUBERNETES = ("10.77.0.11", 6443)
_SOURCES = (
    "lab/gatewayd.py",
    "lab/proxy.py",
    "lab/forward.py",
    "lab/network.py",
    "bundle/server.py",
    "bundle/site.py",
    "bundle/status.py",
)


class Gateway:
    """The background process of a lab, as seen from those who start and stop it."""

    def __init__(
        self, lab: str, folder: Path, *, api_port: int | None = None, kube_port: int | None = None
    ) -> None:
        self.lab = lab
        self.folder = folder
        self.api_port = api_port
        self.kube_port = kube_port
        self._state = folder / "gateway.json"
        self._settings = folder / "gateway-settings.json"

    def ports(self) -> tuple[Port, ...]:
        """Return the ports of this computer's loopback that it takes."""
        found = []
        if self.api_port:
            found.append(Port(self.api_port, "State API", "--api-port"))
        if self.kube_port:
            found.append(Port(self.kube_port, "Kubernetes API", "--kube-port"))
        return tuple(found)

    def process(self) -> Process | None:
        """Return the process if it runs."""
        process = Process.load(self._state)
        return process if process and process.alive() else None

    def start(self) -> None:
        """Start it, or start it anew when it should be another; when all is well nothing happens."""
        wanted = self._wanted()
        if self.process() and self._current() == wanted and self._answers():
            return
        self.stop()
        write_atomically(self._settings, json.dumps(wanted, indent=1) + "\n")
        with (self.folder / "gateway.log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "lab.gatewayd", str(self._settings)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                env={**os.environ, "PYTHONPATH": str(paths.checkout())},
            )  # fmt: skip
        if process := Process.of(child.pid):
            process.save(self._state)
        threading.Thread(target=child.wait, daemon=True).start()
        wait_until(lambda: child.poll() is not None or self._answers(), 20)
        if child.poll() is not None or not self._answers():
            said = (self.folder / "gateway.log").read_text(errors="replace").strip().splitlines()[-3:]
            raise LabError(f"the lab's gateway did not start: {' / '.join(said) or 'it said nothing'}")

    def stop(self) -> None:
        """Stop it."""
        process = self.process()
        if process and not process.end():
            raise LabError(f"the lab's gateway, process {process.pid}, does not end")
        self._state.unlink(missing_ok=True)

    def _answers(self) -> bool:
        namespace = network.lab_namespace(self.lab)
        return network.exists(namespace) and network.answers(namespace, GATEWAY, PROXY_PORT)

    def _current(self) -> object:
        try:
            return json.loads(self._settings.read_text())
        except (OSError, ValueError):
            return None

    def _wanted(self) -> dict[str, object]:
        code = hashlib.sha256()
        for name in _SOURCES:
            path = paths.checkout() / name
            code.update(path.read_bytes() if path.is_file() else b"")
        namespace = network.lab_namespace(self.lab)
        return {
            "namespace": namespace,
            "namespace_id": (network.NAMESPACES / namespace).stat().st_ino,
            "forwards": [
                [port, *target]
                for port, target in ((self.api_port, API), (self.kube_port, KUBERNETES))
                if port
            ],
            "apt_cache": str(paths.cache() / "apt"),
            "bundle": str(paths.bundle()),
            "proxies": upstream(),
            "code": code.hexdigest()[:16],
        }


def upstream() -> dict[str, str]:
    """Return the proxies that this computer itself goes through."""
    known = {key: value for key, value in urllib.request.getproxies().items() if key in ("http", "https")}
    if own := apt.proxy():
        known["http"] = own
    return known
