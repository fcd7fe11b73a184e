# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What making the first control plane and joining a worker have in common."""

from __future__ import annotations

import typing as t

from .kubeadm import Outcome, run_logged
from .leftovers import Host


class ClusterError(RuntimeError):
    """It could not be done; the message is for a person."""


class RunOptions(t.Protocol):
    """What every run is given; `host` is the machine's name in messages."""

    host: str


Options = t.TypeVar("Options", bound=RunOptions)


class NodeRun(t.Generic[Options]):
    """One run on one machine. `execute` runs a program with a log."""

    def __init__(
        self,
        options: Options,
        host: Host,
        lock: int | None = None,
        execute: t.Callable[..., Outcome] = run_logged,
    ) -> None:
        """Take options, the machine and the descriptor of the lock that is held."""
        self.options = options
        self.host = host
        self.lock = lock
        self.execute = execute

    def start_kubelet(self, verb: str = "start") -> None:
        """Let systemd start (or `restart`) the kubelet; raises ClusterError."""
        code, _out, err = self.host.run(["systemctl", verb, "kubelet.service"], None, 60)
        if code != 0:
            raise ClusterError(
                f"The kubelet on {self.options.host} does not start: {err.strip()}. See journalctl -u "
                "kubelet."
            )
