# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's push of a registry: never over an edit that the controller has not seen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.converging import Converging
from kubestead.model.pushing import PushRefusedError, push
from kubestead.model.registry_lock import RegistryLockedError, locked
from kubestead.model.registry_sync import fingerprint

OLD = '{\n  "52:54:00:00:00:01": {"hostname": "one", "role": "worker", "architecture": "amd64"}\n}\n'
NEW = OLD.replace('"one"', '"first"')
EDITED = OLD.replace('"one"', '"edited"')


class Module:
    """What of an AnsibleModule is needed here."""

    def __init__(self, tmpdir: Path, check_mode: bool = False) -> None:
        self.tmpdir, self.check_mode, self._diff = str(tmpdir), check_mode, True

    def atomic_move(self, source: str, target: str) -> None:
        os.replace(source, target)

    def backup_local(self, path: str) -> str:
        return str(shutil.copy(path, f"{path}~"))


class Live:
    """A live registry on a host, and what was told of pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = folder / "machines" / "registry.json"
        self.registry.parent.mkdir()
        self.mark = folder / "registry.pushed"
        self.host = Converging(Module(folder))

    def push(self, text: str, check: bool = False, **options: Any) -> dict[str, Any]:
        self.host = Converging(Module(self.folder, check))
        return push(self.host, self.registry, text, self.folder, **{"seen": [], **options})


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path)


def test_the_first_push_and_the_same_again(live: Live) -> None:
    assert live.push(NEW) == {"registry_base": fingerprint(NEW)}
    assert live.registry.read_text() == NEW
    assert live.mark.read_text().strip() == fingerprint(NEW)
    live.push(NEW)
    assert live.host.changes == []


def test_the_one_before_is_kept(live: Live) -> None:
    live.push(OLD)
    told = live.push(NEW, seen=[fingerprint(OLD)])
    assert Path(told["backup"]).read_text() == OLD
    assert live.registry.read_text() == NEW


def test_an_edit_that_was_not_seen_stays(live: Live) -> None:
    live.push(OLD)
    live.registry.write_text(EDITED)
    for seen in ([], [fingerprint(OLD)], [fingerprint(NEW), fingerprint(OLD)]):
        with pytest.raises(PushRefusedError, match=r"kubestead registry pull mine\.json") as caught:
            live.push(NEW, seen=seen, source="mine.json")
        assert '-  "52:54:00:00:00:01": {"hostname": "edited"' in caught.value.difference
        assert '+  "52:54:00:00:00:01": {"hostname": "first"' in caught.value.difference
        assert "state_api_registry_force=true" in str(caught.value)
    assert live.registry.read_text() == EDITED
    assert live.mark.read_text().strip() == fingerprint(OLD)


def test_an_edit_that_was_seen_is_replaced(live: Live) -> None:
    live.push(OLD)
    live.registry.write_text(EDITED)
    live.push(NEW, seen=[fingerprint(OLD), fingerprint(EDITED)])
    assert live.registry.read_text() == NEW


def test_force_replaces_and_keeps(live: Live) -> None:
    live.registry.write_text('{"half": ')
    with pytest.raises(PushRefusedError):
        live.push(NEW)
    assert Path(live.push(NEW, force=True)["backup"]).read_text() == '{"half": '
    assert live.registry.read_text() == NEW


def test_an_unknown_controller_may_replace_what_was_pushed_last(live: Live) -> None:
    live.push(OLD)
    live.push(NEW)
    assert live.registry.read_text() == NEW


def test_a_controller_that_saw_another_text_may_not(live: Live) -> None:
    live.push(OLD)
    with pytest.raises(PushRefusedError):
        live.push(NEW, seen=[fingerprint(EDITED)])


def test_another_layout_of_the_same_is_no_change(live: Live) -> None:
    live.push(NEW)
    live.registry.write_text(NEW.replace("\n", ""))
    told = live.push(NEW)
    assert live.registry.read_text() == NEW.replace("\n", "")
    assert told["registry_base"] == fingerprint(NEW.replace("\n", ""))


def test_check_mode_tells_and_writes_nothing(live: Live) -> None:
    live.push(NEW, check=True)
    assert live.host.changes == [str(live.registry), str(live.mark)]
    assert [path.name for path in live.folder.rglob("*")] == ["machines"]
    live.registry.write_text(EDITED)
    with pytest.raises(PushRefusedError):
        live.push(NEW, check=True)


def test_another_writer_is_waited_for(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    live.push(OLD)
    monkeypatch.setattr("kubestead.model.pushing.PATIENCE", 0.05)
    with locked(live.registry), pytest.raises(RegistryLockedError, match="is being changed by"):
        live.push(NEW)
    live.push(NEW)
