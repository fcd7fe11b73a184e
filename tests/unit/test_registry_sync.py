# SPDX-License-Identifier: GPL-3.0-or-later
"""A push never undoes an edit of the live registry that it has not seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubestead.model.registry_sync import base_record, decide, fingerprint, remember_base

ONE = '{\n  "52:54:00:77:00:11": {\n    "hostname": "a"\n  }\n}\n'
TWO = ONE.replace('"a"', '"b"')
THREE = ONE.replace('"a"', '"c"')


def test_a_fingerprint_is_the_sha256() -> None:
    assert fingerprint("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert fingerprint("ä") != fingerprint("a")


@pytest.mark.parametrize(
    ("local", "live", "base", "force", "action"),
    [
        (ONE, None, None, False, "push"),
        (ONE, ONE, None, False, "same"),
        (ONE, '{"52:54:00:77:00:11": {"hostname": "a"}}', None, False, "same"),
        (TWO, ONE, fingerprint(ONE), False, "push"),
        (TWO, ONE, None, False, "refuse"),
        (TWO, THREE, fingerprint(ONE), False, "refuse"),
        (ONE, TWO, fingerprint(ONE), False, "refuse"),
        (TWO, THREE, fingerprint(ONE), True, "push"),
        (TWO, ONE, None, True, "push"),
        (TWO, "{", None, False, "refuse"),
        (TWO, "", fingerprint(ONE), False, "refuse"),
    ],
)
def test_decisions(local: str, live: str | None, base: str | None, force: bool, action: str) -> None:
    decision = decide(local, live, base, force)
    assert decision.action == action
    assert (decision.difference == "") == (action == "same")
    assert decision.base == fingerprint(live if action == "same" and live is not None else local)


def test_the_difference_is_what_the_push_would_do() -> None:
    assert decide(TWO, ONE, None).difference == (
        '--- live\n+++ local\n@@ -1,5 +1,5 @@\n {\n   "52:54:00:77:00:11": {\n'
        '-    "hostname": "a"\n+    "hostname": "b"\n   }\n }\n'
    )
    pull = decide(ONE, TWO, None, names=("inventory/home/registry.json", "live"))
    assert pull.difference.startswith("--- inventory/home/registry.json\n+++ live\n")


def test_order_and_repeated_keys_are_content() -> None:
    assert decide('{"a": {"x": 1, "y": 2}}', '{"a": {"y": 2, "x": 1}}', None).action == "refuse"
    assert decide('{"a": 1}', '{"a": 2, "a": 1}', None).action == "refuse"


def test_the_record_belongs_to_the_real_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESTEAD_CACHE", str(tmp_path / "cache"))
    path, link = tmp_path / "registry.json", tmp_path / "link.json"
    path.write_text(ONE, encoding="utf-8")
    link.symlink_to(path)
    assert base_record(path) is None
    remember_base(link, fingerprint(ONE))
    assert base_record(path) == base_record(os.path.relpath(path)) == fingerprint(ONE)
    assert base_record(tmp_path / "other.json") is None
    (record,) = (tmp_path / "cache" / "registry").iterdir()
    for wrong in ("", "[]", '{"sha256": 7}', '{"sha256": "short"}', "\xff"):
        record.write_text(wrong, encoding="latin-1")
        assert base_record(path) is None
