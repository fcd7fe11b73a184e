# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run has put together is there for the next one, as long as it is of the same files."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from tests.unit.collection_sample import load

payload_cache = load("plugin_utils.payload_cache")
PayloadCache, key = payload_cache.PayloadCache, payload_cache.key

MODULE = "ansible_collections.kubestead.homelab.plugins.modules.swap-ZIP_DEFLATED-none"
OTHERS = [
    "ansible.legacy.mine-ZIP_DEFLATED-none",
    "ansible_collections.mine.home.plugins.modules.mine-ZIP_DEFLATED-none",
    "ansible.modules.command-ZIP_DEFLATED-none.lock",
    "ansible.modules.command-ZIP_DEFLATED-none-part",
]


def put(folder: Path, *names: str, text: str = "payload") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_next_run_gets_what_this_one_has_made(tmp_path: Path) -> None:
    run = put(tmp_path / "run", MODULE, *OTHERS)
    PayloadCache(tmp_path / "home", run, lambda: "state").keep()
    assert names(tmp_path / "home" / "state") == [MODULE]
    assert (tmp_path / "home" / "state" / MODULE).stat().st_mode & 0o777 == 0o600
    again = PayloadCache(tmp_path / "home", tmp_path / "again", lambda: "state")
    again.bring()
    assert names(tmp_path / "again") == [MODULE]
    assert (tmp_path / "again" / MODULE).read_text() == "payload"
    other = PayloadCache(tmp_path / "home", tmp_path / "other", lambda: "another state")
    other.bring()
    assert names(tmp_path / "other") == []


def test_what_was_brought_is_not_kept_again(tmp_path: Path) -> None:
    kept = put(tmp_path / "home" / "state", MODULE)
    kept.chmod(0o700)
    cache = PayloadCache(tmp_path / "home", tmp_path / "run", lambda: "state")
    cache.bring()
    before = (kept / MODULE).stat().st_ino
    put(tmp_path / "run", "ansible.modules.command-ZIP_DEFLATED-none")
    cache.keep()
    assert (kept / MODULE).stat().st_ino == before
    assert len(names(kept)) == 2


def test_nothing_is_kept_of_modules_that_changed_meanwhile(tmp_path: Path) -> None:
    states = iter(["before", "after"])
    PayloadCache(tmp_path / "home", put(tmp_path / "run", MODULE), lambda: next(states)).keep()
    assert names(tmp_path / "home") == []


@pytest.mark.parametrize("writable", ["home", "home/state"])
def test_nothing_is_taken_from_where_others_can_write(tmp_path: Path, writable: str) -> None:
    put(tmp_path / "home" / "state", MODULE)
    (tmp_path / writable).chmod(0o777)
    cache = PayloadCache(tmp_path / "home", put(tmp_path / "run"), lambda: "state")
    cache.bring()
    assert names(tmp_path / "run") == []
    put(tmp_path / "run", "ansible.modules.command-ZIP_DEFLATED-none")
    cache.keep()
    assert names(tmp_path / "home" / "state") == [MODULE]


def test_old_states_are_forgotten(tmp_path: Path) -> None:
    for number in range(payload_cache.KEPT + 2):
        PayloadCache(tmp_path / "home", put(tmp_path / "run", MODULE), functools.partial(str, number)).keep()
        os.utime(tmp_path / "home" / str(number), (number, number))
    assert len(names(tmp_path / "home")) <= payload_cache.KEPT + 1
    assert "0" not in names(tmp_path / "home")


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    cache = PayloadCache(tmp_path / "home", put(tmp_path / "run", MODULE), lambda: "state")
    cache.bring()
    cache.keep()


def test_any_change_is_another_state(tmp_path: Path) -> None:
    put(tmp_path / "modules", "one.py")
    put(tmp_path / "module_utils" / "deeper", "two.py")
    states = [key([tmp_path])]
    assert key([tmp_path]) == states[0]
    put(tmp_path / "modules", "one.py", text="other text")
    states.append(key([tmp_path]))
    put(tmp_path / "module_utils" / "deeper", "two.py", text="other text")
    states.append(key([tmp_path]))
    put(tmp_path / "module_utils", "three.py")
    states.append(key([tmp_path]))
    assert len(set(states)) == len(states)


def test_it_looks_at_ansible_at_ours_and_at_what_ours_need(tmp_path: Path) -> None:
    [ansibles, ours, kubernetes] = payload_cache.roots([str(tmp_path)])
    assert (ansibles / "modules" / "command.py").is_file()
    assert (ours / "modules" / "node_settings.py").is_file()
    assert kubernetes == tmp_path / "ansible_collections/kubernetes/core/plugins"
