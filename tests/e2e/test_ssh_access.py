# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a host by ssh, on a node of the lab: its key looked at and known, ours let in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubestead.exit_codes import ExitCode
from lab import Lab
from lab.host import problems
from lab.spec import NodeSpec
from tests.integration.ansible_cores import CHECKOUT, environment

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

NODE = NodeSpec("ssh-node", "debian-13", "10.77.0.61")
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with one node."""
    lab = Lab("sshaccess")
    try:
        lab.nodes_up([NODE])
        yield lab
    finally:
        assert lab.down() == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where someone's keys and known hosts are to be; their home has what ssh-copy-id writes to meanwhile."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path / "ssh"


def run(lab: Lab, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the lab's network, without a terminal."""
    return subprocess.run(
        lab.network_argv([str(word) for word in words]), cwd=CHECKOUT, env=environment(PROGRAMS, **more),
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


def deploy(lab: Lab, what: str, folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`./deploy.sh ssh`."""
    python = [sys.executable, "-m", "kubestead.deploy", "ssh"]
    home = {"HOME": str(folder.parent), **more}
    return run(lab, *python, what, f"root@{NODE.ip}", "--folder", folder, *words, **home)


def fingerprint(lab: Lab) -> str:
    """The fingerprint of the node's best key, as it says itself."""
    said = lab.ssh(NODE.name, ["ssh-keygen", "-l", "-f", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout
    return said.split()[1]


def test_an_unknown_host_is_not_believed(lab: Lab, folder: Path) -> None:
    done = deploy(lab, "test", folder)
    assert done.returncode == ExitCode.FAILED
    assert f"./deploy.sh ssh known-host root@{NODE.ip}" in done.stderr
    asked = deploy(lab, "known-host", folder)
    assert asked.returncode == ExitCode.WRONG_INPUT
    assert "compare the fingerprints, and add --yes" in asked.stderr
    assert fingerprint(lab) in asked.stdout
    assert not folder.exists()


def test_from_nothing_to_a_key_that_is_let_in(lab: Lab, folder: Path) -> None:
    agent = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    place = dict(line.split(";")[0].split("=") for line in agent.splitlines() if "=" in line)
    try:
        # What a password is for a person, is the lab's key here: another way in.
        subprocess.run(["ssh-add", "-q", lab.private_key], check=True, env={**os.environ, **place})
        done = deploy(lab, "keys", folder, "--yes", **place)
        assert done.returncode == ExitCode.DONE, done.stdout + done.stderr
        key = (folder / "id_ed25519.pub").read_text().split()[1]
        assert "✔ root, directly or by sudo" in done.stdout
        # Again, without that way: nothing is asked, nothing added.
        again = deploy(lab, "keys", folder)
        assert again.returncode == ExitCode.DONE, again.stdout + again.stderr
        assert lab.ssh(NODE.name, ["cat", ".ssh/authorized_keys"]).stdout.count(key) == 1
        assert deploy(lab, "test", folder).returncode == ExitCode.DONE
    finally:
        subprocess.run(["ssh-agent", "-k"], check=True, capture_output=True, env={**os.environ, **place})


def test_a_key_that_has_changed_is_shown_beside_the_old_one(lab: Lab, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "other"], check=True)
    (folder / "known_hosts").write_text(f"{NODE.ip} {(folder / 'other.pub').read_text()}")
    done = deploy(lab, "known-host", folder)
    assert done.returncode == ExitCode.WRONG_INPUT
    assert "somebody may stand in between" in done.stdout
    assert done.stdout.count("(until now)") == 1
    assert deploy(lab, "known-host", folder, "--yes").returncode == ExitCode.DONE
    assert "✔ 10.77.0.61 is known" in deploy(lab, "known-host", folder).stdout


def test_the_playbook_for_all_hosts(lab: Lab, folder: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        json.dumps({"all": {"hosts": {NODE.name: {"ansible_host": NODE.ip, "ansible_user": "root"}}}})
    )
    settings: dict[str, Any] = {
        "provision_known_hosts": str(folder / "known_hosts"),
        "ssh_access_key": str(folder / "id_ed25519"),
    }
    folder.mkdir(mode=0o700)
    args = ["playbooks/ssh_access.yml", "-i", str(inventory), "--private-key", str(lab.private_key)]
    args += ["--ssh-common-args", f"-F none -o UserKnownHostsFile={folder / 'known_hosts'}"]
    refused = run(lab, PROGRAMS / "ansible-playbook", *args, "--extra-vars", json.dumps(settings))
    assert refused.returncode != 0  # nobody has said yes
    assert fingerprint(lab) in refused.stdout
    settings["ssh_access_accept"] = True
    done = run(lab, PROGRAMS / "ansible-playbook", *args, "--extra-vars", json.dumps(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    again = run(lab, PROGRAMS / "ansible-playbook", *args, "--extra-vars", json.dumps(settings))
    assert again.returncode == 0
    assert again.stdout.count("changed=0") == 2, again.stdout
    assert deploy(lab, "test", folder).returncode == ExitCode.DONE


def test_whom_the_host_has_shut_out_is_told_so(lab: Lab, folder: Path) -> None:
    """The last test: sshd remembers who has failed too often."""
    folder.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id_ed25519"], check=True)
    assert deploy(lab, "known-host", folder, "--yes").returncode == ExitCode.DONE
    said = [deploy(lab, "test", folder).stderr for _ in range(6)]
    assert "./deploy.sh ssh keys root@" in said[0]
    assert "Try again in a minute" in said[-1]
