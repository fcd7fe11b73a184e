# SPDX-License-Identifier: GPL-3.0-or-later
"""A task that fails in a phase says why, under both versions of Ansible: what a rescue makes of it."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_cores import CHECKOUT, NEWEST, OLDEST, environment, programs_of

FAILING = """\
- name: Two machines, of which one fails
  hosts: a:b
  connection: local
  gather_facts: false
  any_errors_fatal: true
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    kubestead_phase: join
    diagnostics_dest: "{{ folder }}/archives"
  tasks:
    - name: Join, and say why where that fails
      when: inventory_hostname == 'a'
      block:
        - name: Join
          TASK
      rescue:
        - name: Find out why
          ansible.builtin.include_role:
            name: kubestead.homelab.diagnostics
            tasks_from: failure
    - name: Not reached
      ansible.builtin.debug:
        msg: went on
"""
PROBE = """\
from ansible.module_utils.basic import AnsibleModule
AnsibleModule({}).fail_json(msg='no way to it', kubestead_failure='software_unreachable')
"""
PORT = "[ERROR Port-10250]: Port 10250 is in use, --token abcdef.0123456789abcdef"


@pytest.fixture(params=[NEWEST, OLDEST])
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder of an Ansible."""
    return programs_of(request.param)


def run(programs: Path, folder: Path, task: str) -> tuple[str, dict[str, Any]]:
    """What a run said that had to fail, and its summary."""
    (folder / "library").mkdir()
    (folder / "library" / "probe.py").write_text(PROBE, encoding="utf-8")
    (folder / "play.yml").write_text(FAILING.replace("TASK", task), encoding="utf-8")
    done = subprocess.run(
        [programs / "ansible-playbook", "-i", "a,b,", "-e", f"folder={folder}", folder / "play.yml"],
        cwd=CHECKOUT,
        env=environment(
            programs,
            KUBESTEAD_SUMMARY_FILE=str(folder / "summary.json"),
            ANSIBLE_LIBRARY=str(folder / "library"),
        ),
        check=False,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "went on" not in said
    return said, json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_the_failed_task_names_the_cause_and_the_archive(programs: Path, tmp_path: Path) -> None:
    _said, summary = run(programs, tmp_path, f'ansible.builtin.fail: {{msg: "{PORT}"}}')
    failure = summary["failure"]
    assert (failure["host"], failure["phase"], failure["kind"]) == ("a", "join", "phase_failed")
    assert failure["task"].endswith("Join")
    message = failure["message"]
    assert message.startswith("[ERROR Port-10250]: Port 10250 is in use")
    assert "Likely cause: Port 10250 of a is taken by another program. What to do: On a: ss -lntp" in message
    assert "0123456789abcdef" not in message
    (archive,) = (tmp_path / "archives").glob("a-*.tar.gz")
    assert f"More: {archive}" in message
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as packed:
        names = packed.getnames()
        file = packed.extractfile("a/failure.txt")
        assert file is not None
        assert b"0123456789abcdef" not in file.read()
    assert {"a/summary.txt", "a/facts.json", "a/disk.txt", "a/processes.txt"} <= set(names)


def test_what_says_itself_what_it_is_stays_that(programs: Path, tmp_path: Path) -> None:
    _said, summary = run(programs, tmp_path, "probe:")
    assert summary["failure"]["kind"] == "software_unreachable"
    assert summary["failure"]["message"] == "no way to it"
    assert not (tmp_path / "archives").exists()


def test_a_hidden_result_stays_hidden(programs: Path, tmp_path: Path) -> None:
    said, summary = run(
        programs, tmp_path, 'ansible.builtin.fail: {msg: "hunter2 is wrong"}\n          no_log: true'
    )
    # Ansible 2.19 itself shows the message of the first task, hidden or not; what comes after it is ours.
    before, banner, ours = said.partition("diagnostics : Join]")
    assert banner, before
    assert "hunter2" not in ours + json.dumps(summary)
    assert "no_log" in summary["failure"]["message"]
