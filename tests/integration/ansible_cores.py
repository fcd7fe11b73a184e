# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of ansible-core that the collection is tested under: that of `.venv`, and the oldest one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).parent / "core-2.14" / "requirements.txt"
NEWEST, OLDEST = "newest", "2.14.18"
_PYTHONS = (sys.executable, "python3.11", "python3.10", "python3.9")


def programs_of(version: str) -> Path:
    """The folder with ansible-playbook of that version; the oldest one is installed at the first time."""
    return Path(sys.executable).parent if version == NEWEST else _oldest()


def environment(programs: Path, **more: str) -> dict[str, str]:
    """What programs of that folder are started with: this checkout's settings, none of the caller's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "KUBESTEAD_", "PYTEST_", "VIRTUAL_ENV"))
    }
    return {
        **kept,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        **more,
    }


def _oldest() -> Path:
    cache = Path(os.environ.get("KUBESTEAD_CACHE") or Path.home() / ".cache" / "kubestead")
    folder = cache / "core-2.14"
    folder.mkdir(parents=True, exist_ok=True)
    python = _python()
    stamp = hashlib.sha256(LOCK.read_bytes() + python.encode()).hexdigest()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists() or complete.read_text() != stamp:
            complete.unlink(missing_ok=True)
            _run(python, "-m", "venv", "--clear", str(folder / "venv"))
            pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            _run(*pip, "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(LOCK))
            complete.write_text(stamp)
    return folder / "venv" / "bin"


def _python() -> str:
    """A Python that ansible-core 2.14 runs on."""
    for name in _PYTHONS:
        asked = [name, "-c", "import ensurepip, sys; sys.exit(not (3, 9) <= sys.version_info < (3, 12))"]
        try:
            if subprocess.run(asked, check=False, capture_output=True).returncode == 0:
                return name
        except FileNotFoundError:
            continue
    reason = f"ansible-core {OLDEST} needs a Python from 3.9 to 3.11 (apt-get install python3.11-venv)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
