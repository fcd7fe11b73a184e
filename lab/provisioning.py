# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines with empty disks, installed by the lab's own PXE server while the cluster is being built.

Two playbooks run side by side: provision.yml sets up the server, asks for installations and waits for them;
deploy.yml makes the cluster of the nodes. A machine is switched on in the moment in which the State API wants
it installed, as a person would press the button, and once only. What a machine says is shown as it says it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from kubestead.deploy import Outcome
from kubestead.exit_codes import ExitCode
from kubestead.model.boot_decision import MOST_ATTEMPTS
from kubestead.model.lifecycle import FAILED, INSTALL_PENDING
from kubestead.model.state_api_client import StateApiError
from kubestead.model.state_api_machines import View, last_words
from lab import network
from lab.errors import LabError
from lab.machine_spec import MachineSpec
from lab.process import wait_until
from lab.qemu_probe import EMULATED
from lab.serial_text import last_lines
from lab.software import Software

if TYPE_CHECKING:
    from lab.homelab import Homelab

# From power-on to SSH of an installed machine; emulated, with both processors busy.
BOOT_SECONDS = 600
_STEP = 20  # percent between two lines of the same phase


class Provisioning:
    """One run of it."""

    def __init__(self, homelab: Homelab, software: Software) -> None:
        self.homelab, self.software = homelab, software
        self.lab = homelab.lab
        self.log = homelab.folder / "provision.log"
        self._accelerator = self.lab.machines.accelerator()
        self._shown: dict[str, tuple[str, ...]] = {}
        self._switched_on: set[str] = set()
        self._over = threading.Event()

    def run(self) -> Outcome:
        """Everything; the cluster is made also where a machine cannot be installed."""
        virtual = self.homelab.virtual
        self.lab.machines_make(virtual)
        there = [spec for spec in virtual if self.is_installed(spec)]
        coming = [spec for spec in virtual if spec not in there]
        if coming:
            names = " ".join(spec.name for spec in coming)
            print(f"Installed by network, beside all else: {names}; {self._accelerator}.", flush=True)
        follower = threading.Thread(target=self._follow, daemon=True)
        follower.start()
        try:
            with ThreadPoolExecutor(1) as pool:
                provision = pool.submit(self._provision)
                cluster = self.homelab.play("deploy", self.software, ["--limit", self._limit(there)])
                if not provision.done():
                    print(f"Waiting for the machines; what Ansible does there is in {self.log}.", flush=True)
                outcomes = [cluster, provision.result()]
            if outcomes[1].code == ExitCode.DONE and coming:
                outcomes.append(self._prepare(coming))
        finally:
            self._over.set()
        if any(outcome.code != ExitCode.DONE for outcome in outcomes[1:]):
            self._tell_what_they_said(coming)
        return together(outcomes)

    def is_installed(self, spec: MachineSpec) -> bool:
        """Say whether a machine is on, answers and has its root on a disk: it can be worked on at once."""
        if not self.lab.machines.get(spec.name).running() or not self._answers(spec):
            return False
        try:
            said = self.lab.ssh(spec.name, ["findmnt", "--noheadings", "--output=SOURCE", "/"], timeout=20)
        except subprocess.TimeoutExpired:
            return False
        return said.stdout.startswith("/dev/")

    def _answers(self, spec: MachineSpec) -> bool:
        return network.answers(self.lab.namespace, spec.ip, 22)

    # The playbooks

    def _provision(self) -> Outcome:
        """Set up the PXE server, ask for installations, wait for them; its output goes to a file."""
        hosts = ["localhost", self.homelab.server.name, *(spec.name for spec in self.homelab.virtual)]
        with self.log.open("w", encoding="utf-8") as output:
            return self.homelab.play("provision", self.software, ["--limit", ":".join(hosts)], output)

    def _limit(self, there: Sequence[MachineSpec]) -> str:
        """Say what deploy.yml works on: not the server, nor machines that are not there yet."""
        coming = [f"!{spec.name}" for spec in self.homelab.virtual if spec not in there]
        return ":".join(["localhost", "control_plane", "worker", "compute", *coming])

    def _prepare(self, coming: Sequence[MachineSpec]) -> Outcome:
        """Make of installed machines what the others are already."""
        for spec in coming:
            if not wait_until(partial(self._answers, spec), BOOT_SECONDS):
                told = f"it is installed, but does not answer by ssh within {BOOT_SECONDS} s"
                return Outcome(ExitCode.FAILED, {"failure": {"host": spec.name, "message": told}})
        names = [spec.name for spec in coming]
        if self._accelerator.kind == EMULATED:
            return self.homelab.play("prepare", self.software, ["--limit", ":".join(names)])
        limit = ":".join(["localhost", "control_plane", *names])
        return self.homelab.play("deploy", self.software, ["--limit", limit])

    # What the State API says of the machines

    def _follow(self) -> None:
        """Show how the machines get on, and switch on each that is to be installed."""
        network.inside(self.lab.namespace, self._listen)

    def _listen(self) -> None:
        macs = [spec.mac for spec in self.homelab.virtual]
        while not self._over.is_set():
            try:
                with self.homelab.api().stream(macs, deadline=time.monotonic() + 60) as stream:
                    for event in stream:
                        views = event.data.get("machines") if isinstance(event.data, dict) else None
                        self._learn(views or {})
                        if self._over.is_set():
                            return
            except StateApiError:  # it is not there yet, or starts anew
                self._over.wait(1)

    def _learn(self, views: Mapping[str, View]) -> None:
        for spec in self.homelab.virtual:
            if view := views.get(spec.mac):
                self._show(spec, view)
                self._press_button(spec, view)

    def _press_button(self, spec: MachineSpec, view: View) -> None:
        """Switch on a machine that is to be installed, or was; once in a run: it may go off for a reason."""
        machine = self.lab.machines.get(spec.name)
        state, installation = view.get("state"), view["install"]
        # One whose attempts are used up is asked for anew first.
        spent = state == FAILED and installation["attempts"] >= MOST_ATTEMPTS
        waits = not machine.running() and bool(installation["desired_id"]) and not spent
        if spec.name in self._switched_on or not (waits or state == INSTALL_PENDING):
            return
        self._switched_on.add(spec.name)
        try:
            machine.cut()  # one that sits at a boot menu does not look again by itself
            machine.power_on(self._accelerator)
        except LabError as error:
            print(f"✘ {error}", file=sys.stderr, flush=True)

    def _show(self, spec: MachineSpec, view: View) -> None:
        share = view.get("progress")
        at = (str(view.get("state") or ""), str(view.get("phase") or ""), str((share or 0) // _STEP))
        if self._shown.get(spec.mac) == at or not at[0]:
            return
        self._shown[spec.mac] = at
        parts = [f"» {spec.name} is {at[0]}", at[1], "" if share is None else f"{share} %", last_words(view)]
        print(", ".join(filter(None, parts)), flush=True)

    def _tell_what_they_said(self, specs: Sequence[MachineSpec]) -> None:
        """Show the end of the serial port of each machine that is not installed."""
        for spec in specs:
            log = self.lab.machines.get(spec.name).serial_log
            if log.exists() and not self.is_installed(spec):
                print(f"✘ {spec.name} said last on its serial port ({log}):", file=sys.stderr)
                print(*(f"    {line}" for line in last_lines(log)), sep="\n", file=sys.stderr, flush=True)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Return several runs as one: the first that failed says how it ended."""
    ended = next((outcome for outcome in outcomes if outcome.code != ExitCode.DONE), outcomes[0])
    phases: dict[str, dict[str, Any]] = {}
    hosts: dict[str, dict[str, int]] = {}
    # provision.yml begins with what comes first.
    for outcome in (*outcomes[1:2], *outcomes[:1], *outcomes[2:]):
        for phase in outcome.summary.get("phases", ()):
            known = phases.setdefault(phase["name"], {"name": phase["name"], "seconds": 0.0, "ok": True})
            known["seconds"] = round(known["seconds"] + phase["seconds"], 1)
            known["ok"] = known["ok"] and phase["ok"]
        for host, counts in outcome.summary.get("hosts", {}).items():
            sums = hosts.setdefault(host, dict.fromkeys(counts, 0))
            for what, number in counts.items():
                sums[what] = sums.get(what, 0) + number
    summary = {"phases": list(phases.values()), "hosts": hosts, "failure": ended.summary.get("failure")}
    return Outcome(ended.code, summary)
