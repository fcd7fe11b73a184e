# SPDX-License-Identifier: GPL-3.0-or-later
"""`./deploy.sh` on real playbooks: what it refuses, and the exit code that each end has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kubestead import deploy as deploying
from kubestead.deploy import CHECKOUT, find_inventory, load_environment, run_playbook
from kubestead.exit_codes import ExitCode
from kubestead.model.environment_settings import SETTINGS
from kubestead.model.registry import RegistryError

UUID = "7d2f1c8e-5b0a-4c1e-9f57-2a6f0d3b8c41"
LOCAL = f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"


def deploy(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kubestead.deploy", *words],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def play(tmp_path: Path, tasks: str, phase: str = "kubestead_phase: prepare") -> ExitCode:
    inventory = tmp_path / "hosts"
    inventory.write_text(LOCAL)
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        f"- hosts: localhost\n  gather_facts: false\n  vars: {{{phase}}}\n  tasks:\n    - {tasks}\n"
    )
    return run_playbook(playbook, inventory).code


def test_a_playbook_that_ends_well(tmp_path: Path) -> None:
    assert play(tmp_path, "ansible.builtin.debug: {msg: well}") == ExitCode.DONE


def test_a_phase_that_fails(tmp_path: Path) -> None:
    assert play(tmp_path, "ansible.builtin.fail: {msg: no}") == ExitCode.FAILED


def test_a_check_before_any_phase_that_fails_is_wrong_input(tmp_path: Path) -> None:
    assert play(tmp_path, "ansible.builtin.fail: {msg: no}", phase="") == ExitCode.WRONG_INPUT


def test_software_that_cannot_be_reached_has_its_own_code(tmp_path: Path) -> None:
    task = (
        "kubestead.homelab.reachable: {urls: [{name: nothing, url: 'http://127.0.0.1:9/'}], "
        "failure: software_unreachable, remedy: Set another address.}"
    )
    assert play(tmp_path, task) == ExitCode.NO_SOFTWARE


def test_a_playbook_that_cannot_be_read_is_wrong_input(tmp_path: Path) -> None:
    assert play(tmp_path, "no_such_module_anywhere: {}") == ExitCode.WRONG_INPUT


def test_all_problems_of_a_registry_are_told_and_nothing_is_run(tmp_path: Path) -> None:
    inventory = tmp_path / "home"
    shutil.copytree(CHECKOUT / "inventory" / "example", inventory)
    registry = inventory / "registry.json"
    registry.write_text(registry.read_text().replace('"worker"', '"wrker"').replace("10.0.0.22", "10.0.0.21"))
    done = deploy("-i", str(inventory), "--yes")
    assert done.returncode == ExitCode.WRONG_INPUT
    assert done.stderr.count("wrker") == 2
    assert "10.0.0.21" in done.stderr
    assert "PLAY" not in done.stdout


@pytest.fixture
def environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `.env` of its own, and an environment without any of the settings; both are as before afterwards."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    path = tmp_path / ".env"
    monkeypatch.setattr(deploying, "ENVIRONMENT_FILE", path)
    return path


def test_an_inventory_gets_its_settings_from_the_file(
    environment_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CHECKOUT / "example.env").read_text(encoding="utf-8")
    text = text.replace("_SECRET=", f"_SECRET={UUID}").replace("_TOKEN=", "_TOKEN=t0ken")
    environment_file.write_text(text, encoding="utf-8")
    environment_file.chmod(0o644)
    monkeypatch.setenv("PROXMOX_NODE", "of-the-shell")
    load_environment(CHECKOUT / "inventory" / "proxmox")
    assert os.environ["K8S_CONTROL_1_IP"] == "192.168.1.101"
    assert os.environ["PROXMOX_NODE"] == "of-the-shell"
    said = capsys.readouterr().err
    assert "chmod 600" in said
    assert UUID not in said


def test_all_settings_that_are_missing_or_wrong_are_told_at_once(environment_file: Path) -> None:
    environment_file.write_text("K8S_GATEWAY=here\nENABLE_CEPH=true\n", encoding="utf-8")
    environment_file.chmod(0o600)
    with pytest.raises(RegistryError) as refused:
        load_environment(CHECKOUT / "inventory" / "proxmox")
    told = "\n".join(map(str, refused.value.problems))
    for name in ("K8S_GATEWAY", "PROXMOX_HOST", "CEPH_FSID"):
        assert f".env: {name}" in told
    load_environment(CHECKOUT / "inventory" / "example")  # this one reads none of them


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no inventory is named"),
        (["-i", "nowhere"], "neither a path nor one of"),
        (["-i", "example"], "add --yes"),
        (["reset", "-i", "example"], "add --yes"),
        (["-i", "vmstation", "--with-rke2", "--yes"], "RKE2 hosts are left alone"),
        (["frobnicate"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], said: str) -> None:
    done = deploy(*words, KUBESTEAD_INVENTORY="", ANSIBLE_INVENTORY="")
    assert done.returncode == ExitCode.WRONG_INPUT
    assert said in done.stderr


def test_a_name_means_the_inventory_even_where_a_folder_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert find_inventory("lab") == CHECKOUT / "inventory" / "lab"
    monkeypatch.setenv("KUBESTEAD_CALLED_FROM", str(CHECKOUT / "inventory"))
    assert find_inventory("./example") == CHECKOUT / "inventory" / "example"


def left_out(tmp_path: Path, lost: str, *words: str) -> tuple[ExitCode, str]:
    """The preflight of a cluster on this computer, of which one machine does not answer."""
    local = f"ansible_connection=local ansible_python_interpreter={sys.executable} ansible_become=false"
    silent = "ansible_host=127.0.0.1 ansible_port=1 ansible_ssh_common_args='-o BatchMode=yes'"
    inventory = tmp_path / "hosts"
    inventory.write_text(
        f"localhost {local}\n"
        f"[control_plane]\ncp-1 {silent if lost == 'cp-1' else local}\n"
        f"[worker]\nw-1 {local}\nw-2 {silent if lost == 'w-2' else local}\n"
    )
    small = ["--extra-vars", '{"preflight_memory": 1, "preflight_cpus": 1, "preflight_disk": 1, '
             '"preflight_check_machine_id": false, '
             '"cluster_pod_subnet": "198.18.0.0/16", "cluster_service_subnet": "198.19.0.0/20"}']  # fmt: skip
    with (tmp_path / "said").open("w+", encoding="utf-8") as said:
        playbook = CHECKOUT / "playbooks" / "preflight.yml"
        outcome = run_playbook(playbook, inventory, [*small, *words], output=said)
        said.seek(0)
        return outcome.code, said.read()


def test_two_that_are_one_machine_are_refused(tmp_path: Path) -> None:
    code, said = left_out(tmp_path, "none", "--extra-vars", "preflight_check_machine_id=true")
    assert code == ExitCode.WRONG_INPUT, said
    assert "Nothing was touched. cp-1, w-1, w-2 share the machine-id" in said


def test_a_worker_that_does_not_answer_is_left_out(tmp_path: Path) -> None:
    code, said = left_out(tmp_path, "w-2")
    assert code == ExitCode.FAILED, said
    assert "Left out of this run, for the reason that stands above: w-2" in said


@pytest.mark.parametrize(
    ("lost", "strict"), [("cp-1", []), ("w-2", ["--extra-vars", "kubestead_strict=true"])]
)
def test_what_ends_the_run_when_it_does_not_answer(tmp_path: Path, lost: str, strict: list[str]) -> None:
    code, said = left_out(tmp_path, lost, *strict)
    assert code == ExitCode.FAILED, said
    assert "Nothing was touched. Not to be used as it is: " + lost in said
    assert "Left out" not in said


@pytest.mark.parametrize("inventory", ["example", "homelab-pxe", "lab", "vmstation"])
def test_the_playbooks_fit_the_inventories_that_come_along(inventory: str) -> None:
    playbooks = ["deploy.yml", "playbooks/deploy-cluster.yaml", "playbooks/reset.yml"]
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", f"inventory/{inventory}", *playbooks,
         "--list-hosts"],
        cwd=CHECKOUT, check=False, capture_output=True, text=True,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hosts = {line.strip() for line in done.stdout.splitlines() if line.startswith("      ")}
    if inventory == "vmstation":
        assert {"masternode", "storagenodet3500"} <= hosts
        assert "homelab" not in hosts  # RKE2: left alone
