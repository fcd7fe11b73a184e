# SPDX-License-Identifier: GPL-3.0-or-later
"""The program as an archive for another host, and the requirements that go with it."""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import tomllib

from kubestead.model import program_bundle
from kubestead.model.program_bundle import BundleError, Target, program_id, split_pip, write_archive

CHECKOUT = Path(__file__).resolve().parents[2]
REQUIREMENTS = (CHECKOUT / program_bundle.REQUIREMENTS).read_text(encoding="utf-8")
TARGET = Target("3.13", "x86_64")


def pins(text: str) -> dict[str, str]:
    """The versions that a locked file pins."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ \\\n]+)", text, re.MULTILINE))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout with the program's sources and nothing else."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    for name in ("src", "plugins/module_utils"):
        shutil.copytree(CHECKOUT / name, folder / name, symlinks=True)
    return folder


def test_everything_is_pinned_as_on_the_controller() -> None:
    pinned, controller = pins(REQUIREMENTS), pins((CHECKOUT / "requirements.txt").read_text(encoding="utf-8"))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name.partition("[")[0] for name in project["dependencies"]} <= set(pinned)
    assert {name: version for name, version in pinned.items() if name != "pip"}.items() <= controller.items()


def test_the_lock_names_no_index_and_fits_every_python() -> None:
    assert "://" not in REQUIREMENTS
    # A marker is judged by the controller's Python, not by the host's: it may speak of what both agree on.
    markers = set(re.findall(r" ; ([^\\\n]+)", REQUIREMENTS))
    assert markers
    for marker in markers:
        assert re.search(r"sys_platform == 'win32'|!= '(pypy|PyPy)'", marker), marker


def test_pip_is_parted_from_what_it_installs() -> None:
    pip, others = split_pip(REQUIREMENTS)
    assert set(pins(pip)) == {"pip"}
    assert pip.count("--hash=sha256:") == 2
    assert pins(pip) | pins(others) == pins(REQUIREMENTS)
    with pytest.raises(BundleError, match="does not pin pip"):
        split_pip("rich==15.0.0 \\\n    --hash=sha256:00\n")


def test_the_hash_is_of_the_sources_alone(source: Path) -> None:
    before = program_id(source)
    (source / "src" / "kubestead" / "__pycache__").mkdir(exist_ok=True)
    (source / "src" / "kubestead" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (source / "README.md").write_text("Other words\n", encoding="utf-8")
    assert program_id(source) == before
    (source / "plugins" / "module_utils" / "mac.py").write_text("changed\n", encoding="utf-8")
    assert program_id(source) != before


def test_a_folder_without_sources_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"pyproject\.toml"):
        program_id(tmp_path)


def test_the_archive_holds_the_whole_program(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, fetched = tmp_path / "cache", []

    def download(wheels: Path, requirements: str, target: Target) -> list[Path]:
        fetched.append((set(pins(requirements)) == {"pip"}, target))
        wheel = wheels / "pip-1-py3-none-any.whl"
        wheel.touch()
        return [wheel]

    monkeypatch.setattr(program_bundle, "_downloaded", download)
    archive = tmp_path / "archive.tar"
    write_archive(archive, source, cache, TARGET, with_wheels=False)
    built = list(cache.glob("wheels/program-*/*.whl"))
    write_archive(archive, source, cache, TARGET, with_wheels=True)
    assert list(cache.glob("wheels/program-*/*.whl")) == built, "nothing is built twice"
    assert fetched == [(True, TARGET), (False, TARGET)]

    with tarfile.open(archive) as packed:
        assert set(packed.getnames()) == {built[0].name, "pip-1-py3-none-any.whl", "requirements.txt"}
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    assert {"kubestead/model/registry.py", "kubestead/api/__main__.py", "kubestead/cli/app.py"} <= names
    assert "kubestead/store/migrations/versions/0001_machines.py" in names


def test_what_a_killed_run_left_is_made_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "cache" / "wheels"
    left = wheels / f"unfinished-program-{program_id(source)[:16]}"
    left.mkdir(parents=True)
    (left / "kubestead-half.whl").touch()
    monkeypatch.setattr(program_bundle, "_downloaded", lambda *_arguments: [])
    write_archive(tmp_path / "archive.tar", source, wheels.parent, TARGET, with_wheels=False)
    assert not left.exists()
    assert not list(wheels.glob("program-*/kubestead-half.whl"))


def test_a_failure_says_what_failed(source: Path, tmp_path: Path) -> None:
    (source / "pyproject.toml").write_text("[build-system\n", encoding="utf-8")
    with pytest.raises(BundleError, match=r"(?s)wheel could not be built.*hatchling"):
        write_archive(tmp_path / "archive.tar", source, tmp_path / "cache", TARGET, with_wheels=False)
    assert not list((tmp_path / "cache" / "wheels").glob("program-*"))


def test_wheels_for_an_older_and_a_newer_glibc() -> None:
    tags = program_bundle.platforms("aarch64")
    assert tags[0] == "manylinux_2_34_aarch64"
    assert {"manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
