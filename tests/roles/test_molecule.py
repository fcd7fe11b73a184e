# SPDX-License-Identifier: GPL-3.0-or-later
"""Each role by its molecule scenario, on real nodes: converged, again without a change, and verified."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
# These take longest: begun first, so that the others fill the time beside them.
LONG = ("pxe_server", "boot_images", "state_api")
ROLES = sorted(
    (path.parents[2].name for path in CHECKOUT.glob("roles/*/molecule/default/molecule.yml")),
    key=lambda role: (role not in LONG, role),
)


@pytest.mark.parametrize("role", ROLES)
def test_role(role: str) -> None:
    done = subprocess.run([CHECKOUT / "tests" / "molecule.sh", role], check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"tests/molecule.sh {role} ended with {done.returncode}"
