# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment: all that is missing or wrong at once, and no secret shown."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubestead.model.environment_settings import SETTINGS, load, problems, read
from kubestead.model.registry import RegistryError
from tests.unit.registry_samples import TEXT

ROOT = Path(__file__).parents[2]
KEY = base64.b64encode(b"k" * 28).decode()
TOKENS = {"PROXMOX_TOKEN_SECRET": "7d2f1c8e-5b0a-4c1e-9f57-2a6f0d3b8c41", "REPOSITORY_TOKEN": "glpat-x"}
GOOD = {**load(ROOT / "example.env"), **TOKENS}
CEPH = {
    "ENABLE_CEPH": "true",
    "CEPH_FSID": "7d2f1c8e-5b0a-4c1e-9f57-2a6f0d3b8c41",
    "CEPH_MONITORS": "192.168.1.21, 192.168.1.22:6789,[fd77::1]:3300,fd77::2",
    "CEPH_K8S_USER": "kubernetes",
    "CEPH_K8S_KEY": KEY,
    "CEPH_ADMIN_KEY": KEY,
}


def test_the_example_lacks_nothing_but_its_secrets() -> None:
    values = load(ROOT / "example.env")
    assert list(values) == list(SETTINGS), "in the order of the file"
    assert [problem.key for problem in problems(values)] == list(TOKENS)
    assert problems(GOOD) == []
    assert problems({**GOOD, **CEPH}) == []


def test_every_setting_is_used_by_the_inventory() -> None:
    files = (ROOT / "inventory" / "proxmox").rglob("*.y*ml")
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert set(re.findall(r"env', '([A-Z0-9_]+)'", text)) == set(SETTINGS)


def test_all_that_is_missing() -> None:
    needed = [name for name, setting in SETTINGS.items() if setting.needed == "always"]
    assert [problem.key for problem in problems({})] == needed
    with_switches = {"ENABLE_CEPH": "yes", "ENABLE_CUDA": "1"}
    found = {problem.key: str(problem) for problem in problems(with_switches)}
    assert set(found) == set(SETTINGS) - {"ENABLE_CEPH", "ENABLE_CUDA", "ENABLE_GATEWAY_API"}
    assert found["CEPH_FSID"] == "the environment: CEPH_FSID is missing, expected a value: ENABLE_CEPH is on"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ENABLE_CUDA", "maybe", 'ENABLE_CUDA is "maybe", expected true or false'),
        ("GPU_PCI_ADDRESS", "0000:01:00.0", "without the function number"),
        ("GPU_PCI_ADDRESS", "card0", "expected a PCI address such as 0000:01:00"),
        ("K8S_CONTROL_1_IP", "192.168.1.101/24", "without the prefix length"),
        ("K8S_NODE_1_IP", "127.0.0.1", "expected the address of one machine"),
        ("K8S_NETWORK", "192.168.1.1/24", "expected a network such as 192.168.1.0/24"),
        ("K8S_NETWORK", "192.168.1.0", "expected a network such as 192.168.1.0/24"),
        ("K8S_DNS", "192.168.1.1,x", 'K8S_DNS is "192.168.1.1,x", expected an IPv4'),
        ("SSH_PRIVATE_KEY_FILE", "~/.ssh/", "expected the path of a file"),
        ("PROXMOX_HOST", "192.168.1.300", "expected an IPv4 or IPv6 address"),
        ("PROXMOX_HOST", "-oProxyCommand=id", "expected a host name or an address"),
        ("PROXMOX_URL", "192.168.1.10:8006", "expected an address such as https://192.168.1.10:8006"),
        ("PROXMOX_USER", "root", "expected a user with its realm, such as root@pam"),
        ("PROXMOX_TOKEN_ID", "root@pam!kubestead", "expected the name of the token alone"),
        ("PROXMOX_TOKEN_SECRET", "hunter2", "PROXMOX_TOKEN_SECRET is not of the right form, expected a UUID"),
        ("REPOSITORY_SSH_URL", "https://gitlab.com/home/a.git", "expected an SSH address such as git@"),
        ("REPOSITORY_SSH_URL", "git@-oProxyCommand=id:a", "expected an SSH address such as git@"),
        (
            "REPOSITORY_TOKEN",
            "hunter2 hunter2",
            "REPOSITORY_TOKEN is not of the right form, expected one word",
        ),
        ("KUBERNETES_VERSION", "latest", "expected a version such as 1.36.4"),
        ("CEPH_FSID", "a", "expected a UUID such as"),
        ("CEPH_MONITORS", "mon-a", "expected addresses with commas between"),
        ("CEPH_K8S_KEY", base64.b64encode(b"hunter2").decode(), "CEPH_K8S_KEY is not of the right form"),
        ("CEPH_ADMIN_KEY", "hunter2-ü", "expected a key as `ceph auth get-key` prints it"),
    ],
)
def test_what_is_wrong(name: str, value: str, sentence: str) -> None:
    (problem,) = problems({**GOOD, **CEPH, name: value}, ".env")
    assert str(problem).startswith(f".env: {name} ")
    assert sentence in str(problem)
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "url", ["git@gitlab.com:home/a.git", "ssh://git@gitlab.com:2222/home/a.git", "git@h:~/a"]
)
def test_ssh_addresses(url: str) -> None:
    assert problems({**GOOD, "REPOSITORY_SSH_URL": url}) == []


def test_lines() -> None:
    values, wrong = read(
        "# a comment\n\n A=1 \nexport B='two # words'\nC=\"$(id) `id`\" # why\nD=a#b # c\nE=\nF=x=y\nA=2\n",
        ".env",
    )
    assert wrong == []
    assert values == {"A": "2", "B": "two # words", "C": "$(id) `id`", "D": "a#b", "E": "", "F": "x=y"}


def test_lines_that_are_no_settings(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\nB: hunter2\nset -e\nC='hunter2\n1D=2\n", encoding="utf-8")
    with pytest.raises(RegistryError) as caught:
        load(path)
    assert [problem.key for problem in caught.value.problems] == ["line 2", "line 3", "line 4", "line 5"]
    assert f"{path}: line 2 is no setting, expected KEY=VALUE or KEY='VALUE'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from(sorted(SETTINGS)), TEXT), TEXT)
@example({"CEPH_MONITORS": ":1"}, "A='")
def test_any_values_and_any_text(values: dict[str, str], text: str) -> None:
    assert all(str(problem).isprintable() for problem in problems(values))
    read(text, ".env")


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kubestead.model.environment_settings", *arguments]
        return subprocess.run(command, env=GOOD, capture_output=True, text=True, check=False)

    done = run("--check", str(ROOT / "example.env"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{ROOT}/example.env: {name} is missing, expected a value" for name in TOKENS
    ]
    done = run()
    assert (done.returncode, done.stdout) == (0, "the environment: all settings are there\n"), done.stderr
    done = run(str(tmp_path / "none"))
    assert done.returncode == 2
    assert "is not there" in done.stderr
    assert run("--no-such").returncode == 2
