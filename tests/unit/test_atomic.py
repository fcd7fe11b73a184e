# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubestead.model.atomic import write_atomically


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("content", ["ä\n", "ä\n".encode()])
def test_text_and_bytes_are_written(tmp_path: Path, content: str | bytes) -> None:
    write_atomically(str(tmp_path / "f"), content)
    assert (tmp_path / "f").read_bytes() == "ä\n".encode()
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_the_mode_is_the_one_asked_for_or_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "f"
    before = os.umask(0o077)
    try:
        write_atomically(path, "a")
        assert mode(path) == 0o644
        write_atomically(path, "b", 0o600)
        assert mode(path) == 0o600
        path.chmod(0o640)
        write_atomically(path, "c")
        assert mode(path) == 0o640
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_stays_with_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch()
    os.chown(path, 65534, 65534)
    write_atomically(path, "a")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    write_atomically(path, "b", 0o600)
    assert path.stat().st_uid == 0


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "f"
    other.write_text("other")
    path.symlink_to(other)
    write_atomically(path, "new")
    assert (path.read_text(), path.is_symlink(), other.read_text()) == ("new", False, "other")


def test_folders_are_made_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "f"
    with pytest.raises(FileNotFoundError):
        write_atomically(path, "a")
    assert not path.parent.exists()
    write_atomically(path, "a", parents=True)
    assert path.read_text() == "a"


def test_a_name_without_a_folder_is_one_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("f", "a")
    assert (tmp_path / "f").read_text() == "a"


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert (path.read_text(), [one.name for one in tmp_path.iterdir()]) == ("old", ["f"])
