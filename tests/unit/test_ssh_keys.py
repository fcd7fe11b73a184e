# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that ssh offers, asked of the real ssh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kubestead.model.ssh_keys import NoSshError, offered_keys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with keys and with a configuration of ssh that names them."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    for name, passphrase in (("first", ""), ("second", ""), ("closed", "a long passphrase")):
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            passphrase,
            "-C",
            name,
            "-f",
            str(tmp_path / name),
        ]
        subprocess.run(command, check=True)
    (tmp_path / "second.pub").unlink()
    (tmp_path / "closed.pub").unlink()
    named = "".join(f"  IdentityFile {tmp_path / name}\n" for name in ("first", "second", "closed", "none"))
    (tmp_path / "config").write_text(f"Host pxe\n{named}")
    return tmp_path


def test_the_keys_of_a_host_s_own_settings(keys: Path) -> None:
    found = offered_keys("pxe", ["-F", str(keys / "config")])
    assert found[0] == (keys / "first.pub").read_text().strip()
    assert [key.split(" ")[0] for key in found] == ["ssh-ed25519", "ssh-ed25519"]


def test_a_key_that_was_named_is_the_only_one(keys: Path) -> None:
    assert offered_keys("pxe", ["-F", "/dev/null"], str(keys / "first")) == [
        (keys / "first.pub").read_text().strip()
    ]


def test_the_agent_s_keys_come_last(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = str(keys / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # it has said where it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        subprocess.run(["ssh-add", "-q", keys / "second"], check=True)
        found = offered_keys("pxe", ["-o", f"IdentityFile={keys / 'first'}", "-F", "/dev/null"])
        assert [key.split(" ")[2] for key in found] == ["first", "second"]
    finally:
        agent.terminate()
        agent.communicate()


def test_what_ssh_does_not_understand_is_told_in_its_words() -> None:
    with pytest.raises(NoSshError, match=r"for pxe: .*nonsense"):
        offered_keys("pxe", ["-o", "nonsense=1"])
