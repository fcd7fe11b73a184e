# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line straight on a registry file, without any State API."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubestead.cli import exchange
from kubestead.model.registry import Registry
from kubestead.model.registry_lock import locked
from tests.unit.cli_sample import COMMAND, Ended, kubestead

CP, WORKER, NEW = "52:54:00:77:00:11", "52:54:00:77:00:12", "52:54:00:77:00:13"
CONTENT: dict[str, Any] = {
    "$schema": "../registry.schema.json",
    "52-54-00-77-00-11": {
        "hostname": "cp-1",
        "role": "control-plane",
        "architecture": "amd64",
        "features": ["kubernetes", "nfs"],
        "ip": "10.0.0.11",
        "rack": "a1",
    },
    WORKER: {"hostname": "worker-1", "role": "worker", "architecture": "arm64"},
}


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(CONTENT))
    return path


def machines(verb: str, registry: Path, *words: object) -> Ended:
    return kubestead("machines", verb, *words, "--registry", registry)


def content(registry: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(registry.read_text())
    return found


def test_machines_are_listed_with_what_a_file_knows(registry: Path) -> None:
    done = machines("list", registry)
    heading, first, second = done.out.splitlines()
    assert done.code == 0
    assert heading.split() == [
        "Hostname",
        "Role",
        "State",
        "Reported",
        "Address",
        "MAC",
        "Features",
        "Message",
    ]
    assert first.split()[:4] == ["cp-1", "control-plane", "not", "reported"]
    assert second.split()[:2] == ["worker-1", "worker"]
    assert list(machines("list", registry, "--json").json) == [CP, WORKER]


def test_a_machine_is_added_with_the_words_of_old(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    assert (
        machines("add", path, "5254.0077.0011", "cp-1", "control-plane", "x86_64", "kubernetes", "nfs").code
        == 0
    )
    assert content(path) == {
        CP: {
            "hostname": "cp-1",
            "role": "control-plane",
            "architecture": "x86_64",
            "features": ["kubernetes", "nfs"],
        }
    }


def test_a_machine_is_added_with_everything(registry: Path) -> None:
    done = machines(
        "add", registry, NEW, "gpu-1", "worker", "amd64", "gpu", "--ip", "10.0.0.13", "--os", "debian-13",
        "--disk", "/dev/disk/by-id/ata-x", "--label", "rack=a1", "--label", "zone=b",
        "--taint", "gpu:NoSchedule", "--spec", "memory=16GB", "--firmware", "uefi",
        "--install-method", "image", "--gpu-pci-address", "0000:01:00", "--locked", "--json",
    )  # fmt: skip
    assert (done.code, done.json["result"], done.json["machine"]["labels"]) == (
        0,
        "added",
        {"rack": "a1", "zone": "b"},
    )
    assert list(content(registry)) == [*CONTENT, NEW], "the order of the file stays, a new machine comes last"
    assert content(registry)[NEW] == {
        "hostname": "gpu-1",
        "role": "worker",
        "architecture": "amd64",
        "features": ["gpu"],
        "ip": "10.0.0.13",
        "os": "debian-13",
        "firmware": "uefi",
        "disk": "/dev/disk/by-id/ata-x",
        "install_method": "image",
        "gpu_pci_address": "0000:01:00",
        "labels": {"rack": "a1", "zone": "b"},
        "taints": ["gpu:NoSchedule"],
        "specs": {"memory": "16GB"},
        "locked": True,
    }


def test_adding_twice_changes_nothing_and_another_is_refused(registry: Path) -> None:
    words = (WORKER, "worker-1", "worker", "aarch64")
    before = registry.read_text()
    done = machines("add", registry, *words)
    assert (done.code, done.out) == (0, f"worker-1 ({WORKER}): unchanged\n")
    done = machines("add", registry, WORKER, "worker-9", "worker", "arm64")
    assert done.code == 1
    assert f"{WORKER} is in the registry already, as worker-1" in done.err
    assert "worker-9" in done.err
    assert "--replace" in done.err
    assert registry.read_text() == before
    assert machines("add", registry, WORKER, "worker-9", "worker", "arm64", "--replace").code == 0
    assert content(registry)[WORKER]["hostname"] == "worker-9"


def test_a_wrong_entry_is_refused_with_all_its_problems(registry: Path) -> None:
    before = registry.read_text()
    done = machines("add", registry, "52:54:00:77:00", "worker-1", "wrker", "amd64", "--label", "rack=a1")
    assert (done.code, registry.read_text()) == (2, before)
    assert "52:54:00:77:00: is no MAC address" in done.err
    assert 'role is "wrker"' in done.err
    assert "52:54:00:77:00:12 has the same" in done.err
    for label in ("rack", "=a", ""):
        assert machines("add", registry, NEW, "x", "worker", "amd64", "--label", label).code == 2
    twice = machines(
        "add", registry, NEW, "x", "worker", "amd64", "--label", "a=1", "--label", "a=2", "--json"
    )
    assert (twice.code, twice.problem["error"], twice.problem["exit_code"]) == (2, "--label names a twice", 2)
    assert registry.read_text() == before


def test_machines_are_removed_all_or_none(registry: Path) -> None:
    before = registry.read_text()
    done = machines("remove", registry, "worker-1", "cp-2")
    assert (done.code, registry.read_text()) == (1, before)
    assert "there is no machine cp-2" in done.err
    assert "Did you mean cp-1?" in done.err
    done = machines("remove", registry, "WORKER-1", "525400770011", "--json")
    assert done.json == {"removed": {WORKER: CONTENT[WORKER], CP: CONTENT["52-54-00-77-00-11"]}}
    assert content(registry) == {"$schema": CONTENT["$schema"]}


def test_the_configuration_of_a_machine(registry: Path) -> None:
    done = machines("config", registry, "52-54-00-77-00-11")
    assert (done.code, done.json["hostname"], done.json["cluster"], done.json["rack"]) == (
        0,
        "cp-1",
        "homelab",
        "a1",
    )


def test_locking_is_one_key_of_the_entry(registry: Path) -> None:
    assert machines("lock", registry, "cp-1", WORKER).code == 0
    assert content(registry)[WORKER] == {**CONTENT[WORKER], "locked": True}
    assert machines("lock", registry, "cp-1", "--json").json[CP]["locked"] is True
    assert machines("unlock", registry, "cp-1", WORKER).code == 0
    assert content(registry) == CONTENT


@pytest.mark.parametrize("verb", ["status", "approve", "reinstall", "retire", "events"])
def test_what_only_the_api_knows_is_not_asked_of_a_file(registry: Path, verb: str) -> None:
    done = machines(verb, registry, "cp-1")
    assert (done.code, done.out) == (2, "")
    assert f"`{verb}` is about the state of machines" in done.err


@pytest.mark.parametrize("kind", ["json", "yaml", "csv"])
def test_what_is_exported_is_imported_as_it_was(registry: Path, tmp_path: Path, kind: str) -> None:
    rich = {
        "hostname": "gpu-1",
        "role": "worker",
        "architecture": "amd64",
        "features": [],
        "specs": {"memory": "16GB", "disks": [1, 2]},
        "labels": {"rack": "a1", "empty": ""},
        "taints": [{"key": "gpu", "effect": "NoSchedule"}],
        "proxmox": {"vmid": 100},
        "locked": True,
        "shelf": 3,
        "note": 'a, "b"\nc',
        "number": "17",
        "nothing": None,
    }
    registry.write_text(json.dumps({**CONTENT, NEW: rich}))
    file = tmp_path / f"copy.{kind}"
    assert machines("export", registry, file).code == 0
    other = tmp_path / "other.json"
    done = machines("import", other, file, "--json")
    assert (done.code, done.json["added"]) == (0, [CP, WORKER, NEW])
    assert Registry.load(other).machines == Registry.load(registry).machines
    assert machines("import", registry, file, "--replace").out == "3 unchanged\n"


def test_an_import_is_all_or_nothing(registry: Path, tmp_path: Path) -> None:
    before = registry.read_text()
    file = tmp_path / "more.csv"
    file.write_text(
        f"mac,hostname,role,architecture\n{NEW},new-1,worker,amd64\n52:54:00:77:00:14,cp-1,worker,amd64\n"
    )
    done = machines("import", registry, file)
    assert (done.code, registry.read_text()) == (2, before)
    assert '52:54:00:77:00:14: hostname is "cp-1"' in done.err
    file.write_text(
        f"mac,hostname,role,architecture\n{NEW},new-1,worker,amd64\n{WORKER},worker-1,compute,arm64\n"
    )
    assert machines("import", registry, file, "--dry-run").out == "would be: 1 added, 1 changed\n"
    assert registry.read_text() == before
    assert machines("import", registry, file).out == "1 added, 1 changed\n"
    assert list(content(registry)) == ["$schema", "52-54-00-77-00-11", WORKER, NEW]
    assert machines("import", registry, file, "--replace").out == "2 unchanged, 1 removed\n"
    assert list(content(registry)) == ["$schema", WORKER, NEW]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the names of the columns"),
        ("hostname,role\na,b\n", "the names of the columns"),
        ("mac,mac\n", "the names of the columns"),
        (f"mac,hostname,role,architecture\n{NEW},a,worker\n", "line 2 has 3 cells"),
        (
            f"mac,hostname,role,architecture\n{NEW},a,worker,amd64\n525400770013,b,worker,amd64\n",
            "is there twice (line 3)",
        ),
        (f'mac,hostname,role,architecture\n{NEW},"a"b,worker,amd64\n', "line 2"),
        ("mac,hostname,role,architecture\nx,a,worker,amd64\n", "x: is no MAC address"),
        (f"mac,hostname,role,architecture,locked\n{NEW},a,worker,amd64,perhaps\n", 'locked is "perhaps"'),
    ],
)
def test_a_table_that_is_none_is_refused(registry: Path, tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    before = registry.read_text()
    done = machines("import", registry, file)
    assert (done.code, registry.read_text()) == (2, before)
    assert expected in done.err
    assert str(file) in done.err


def test_a_spreadsheet_s_table_is_read() -> None:
    columns = "mac,hostname,role,architecture,features,labels,shelf"
    text = f"\ufeff{columns}\r\n{NEW},a,worker,amd64,gpu;nfs,rack=a1,3\r\n,,,,,,\r\n"
    machine = exchange.parse(text, exchange.Format.CSV, "table.csv").machines[NEW]
    assert (machine.features, machine.labels, machine.extra) == (("gpu", "nfs"), {"rack": "a1"}, {"shelf": 3})


def test_an_export_replaces_no_file(registry: Path, tmp_path: Path) -> None:
    file = tmp_path / "there.json"
    file.write_text("mine")
    assert (machines("export", registry, file).code, file.read_text()) == (1, "mine")
    assert machines("export", registry, file, "--force").code == 0
    assert Registry.load(file).machines == Registry.load(registry).machines
    rows = list(csv.reader(io.StringIO(machines("export", registry, "--format", "csv").out)))
    assert rows[0] == ["mac", "hostname", "role", "architecture", "features", "ip", "rack"]


def test_what_is_missing_is_named(registry: Path, tmp_path: Path) -> None:
    for done in (
        machines("import", registry, tmp_path / "gone.json"),
        machines("list", tmp_path / "gone.json"),
        kubestead("registry", "check", tmp_path / "gone.json"),
    ):
        assert (done.code, "gone.json" in done.err) == (3, True)
    done = machines("add", tmp_path / "no" / "such" / "r.json", NEW, "a", "worker", "amd64")
    assert (done.code, "cannot be written" in done.err) == (3, True)


def test_a_registry_is_checked(registry: Path, tmp_path: Path) -> None:
    done = kubestead("registry", "check", registry)
    assert (done.code, done.out) == (0, f"{registry}: 2 machines, no problems\n")
    assert "the key rack is not known" in done.err
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{")
    assert kubestead("registry", "check", wrong).code == 2


def test_a_registry_that_another_changes_is_waited_for_and_then_named(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Registry.update
    monkeypatch.setattr(
        Registry, "update", lambda path, change, create: update(path, change, create=create, timeout=0.05)
    )
    with locked(registry):
        done = machines("lock", registry, "cp-1")
    assert (done.code, "is being changed by" in done.err) == (5, True)
    assert content(registry) == CONTENT


def test_two_writers_lose_nothing(registry: Path) -> None:
    """Many commands at once on one file: every machine that was acknowledged is there."""
    macs = [f"52:54:00:78:00:{number:02x}" for number in range(4)]
    processes = [
        subprocess.Popen(
            [*COMMAND, "machines", "add", mac, f"n-{number}", "worker", "amd64", "--registry", str(registry)],
            stdout=subprocess.DEVNULL,
            env=os.environ,
        )
        for number, mac in enumerate(macs)
    ]
    assert [process.wait(60) for process in processes] == [0] * len(macs)
    assert set(Registry.load(registry).machines) == {CP, WORKER, *macs}
