# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of several control planes and a worker, without a server, for the tests that take some away."""

from __future__ import annotations

from tests.e2e.cluster_lab import ClusterLab, changes, trips

__all__ = ["CONTROL_PLANES", "VIRTUAL_ADDRESS", "WORKERS", "HighlyAvailable", "changes", "trips"]

CONTROL_PLANES = {"ha-cp-1": "10.77.0.11", "ha-cp-2": "10.77.0.12", "ha-cp-3": "10.77.0.13"}
WORKERS = {"ha-worker-1": "10.77.0.21"}
VIRTUAL_ADDRESS = "10.77.0.99"


class HighlyAvailable(ClusterLab):
    """Three control planes behind a virtual address."""

    def __init__(self, name: str = "ha") -> None:
        super().__init__(name, CONTROL_PLANES, WORKERS, control_plane_endpoint_vip=VIRTUAL_ADDRESS)
