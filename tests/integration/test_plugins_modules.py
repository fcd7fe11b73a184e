# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules against a real State API where something is in the way: each says what, and what to do."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import StateApiClient
from tests.integration.ansible_cores import CHECKOUT, environment
from tests.unit.api_sample import BEARER, CP, WORKER, Files, Running, free_port, running, until

PROGRAMS = Path(sys.executable).parent


class Modules:
    """Runs modules as Ansible does, but for the way to the host."""

    def __init__(self, folder: Path, url: str, token_file: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self.api: dict[str, Any] = {"api_url": url, "api_token_file": str(token_file)}

    def start(self, module: str, **options: Any) -> subprocess.Popen[str]:
        """Begin."""
        path = self._folder / f"arguments-{next(self._numbers)}.json"
        path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {**self.api, "_ansible_diff": True, **options}}))
        return subprocess.Popen(
            [sys.executable, CHECKOUT / "plugins" / "modules" / f"{module}.py", path],
            env=environment(PROGRAMS, PYTHONPATH=str(CHECKOUT / ".ansible" / "collections")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, module: str, **options: Any) -> dict[str, Any]:
        """The result."""
        return result(self.start(module, **options))

    def refused(self, module: str, **options: Any) -> str:
        """What it says when it fails."""
        answer = self(module, **options)
        assert answer.get("failed"), answer
        message: str = answer["msg"]
        return message


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a module has answered."""
    out, err = process.communicate(timeout=60)
    assert not err, err
    answer: dict[str, Any] = json.loads(out)
    return answer


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Running]:
    """The real program."""
    with running(Files.make(tmp_path)) as started:
        yield started


@pytest.fixture
def modules(api: Running, tmp_path: Path) -> Modules:
    """Modules that know where it is."""
    return Modules(tmp_path, api.url, api.log.parent / "token")


def test_a_registry_that_would_be_wrong_is_refused_with_all_problems(modules: Modules, api: Running) -> None:
    before = api.client().registry()["text"]
    options = {"mac": WORKER, "role": "master", "hostname": "cp-1"}
    answer = modules("machine", **options)
    assert 'role is "master", expected control-plane, worker or compute' in answer["msg"]
    assert "hostname" in answer["msg"]
    assert answer["msg"].endswith("Nothing was changed.")
    assert len(answer["problems"]) == 2
    assert modules.refused("machine", _ansible_check_mode=True, **options) == answer["msg"]
    assert api.client().registry()["text"] == before


def test_what_a_report_does_not_know_of_a_machine_stays_in_the_registry(
    modules: Modules, api: Running
) -> None:
    answer = modules("machine", mac=CP, ip="10.77.0.12")
    assert answer["changed"]
    entry = json.loads(api.client().registry()["text"])[CP]
    assert (entry["ip"], entry["rack"], entry["bmc"]["type"]) == ("10.77.0.12", "left", "redfish")
    assert modules("machine", mac=CP, ip="10.77.0.11")["changed"]


def test_a_file_that_somebody_else_is_writing(modules: Modules, tmp_path: Path) -> None:
    path = tmp_path / "machines.yml"
    wanted = {"registry": str(path), "role": "worker", "architecture": "amd64"}
    at_once = [
        modules.start("machine", mac=f"52:54:00:77:01:{number:02}", hostname=f"node-{number}", **wanted)
        for number in range(6)
    ]
    assert [result(process)["changed"] for process in at_once] == [True] * 6
    assert path.read_text().count("hostname:") == 6
    gone = modules("machine", mac="52:54:00:77:01:03", state="absent", registry=str(path))
    assert (gone["changed"], "machine" in gone) == (True, False)
    assert "node-3" in gone["diff"]["before"]
    path.write_text("{")
    assert str(path) in modules.refused("machine", mac=CP, state="absent", registry=str(path))


def test_the_lifecycle_holds_in_check_mode_too(modules: Modules) -> None:
    for check in (True, False):
        said = modules.refused(
            "machine_state", machine="worker-1", state="installing", _ansible_check_mode=check
        )
        assert said.startswith("worker-1: a machine that is approved cannot go to installing, only to ")
        assert said.endswith("Nothing was changed.")


def test_reinstalling_takes_the_right_name_and_no_lock(modules: Modules, api: Running) -> None:
    assert "hostname" in modules.refused("machine_state", machine=WORKER, action="reinstall")
    said = modules.refused("machine_state", machine=WORKER, action="reinstall", hostname="cp-1")
    assert said == f"{WORKER} is worker-1, not cp-1. Nothing was changed."
    assert modules("machine_state", machine=WORKER, action="lock")["machine"]["locked"]
    said = modules.refused("machine_state", machine=WORKER, action="reinstall", hostname="worker-1")
    assert "locked" in said
    assert modules("machine_state", machine=WORKER, action="unlock")["changed"]
    options = {"machine": WORKER, "action": "reinstall", "hostname": "worker-1"}
    assert modules("machine_state", _ansible_check_mode=True, **options)["changed"]
    assert api.client().machine(WORKER)["state"] is None
    first = modules("machine_state", **options)
    assert (first["changed"], first["machine"]["state"]) == (True, "install_pending")
    again = modules("machine_state", **options)
    assert (again["changed"], again["machine"]["install"]) == (False, first["machine"]["install"])
    withdrawn = modules("machine_state", machine=WORKER, action="approve")
    assert (withdrawn["changed"], withdrawn["machine"]["state"]) == (True, "approved")


def test_a_machine_that_somebody_else_has_changed_meanwhile(modules: Modules, api: Running) -> None:
    version = api.client().machine(CP)["version"]
    api.client().act(CP, "lock")
    said = modules.refused("machine_state", machine="cp-1", action="unlock", version=version)
    assert said.startswith(f"cp-1 has changed since: it is version {version + 1} now, not {version}.")
    assert modules("machine_state", machine="cp-1", action="unlock", version=version + 1)["changed"]


def test_a_machine_that_nobody_knows(modules: Modules) -> None:
    assert modules.refused("machine_info", machines=["worker-2"]).startswith(
        "the State API knows no machine worker-2: did you mean worker-1?"
    )
    assert "knows no machine 52:54:00:77:00:99" in modules.refused("machine_info", machines=["525400770099"])
    found = modules("machine_state", machine="525400770077", state="discovered", msg="hello")
    assert (found["changed"], found["machine"]["registered"]) == (True, False)
    assert [one["mac"] for one in modules("machine_info", registered=False)["machines"]] == [
        "52:54:00:77:00:77"
    ]


def test_a_claim_has_one_holder(modules: Modules) -> None:
    racers = [
        modules.start("cluster_claim", name="race", holder=f"cp-{number}", taken_is_failure=False)
        for number in range(5)
    ]
    answers = [result(process) for process in racers]
    assert sorted(answer["held"] for answer in answers) == [False] * 4 + [True]
    assert sorted(answer["changed"] for answer in answers) == [False] * 4 + [True]
    (winner,) = {answer["claim"]["holder"] for answer in answers}
    loser = "cp-0" if winner != "cp-0" else "cp-1"
    take = {"name": "race", "holder": loser}
    said = modules.refused("cluster_claim", **take)
    assert said.startswith(f"{winner} holds the claim race since 2")
    assert said.endswith(f"(epoch 1) and has not finished yet, not {loser}.")
    complete = {"name": "race", "action": "complete", "data": [1]}
    assert "cannot complete it" in modules.refused("cluster_claim", holder=loser, **complete)
    assert modules("cluster_claim", force=True, _ansible_check_mode=True, **take)["claim"]["epoch"] == 2
    forced = modules("cluster_claim", force=True, **take)
    assert (forced["changed"], forced["claim"]["holder"], forced["claim"]["epoch"]) == (True, loser, 2)
    assert "taken anew since" in modules.refused("cluster_claim", holder=loser, epoch=1, **complete)
    assert modules("cluster_claim", holder=loser, epoch=2, **complete)["changed"]
    assert not modules("cluster_claim", holder=loser, **complete)["changed"]
    other = {**complete, "data": [2]}
    assert "completed for good" in modules.refused("cluster_claim", holder=loser, **other)
    assert modules("cluster_claim", name="other", action="read")["claim"] is None
    assert "take it first" in modules.refused("cluster_claim", **{**complete, "name": "other"}, holder="cp-1")


def test_values_are_told_apart_as_json_does(modules: Modules, api: Running) -> None:
    options = {"machine": CP, "key": "answer"}
    assert modules("machine_data", value=1, **options)["changed"]
    assert not modules("machine_data", value=1, **options)["changed"]
    changed = modules("machine_data", value=True, **options)
    assert changed["changed"]
    assert (changed["diff"]["before"], changed["diff"]["after"]) == ("1\n", "true\n")
    assert api.client().data(CP, "answer")["value"] is True
    said = modules.refused("machine_data", machine=CP, key="big", value="x" * 300_000)
    assert "at most" in said


def test_an_api_that_is_not_there_and_one_that_does_not_know_the_token(
    modules: Modules, tmp_path: Path
) -> None:
    said = modules.refused("machine_info", api_url=f"http://127.0.0.1:{free_port()}")
    assert said.startswith("The State API cannot be reached: http://127.0.0.1:")
    assert said.endswith("connection refused. Is it running, and is api_url right?")
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token-that-is-long-enough")
    said = modules.refused("machine_info", api_token_file=str(wrong))
    assert said.endswith(f"({wrong} was read: does api_token_file name the right file?)")
    modules.api = {}
    assert modules.refused("machine_info").startswith("api_url is not set. Set api_url and api_token_file")


def test_waiting_ends_early_with_the_reason(modules: Modules, api: Running) -> None:
    client = api.client()
    client.report_state(WORKER, "provisioning", phase="join")
    waiting = modules.start("wait_for_machines", machines=["cp-1", "worker-1"], timeout=50)
    client.report_state(WORKER, "failed", phase="join", error="no route to host")
    answer = result(waiting)
    assert answer["msg"].startswith("worker-1 failed in phase join: no route to host. Not there yet: cp-1 ")
    assert (answer["failed_machines"], answer["missing"]) == (["worker-1"], ["cp-1", "worker-1"])
    said = modules.refused("wait_for_machines", machines=["cp-1"], timeout=1)
    assert said.startswith("Not ready after 1 seconds: cp-1 ")


@dataclass(frozen=True)
class OnPort(Files):
    """An API on a port that is known before."""

    port: int = 0

    def arguments(self, port: int) -> list[str]:
        """The command that starts it."""
        return super().arguments(self.port or port)


def viewers(client: StateApiClient) -> int:
    """How many event streams are open."""
    request = urllib.request.Request(f"{client.url}/metrics", headers={"Authorization": f"Bearer {BEARER}"})
    with urllib.request.urlopen(request) as answer:
        found = re.search(r"^kubestead_stream_viewers (\d+)", answer.read().decode(), re.MULTILINE)
    assert found
    return int(found[1])


def test_waiting_survives_an_api_that_is_started_anew(tmp_path: Path) -> None:
    made, port = Files.make(tmp_path), free_port()
    files = OnPort(made.token, made.database, made.registry, port)
    client = StateApiClient(f"http://127.0.0.1:{port}", BEARER)
    modules = Modules(tmp_path, client.url, files.token)
    with running(files) as first:
        client.report_state(WORKER, "provisioning")
        waiting = modules.start("wait_for_machines", machines=["cp-1", "worker-1"], timeout=50)
        until(lambda: viewers(client) == 1, 30)
        first.process.kill()
        first.process.wait(10)
    assert waiting.poll() is None
    with running(files):
        for mac in (CP, WORKER):
            client.report_state(mac, "provisioning")
            client.report_state(mac, "ready")
        answer = result(waiting)
    assert not answer.get("failed"), answer
    assert answer["missing"] == []
