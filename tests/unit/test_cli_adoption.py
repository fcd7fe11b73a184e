# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead machines adopt` and `machines features`, on a real State API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient
from tests.unit.api_sample import CP, REGISTRY, WORKER, Files, Running, running
from tests.unit.cli_sample import kubestead

STRANGER = "52:54:00:77:00:99"
HARDWARE = {
    "cpu": {"threads": 4},
    "gpus": [{"vendor": "10de", "device": "1c03", "address": "0000:01:00.0", "name": "GTX\x1b[31m 1060"}],
    "disks": [{"name": "sdb", "bytes": 500 << 30, "used": False}],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.make(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def running_api(files: Files) -> Iterator[Running]:
    with running(files) as program:
        yield program


@pytest.fixture
def api(running_api: Running, files: Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    files.registry.write_text(json.dumps(REGISTRY))
    monkeypatch.setenv("KUBESTEAD_API_URL", running_api.url)
    monkeypatch.setenv("KUBESTEAD_API_TOKEN_FILE", str(files.token))
    yield running_api
    client = running_api.client()
    for each in client.enrolments():
        if each["condition"] == "waiting":
            client.decide_enrolment(each["code"], approve=False)


def asks(api: Running, mac: str, **more: Any) -> Any:
    body = {
        "mac": mac,
        "hostname": "shelf-3",
        "hardware": {"cpu": "A Processor", "memory_bytes": 16 << 30},
        **more,
    }
    return StateApiClient(api.url).request("POST", "/api/enrolments", body)


def test_nobody_asks(api: Running) -> None:
    done = kubestead("machines", "adopt")
    assert (done.code, done.out) == (0, "No machine asks to be adopted.\n")
    unknown = kubestead("machines", "adopt", "BCDF-GHJK")
    assert unknown.code == 1
    assert "no machine asks to be adopted with the code BCDF-GHJK" in unknown.err
    assert "No machine asks for it now." in unknown.err


def test_who_asks_and_a_yes(api: Running) -> None:
    stranger, known = asks(api, STRANGER), asks(api, CP, hostname="")
    heading, first, second = kubestead("machines", "adopt").out.splitlines()
    assert heading.split()[0] == "Code"
    assert first.split()[:5] == [stranger["code"], STRANGER, "127.0.0.1", "shelf-3", "not"]
    assert second.split()[:5] == [known["code"], CP, "127.0.0.1", "-", "cp-1"]
    assert [each["code"] for each in kubestead("machines", "adopt", "--json").json] == [
        stranger["code"],
        known["code"],
    ]
    assert "2 machines ask to be adopted: kubestead machines adopt" in kubestead("status").out
    assert kubestead("status", "--json").json["asking"] == [stranger["code"], known["code"]]
    unasked = kubestead("machines", "adopt", stranger["code"])
    assert unasked.code == 2
    assert "there is no terminal to ask on" in unasked.err
    done = kubestead("machines", "adopt", stranger["code"].lower(), "--yes")
    assert done.code == 0
    assert done.out == f"shelf-3 ({STRANGER}): adopted (installed)\n"
    assert "says it is shelf-3: A Processor, 16.0 GiB memory" in done.err
    assert f"kubestead machines add {STRANGER} shelf-3 ROLE ARCH" in done.err
    assert (
        kubestead("machines", "adopt", known["code"], "--refuse").out == f"{known['code']} ({CP}): refused\n"
    )
    late = kubestead("machines", "adopt", known["code"], "--yes")
    assert late.code == 1
    assert "was refused: let the machine ask again" in late.err


def test_refusing_needs_a_code(api: Running) -> None:
    assert kubestead("machines", "adopt", "--refuse").code == 2


def test_features_that_hardware_proposes(api: Running, files: Files) -> None:
    missing = kubestead("machines", "features", "cp-1")
    assert missing.code == 1
    assert "cp-1" in missing.err
    assert "has not reported its hardware" in missing.err
    api.client().put_data(CP, "hardware", HARDWARE)
    shown = kubestead("machines", "features", "cp-1")
    assert "proposed: gpu, for NVIDIA GTX" in shown.out
    assert "\x1b" not in shown.out
    assert "proposed: storage, for unused: /dev/sdb (500 GiB)" in shown.out
    status = kubestead("machines", "status", "cp-1").out
    assert "could be gpu" in status
    assert "hardware" in status
    wrong = kubestead("machines", "features", "cp-1", "nfs", "--accept")
    assert wrong.code == 2
    assert "does not propose nfs" in wrong.err
    assert kubestead("machines", "features", "cp-1", "gpu", "--accept", "--json").json["accepted"] == ["gpu"]
    assert json.loads(files.registry.read_text())[CP]["features"] == ["kubernetes", "gpu"]
    assert kubestead("machines", "features", "cp-1", "--accept").code == 0
    after = json.loads(files.registry.read_text())
    assert after[CP]["features"] == ["kubernetes", "gpu", "storage"]
    assert after[WORKER] == REGISTRY[WORKER]
    again = kubestead("machines", "features", "cp-1", "--accept")
    assert "Its hardware proposes nothing more." in again.out


def test_how_a_machine_has_joined(api: Running) -> None:
    assert "joined" not in kubestead("machines", "status", "cp-1").out
    record = {"node": "cp-1", "role": "control-plane", "endpoint": "10.0.0.100:8443", "token_id": "abcdef"}
    api.client().put_data(CP, "join", record)
    said = kubestead("machines", "status", "cp-1").out
    assert "as control-plane cp-1 at 10.0.0.100:8443, by token abcdef (" in said


def test_a_machine_that_is_not_in_the_registry(api: Running) -> None:
    api.client().put_data(STRANGER, "hardware", HARDWARE)
    done = kubestead("machines", "features", STRANGER, "--accept")
    assert done.code == 1
    assert f"kubestead machines add {STRANGER} HOSTNAME ROLE ARCH gpu storage" in done.err


def test_nothing_is_left_for_a_file(api: Running, tmp_path: Path) -> None:
    assert kubestead("machines", "features", "cp-1", "--registry", tmp_path / "r.json").code == 2
