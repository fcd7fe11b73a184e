# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-navigator and ansible-builder read what is here for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*words: str) -> str:
    """Run a program of this environment in the checkout; its output."""
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_navigator_runs_the_playbook_in_this_environment() -> None:
    settings = yaml.safe_load(run("ansible-navigator", "settings", "--effective", "--mode", "stdout"))
    effective = settings["ansible-navigator"]
    assert effective["execution-environment"]["enabled"] is False
    assert effective["ansible"]["config"]["path"] == str(CHECKOUT / "ansible.cfg")
    assert "playbook: " in run(
        "ansible-navigator", "run", "deploy.yml", "-i", "inventory/lab", "--syntax-check"
    )


def test_the_image_can_be_described(tmp_path: Path) -> None:
    run("ansible-builder", "create", "--context", str(tmp_path), "--output-filename", "Containerfile")
    steps = (tmp_path / "Containerfile").read_text(encoding="utf-8")
    assert "--require-hashes" in steps
    lock = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8")
    assert (tmp_path / "_build" / "lock" / "requirements.txt").read_text(encoding="utf-8") == lock


def test_the_image_gets_the_ansible_that_the_lock_pins() -> None:
    description = yaml.safe_load((CHECKOUT / "execution-environment.yml").read_text(encoding="utf-8"))
    lock = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^ansible-core==\S+", lock, re.MULTILINE)
    assert pinned
    assert description["dependencies"]["ansible_core"]["package_pip"] == pinned[0]
