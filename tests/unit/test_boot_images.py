# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that builds images: what it takes from apt's settings, and when it builds."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles/boot_images/files"
DAY = 86400


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a module of the program by its name."""
    monkeypatch.syspath_prepend(str(FILES))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return lambda name: importlib.import_module(f"boot_images.{name}")


def apt(folder: Path, **files: str) -> Path:
    """An /etc/apt."""
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        place = folder / "sources.list" if name == "list" else folder / f"sources.list.d/{name}.sources"
        place.write_text(text)
    return folder


def test_the_archive_is_the_one_that_apt_uses(part: Any, tmp_path: Path) -> None:
    folder = apt(
        tmp_path,
        list="# deb http://old.example/debian bookworm main\n"
        "deb [arch=amd64] http://security.example/debian-security bookworm-security main\n",
        debian="Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian/\n"
        "Suites: bookworm bookworm-updates\nComponents: main contrib\n",
        off="Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n",
    )
    found = part("sources").archive("", "", ("main", "non-free-firmware"), folder)
    assert sorted(found.lines("trixie")) == [
        "deb http://mirror.example/debian trixie main non-free-firmware",
        "deb http://mirror.example/debian trixie-updates main non-free-firmware",
        "deb http://security.example/debian-security trixie-security main non-free-firmware",
    ]


def test_a_list_of_mirrors_gives_the_first(part: Any, tmp_path: Path) -> None:
    listed = tmp_path / "mirrors"
    listed.write_text("# ours\nhttp://one.example/debian\nhttp://two.example/debian\n")
    debian = f"Types: deb\nURIs: mirror+file:{listed}\nSuites: trixie\nComponents: main\n"
    found = part("sources").archive("", "", ("main",), apt(tmp_path, debian=debian))
    assert found.lines("trixie") == ["deb http://one.example/debian trixie main"]


def test_without_debian_in_apt_a_mirror_is_asked_for(part: Any, tmp_path: Path) -> None:
    folder = apt(tmp_path, list="deb http://archive.example/ubuntu noble main\n")
    with pytest.raises(part("errors").BuildError, match="set boot_images_mirror"):
        part("sources").archive("", "", ("main",), folder)


def test_a_mirror_that_was_given_is_taken(part: Any, tmp_path: Path) -> None:
    found = part("sources").archive("http://m.example/debian/", "http://s.example/x", ("main",), tmp_path)
    assert found.mirrors == {
        "": "http://m.example/debian",
        "-updates": "http://m.example/debian",
        "-security": "http://s.example/x",
    }


SETTINGS = {
    "systems": ["debian-13"], "base": "debian-13", "kernel": "generic", "packages": [],
    "rescue_packages": ["parted"], "components": ["main"],
    "mirror": "http://m.example/debian", "security_mirror": "", "max_age_days": 30,
    "keep_archives": True,
}  # fmt: skip


def planned(folder: Path, **changed: object) -> dict[str, Any]:
    """What the program plans, run as the role runs it."""
    settings = {**SETTINGS, "destination": str(folder / "boot"), "state": str(folder / "state"), **changed}
    done = subprocess.run(
        [sys.executable, "-B", "-m", "boot_images", "plan"],
        input=json.dumps(settings), text=True, check=True, capture_output=True, cwd=FILES,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_what_is_not_there_is_to_be_built(tmp_path: Path) -> None:
    answer = planned(tmp_path)
    assert [(each["name"], each["reason"]) for each in answer["stale"]] == [
        ("network-amd64", "it is not there"),
        ("debian-13-amd64", "it is not there"),
    ]


def keys(folder: Path, **changed: object) -> dict[str, str]:
    """What a cache calls that which is to be built."""
    return {each["name"]: each["archive"] for each in planned(folder, **changed)["stale"]}


def test_the_name_in_a_cache_changes_with_what_goes_in_and_with_nothing_else(tmp_path: Path) -> None:
    usual = keys(tmp_path)
    assert keys(tmp_path, max_age_days=1, keep_archives=False, state="/elsewhere") == usual
    more = keys(tmp_path, packages=["vim"])
    assert more["network-amd64"] == usual["network-amd64"]
    assert more["debian-13-amd64"] != usual["debian-13-amd64"]
    tools = keys(tmp_path, rescue_packages=["gdisk"])
    assert tools["network-amd64"] != usual["network-amd64"]
    assert tools["debian-13-amd64"] == usual["debian-13-amd64"]
    for changed in ({"kernel": "cloud"}, {"mirror": "http://other.example/debian"}):
        other = keys(tmp_path, **changed)
        assert all(other[name] != usual[name] for name in usual)


def test_wrong_settings_are_all_told_at_once(part: Any, tmp_path: Path) -> None:
    settings = {**SETTINGS, "destination": "/srv", "state": "/x", "systems": ["debian-7"], "kernel": "tiny"}
    settings["packages"] = ["good", "$(reboot)"]
    with pytest.raises(part("errors").BuildError) as caught:
        part("settings").Settings.read(json.dumps(settings))
    for word in ("debian-7", "tiny", "$(reboot)"):
        assert word in str(caught.value)


def made(part: Any, destination: Path, key: str = "k", content: str = "one") -> Any:
    """Something that was built."""
    output = part("outputs").Output(destination, "images/debian-13-amd64")
    folder = output.begin()
    (folder / "parts").write_text(content)
    output.finish(folder, {"key": key})
    return output


def test_a_new_image_takes_the_place_of_the_one_before_which_stays_for_those_that_fetch_it(
    part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000
    for number in range(3):
        monkeypatch.setattr("time.time", lambda at=now + number * DAY: at)
        output = made(part, tmp_path, content=str(number))
    assert (output.link / "parts").read_text() == "2"
    folders = sorted(path for path in (tmp_path / "images").iterdir() if not path.is_symlink())
    assert [(path / "parts").read_text() for path in folders] == ["1", "2"]
    assert output.manifest()["folder"] == folders[1].name


def test_it_is_built_again_when_changed_damaged_or_old(
    part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = made(part, tmp_path)
    assert output.stale("k", 30) == ""
    assert output.stale("other", 30) == "what it is made of has changed"
    later = output.manifest()["created"] + 31 * DAY
    monkeypatch.setattr("time.time", lambda: later)
    assert output.stale("k", 30) == "it is 31 days old"
    assert output.stale("k", 0) == ""
    (output.link / "parts").write_text("longer")
    assert output.stale("k", 0) == "it is not there"


def test_an_archive_brings_what_was_built_elsewhere(part: Any, tmp_path: Path) -> None:
    outputs, archive = part("outputs"), tmp_path / "x.tar"
    outputs.pack([made(part, tmp_path / "here")], archive)
    there = outputs.Output(tmp_path / "there", "images/debian-13-amd64")
    assert not outputs.unpack([there], archive, "another key", 30)
    assert there.manifest() == {}
    assert outputs.unpack([there], archive, "k", 30)
    assert there.stale("k", 30) == ""
    assert (there.link / "parts").read_text() == "one"
    assert os.readlink(there.link) == there.manifest()["folder"]


def test_an_archive_that_is_broken_is_none(part: Any, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    archive.write_bytes(b"no archive")
    output = part("outputs").Output(tmp_path / "there", "images/debian-13-amd64")
    assert not part("outputs").unpack([output], archive, "k", 30)


def test_zeros_are_told_from_data_in_runs_that_fit_into_memory(part: Any, tmp_path: Path) -> None:
    image, mib = part("image"), 1 << 20
    disk = tmp_path / "disk"
    with disk.open("wb") as stream:
        stream.write(b"x" * (20 * mib))
        stream.truncate(30 * mib)
        stream.seek(30 * mib)
        stream.write(b"y" * 4096)
    assert list(image._runs(disk)) == [
        (0, 16 * mib, False),
        (16 * mib, 4 * mib, False),
        (20 * mib, 10 * mib, True),
        (30 * mib, mib, False),
    ]


def test_grub_finds_its_core_where_the_layout_has_it(part: Any) -> None:
    grub = part("grub")
    boot = grub._boot(bytes(512))
    assert len(boot) == 440  # what lies behind belongs to the partition table
    assert int.from_bytes(boot[0x5C:0x64], "little") == 2048
    core = grub._core(b"\1" * 1300)
    assert len(core) == 3 * 512
    assert int.from_bytes(core[0x1F4:0x1FC], "little") == 2049
    assert int.from_bytes(core[0x1FC:0x1FE], "little") == 2
    with pytest.raises(part("errors").BuildError, match="at most 2048"):
        grub._core(bytes(2 << 20))
