# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading a registry costs: `python tests/benchmarks/registry_load.py [MACHINES]`.

The last line is the ratio to a bare json.loads of the same text, which depends little on the computer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from kubestead.model.registry import Registry


def registry(machines: int) -> str:
    """A registry of so many machines, as text."""
    return json.dumps(
        {
            f"52:54:00:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}": {
                "hostname": f"node-{i}",
                "role": "worker",
                "architecture": "amd64",
                "features": ["kubernetes", "nfs"],
                "ip": f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}",
                "specs": {"cpu": "4c/4t", "memory": "16GB"},
                "os": "debian-12",
            }
            for i in range(machines)
        }
    )


def cpu_seconds(work: Callable[[str], Any], text: str) -> float:
    """The least CPU time of five runs."""
    times = []
    for _ in range(5):
        started = time.process_time()
        work(text)
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    """Measure and print."""
    machines = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    text = registry(machines)
    bare = cpu_seconds(json.loads, text)
    checked = cpu_seconds(Registry.parse, text)
    print(f"machines                {machines}")
    print(f"json.loads              {bare / machines * 1e6:.1f} µs a machine")
    print(f"Registry.parse          {checked / machines * 1e6:.1f} µs a machine, {checked:.3f} s in all")
    print(f"ratio                   {checked / bare:.1f}")


if __name__ == "__main__":
    main()
