# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead registry`: a controller's registry and the live one, and the edits that neither may undo."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api_sample import CP, REGISTRY, Files, running
from tests.unit.cli_sample import COMMAND, kubestead

NEW = "52:54:00:77:00:31"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Files]]:
    files = Files.make(tmp_path_factory.mktemp("api"))
    with running(files) as program:
        yield program.url, files


@pytest.fixture
def live(api: tuple[str, Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The live registry; the environment names its API, and a controller's memory of its own."""
    url, files = api
    monkeypatch.setenv("KUBESTEAD_API_URL", url)
    monkeypatch.setenv("KUBESTEAD_API_TOKEN_FILE", str(files.token))
    monkeypatch.setenv("KUBESTEAD_CACHE", str(tmp_path / "cache"))
    files.registry.write_text(json.dumps(REGISTRY))
    files.database.with_name("registry.pushed").unlink(missing_ok=True)
    return files.registry


def written(path: Path, **changes: Any) -> Path:
    """A registry with changes of its first machine."""
    path.write_text(json.dumps({**REGISTRY, CP: {**REGISTRY[CP], **changes}}, indent=2))
    return path


def test_what_one_pushes_the_other_pulls(live: Path, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine.json", tmp_path / "theirs.json"
    assert kubestead("registry", "pull", mine).code == 0
    assert kubestead("registry", "pull", theirs).code == 0
    assert mine.read_text() == theirs.read_text() == live.read_text()
    assert "say the same" in kubestead("registry", "pull", mine).out
    assert kubestead("registry", "diff", mine).code == 0

    written(mine, rack="right")
    differs = kubestead("registry", "diff", mine)
    assert (differs.code, '-    "rack": "left"' in differs.out or '"rack": "right"' in differs.out) == (
        1,
        True,
    )
    assert kubestead("registry", "diff", mine, "--json").json["same"] is False
    done = kubestead("registry", "push", mine)
    assert (done.code, live.read_text()) == (0, mine.read_text())
    assert len(list(live.parent.glob(f"{live.name}.*~"))) >= 1, "the one before stays beside it"
    assert kubestead("registry", "pull", theirs, "--json").json["changed"] is True
    assert theirs.read_text() == mine.read_text()


def test_an_edit_that_was_not_seen_is_not_undone(live: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    assert kubestead("registry", "pull", mine).code == 0
    edited = written(live, rack="moved by hand").read_text()
    written(mine, rack="right")
    done = kubestead("registry", "push", mine)
    assert (done.code, live.read_text()) == (1, edited)
    assert '-    "rack": "moved by hand"' in done.err
    assert '+    "rack": "right"' in done.err
    assert f"registry pull {mine}" in done.err
    told = kubestead("registry", "push", mine, "--json").problem
    assert (told["exit_code"], "moved by hand" in told["difference"]) == (1, True)
    # The other way round too: what was changed here is not lost by a pull.
    pulled = kubestead("registry", "pull", mine)
    assert (pulled.code, "right" in mine.read_text(), "right" in pulled.err) == (1, True, True)
    assert kubestead("registry", "pull", mine, "--force").code == 0
    assert mine.read_text() == edited
    written(mine, rack="right")
    assert kubestead("registry", "push", mine).code == 0
    assert live.read_text() == mine.read_text()


def test_a_machine_added_through_the_api_is_an_edit_too(live: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    assert kubestead("registry", "pull", mine).code == 0
    assert kubestead("machines", "add", NEW, "new-1", "worker", "amd64").code == 0
    written(mine, rack="right")
    done = kubestead("registry", "push", mine)
    assert (done.code, "new-1" in done.err, "new-1" in live.read_text()) == (1, True, True)
    assert kubestead("registry", "push", mine, "--force").code == 0
    assert "new-1" not in live.read_text()


def test_who_has_never_seen_the_live_one_may_not_replace_it(live: Path, tmp_path: Path) -> None:
    before = live.read_text()
    mine = written(tmp_path / "mine.json", rack="right")
    assert (kubestead("registry", "push", mine).code, live.read_text()) == (1, before)
    assert (kubestead("registry", "pull", mine).code, "right" in mine.read_text()) == (1, True)


def test_the_first_push_makes_the_live_one(live: Path, tmp_path: Path) -> None:
    live.unlink()
    mine = written(tmp_path / "mine.json")
    assert kubestead("registry", "pull", mine).code == 1
    assert kubestead("registry", "push", mine).code == 0
    assert live.read_text() == mine.read_text()


def test_a_wrong_registry_is_not_pushed(live: Path, tmp_path: Path) -> None:
    before = live.read_text()
    mine = written(tmp_path / "mine.json", role="master", ip="10.77.0.11/24")
    done = kubestead("registry", "push", mine, "--force")
    assert (done.code, live.read_text()) == (2, before)
    assert f"{mine}: {CP}: role is" in done.err
    assert f"{mine}: {CP}: ip is" in done.err
    assert kubestead("registry", "push", tmp_path / "gone.json").code == 3


def test_yaml_and_json_are_not_mixed(live: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text(f"'{CP}': {{hostname: a, role: worker, architecture: amd64}}\n")
    for verb in ("push", "pull", "diff"):
        done = kubestead("registry", verb, mine)
        assert (done.code, "machines export" in done.err) == (2, True)


def test_a_reader_may_not_see_the_text(live: Path, tmp_path: Path) -> None:
    reader = tmp_path / "reader"
    assert kubestead("token", "create", "reader", "--scope", "read", "-o", reader).code == 0
    for verb in ("push", "pull", "diff"):
        done = kubestead("registry", verb, written(tmp_path / "mine.json"), "--token-file", reader)
        assert (done.code, "scope operator" in done.err) == (1, True)


def test_two_writers_behind_the_api_lose_nothing(live: Path, tmp_path: Path) -> None:
    """Machines are added one by one and imported many at once, all at the same time."""
    tables = []
    for number in range(3):
        macs = [f"52:54:00:79:{number:02x}:{index:02x}" for index in range(5)]
        table = tmp_path / f"{number}.csv"
        rows = "".join(f"{mac},many-{number}-{index},worker,amd64\n" for index, mac in enumerate(macs))
        table.write_text(f"mac,hostname,role,architecture\n{rows}")
        tables.append(table)
    commands: list[list[str]] = [["machines", "import", str(table)] for table in tables]
    commands += [
        ["machines", "add", f"52:54:00:7a:00:{index:02x}", f"one-{index}", "worker", "amd64"]
        for index in range(3)
    ]
    processes = [subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL) for words in commands]
    assert [process.wait(120) for process in processes] == [0] * len(commands)
    names = {entry["hostname"] for entry in json.loads(live.read_text()).values()}
    assert names == {
        "cp-1",
        "worker-1",
        *(f"many-{number}-{index}" for number in range(3) for index in range(5)),
        *(f"one-{index}" for index in range(3)),
    }
