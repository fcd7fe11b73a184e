# SPDX-License-Identifier: GPL-3.0-or-later
"""Several files in one round trip, as Ansible runs the module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
MARKED = "# Managed by kubestead.homelab: changes here are overwritten.\n"


def run(folder: Path, *steps: tuple[dict[str, Any], bool]) -> list[dict[str, Any]]:
    """The results of these calls (options, and whether in check mode) in one run of ansible-playbook."""
    tasks: list[dict[str, Any]] = []
    for number, (options, check) in enumerate(steps):
        call = {"kubestead.homelab.managed_files": options, "check_mode": check, "diff": True}
        failing = {"ansible.builtin.debug": {"msg": "It failed; the result tells why."}}
        tasks.append({"block": [{**call, "register": f"step{number}"}], "rescue": [failing]})
    results = "{{ [" + ", ".join(f"step{number}" for number in range(len(steps))) + "] | to_json }}"
    tasks.append(
        {"ansible.builtin.copy": {"content": results, "dest": str(folder / "results.json"), "mode": "0600"}}
    )
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    (folder / "play.json").write_text(json.dumps([play]), encoding="utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [
            program,
            "-i",
            "localhost,",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            folder / "play.json",
        ],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.timer"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded: list[dict[str, Any]] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder with a file of ours that is no longer wanted, and one of somebody else."""
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "old.conf").write_text(MARKED + "x\n", encoding="utf-8")
    (folder / "theirs.conf").write_text("# by hand\n" + MARKED, encoding="utf-8")
    return folder


def test_written_once_pruned_and_told_before(tmp_path: Path, conf: Path) -> None:
    options = {
        "files": [
            {"path": str(conf / "sub/new.conf"), "content": MARKED + "a = 1\n", "validate": "grep -q a %s"},
            {
                "path": str(conf / "secret.env"),
                "content": "PASSWORD=hunter2\n",
                "mode": "0600",
                "secret": True,
            },
        ],
        "prune": [str(conf)],
    }
    told, first, second = run(tmp_path, (options, True), (options, False), (options, False))
    names = [str(conf / name) for name in ("sub/new.conf", "secret.env", "old.conf")]
    assert (told["changed"], told["paths"]) == (True, names)
    assert (first["changed"], first["paths"]) == (True, names)
    assert (second["changed"], second["paths"]) == (False, [])
    assert "hunter2" not in json.dumps([told["diff"], first["diff"]])
    assert {path.name for path in conf.rglob("*") if path.is_file()} == {
        "new.conf",
        "secret.env",
        "theirs.conf",
    }
    assert (conf / "secret.env").stat().st_mode & 0o777 == 0o600
    assert (conf / "sub/new.conf").stat().st_mode & 0o777 == 0o644


def test_one_that_is_refused_stops_all(tmp_path: Path, conf: Path) -> None:
    options = {
        "files": [
            {"path": str(conf / "good.conf"), "content": "a = 1\n", "validate": "grep -q a %s"},
            {"path": str(conf / "bad.conf"), "content": "b = 1\n", "validate": "grep -q a %s"},
            {"path": str(conf / "odd.conf"), "content": "c = 1\n", "validate": "no-such-program %s"},
        ],
        "prune": [str(conf)],
    }
    told, done = run(tmp_path, (options, True), (options, False))
    assert "bad.conf: grep refuses it" in told["msg"]
    assert "no-such-program" not in told["msg"]
    assert "bad.conf: grep refuses it" in done["msg"]
    assert "odd.conf: no-such-program, which checks it, is not on this machine" in done["msg"]
    assert {path.name for path in conf.iterdir()} == {"old.conf", "theirs.conf"}


def test_permissions_alone_are_a_change(tmp_path: Path, conf: Path) -> None:
    path = conf / "theirs.conf"
    path.chmod(0o666)
    options = {"files": [{"path": str(path), "content": path.read_text(encoding="utf-8")}]}
    (done,) = run(tmp_path, (options, False))
    assert done["changed"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_another_program_writes_too_is_kept_and_what_includes_it_checked(tmp_path: Path) -> None:
    own, included = tmp_path / "own.conf", tmp_path / "hosts"
    own_file = {"path": str(own), "content": f"include {included}\n", "validate": "grep -q known %s"}
    others = {"path": str(included), "content": "known\n", "keep": True}
    whole = {"files": [{**own_file, "validate_text": "known\n"}, others]}
    refused, told, first = run(tmp_path, ({"files": [own_file]}, False), (whole, True), (whole, False))
    assert "own.conf: grep refuses it" in refused["msg"]
    assert (told["changed"], first["paths"]) == (True, [str(own), str(included)])
    assert own.read_text(encoding="utf-8") == f"include {included}\n"
    included.write_text("of another\n", encoding="utf-8")
    (second,) = run(tmp_path, (whole, False))
    assert not second["changed"]
    assert included.read_text(encoding="utf-8") == "of another\n"
