# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take Kubernetes off a machine, whatever state it is in, and look again afterwards."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, field

from .kubeadm import end_processes, running
from .leftovers import Host, Leftover, ask_runtime, find_all, kept, remove_all, stop_kubelet
from .node_state import kubelet_service

#: Removing can uncover more (a mount below a mount): so it is done until nothing is found, but not for ever.
ROUNDS = 3


@dataclass
class ResetResult:
    """What was found and what is still there."""

    found: list[Leftover] = field(default_factory=list)
    kubelet_stopped: bool = False
    problems: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left: list[Leftover] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.found) or self.kubelet_stopped

    def summary(self) -> dict[str, list[str]]:
        """Return what was found, by kind."""
        kinds: dict[str, list[str]] = {}
        for piece in self.found:
            kinds.setdefault(piece.kind, []).append(piece.what)
        return kinds


def reset(
    host: Host, use_kubeadm: bool = True, check: bool = False, kubeadm_timeout: float = 90
) -> ResetResult:
    """Stop the kubelet, let kubeadm undo what it knows of, and take away the rest."""
    result = ResetResult(found=find_all(host))
    if result.found and not check:
        silent = wake_runtime(host)
        if silent:
            return ResetResult(found=result.found, left=result.found, problems=[silent])
        result.found = find_all(host)
    kubelet = kubelet_service(host.run)
    # A kubelet without a configuration starts again and again: where nothing is left, that is right.
    restarting = kubelet.active == "activating" and bool(result.found)
    result.kubelet_stopped = kubelet.active == "active" or restarting
    result.kept = kept(host)
    if check or not result.changed:
        return result
    end_processes(running(["kubeadm", "init"]) + running(["kubeadm", "join"]))
    problem = stop_kubelet(host)
    problems = [problem] if problem else []
    if use_kubeadm and any(piece.what.startswith(str(host.paths.kubernetes)) for piece in result.found):
        # Its end does not matter: what it leaves is found below. The whole cluster goes, so no API is asked.
        socket = f"--cri-socket={host.cri_socket}"
        command = [
            "kubeadm",
            "reset",
            "--force",
            "--skip-phases=remove-etcd-member",
            "--kubeconfig=/dev/null",
        ]
        host.run([*command, socket], None, kubeadm_timeout)
    left = find_all(host)
    # Whose they are is told by the cluster's authority, which kubeadm has taken away by now.
    left += [piece for piece in result.found if piece.kind == "kubeconfig" and piece not in left]
    for _round in range(ROUNDS):
        if not left:
            break
        problems = remove_all(host, left)
        left = find_all(host)
    host.run(["systemctl", "reset-failed", "kubelet.service"])
    result.left, result.problems = left, problems if left else []
    return result


def wake_runtime(host: Host, patience: float = 20) -> str:
    """Start the container runtime when it does not answer: only it can end the pods that it has started.

    Return what is wrong when it stays silent, else nothing. A machine without crictl has no pods.
    """
    code, _out, err = ask_runtime(host, "version")
    if code in (0, 127):
        return ""
    unit = "crio.service" if "crio" in host.cri_socket else "containerd.service"
    host.run(["systemctl", "start", unit], None, 60)
    deadline = time.monotonic() + patience
    while code != 0 and time.monotonic() < deadline:
        time.sleep(0.5)
        code, _out, err = ask_runtime(host, "version")
    return "" if code == 0 else f"{unit} does not answer at {host.cri_socket}: {err.strip()[-300:]}"


def explain(name: str, result: ResetResult) -> str:
    """Say what could not be taken away."""
    pieces = ", ".join(str(piece) for piece in result.left[:10])
    more = f" and {len(result.left) - 10} more" if len(result.left) > 10 else ""
    reasons = "; ".join(dict.fromkeys(result.problems)) or "no error was reported"
    return (
        f"Not everything could be taken off {name}: {reasons}. Left: {pieces}{more}. Run the same "
        "command again; a restart of the machine frees what is still in use."
    )


def plain(result: ResetResult) -> dict[str, t.Any]:
    """Return the result as a module returns it."""
    return {
        "changed": result.changed,
        "kubelet_stopped": result.kubelet_stopped,
        "removed": result.summary(),
        "kept": result.kept,
    }
