# SPDX-License-Identifier: GPL-3.0-or-later
"""How a build goes: what is kept, what is made anew, what is told, what a second build does meanwhile."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bundle import (
    assemble,
    build,
    catalogue,
    cli,
    debian,
    gotool,
    lock,
    oci,
    places,
    preflight,
    recipe,
    status,
    verify,
)
from bundle import compile as compiling
from bundle.errors import BuildFailedError, LacksError, LockedError, WrongInputError
from bundle.gotool import Caches
from bundle.oci import Entry, Layer, Layout
from bundle.progress import Progress, minutes
from bundle.recipe import Program
from tests.unit.bundle_sample import MINOR, all_parts, needs_tools, program_names, scripts

pytestmark = needs_tools


class Compiler:
    """Stands where the Go client would: writes scripts, counts, and fails where it is told to."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.fails_at = ""
        self.error: BaseException = BuildFailedError("no more memory")

    def build(
        self,
        program: Program,
        minor: str,
        toolchain: compiling.Toolchain,
        folder: Path,
        progress: Callable[[int], None],
    ) -> Path:
        """Write a part's programs."""
        if program.name == self.fails_at:
            raise self.error
        self.built.append(program.name)
        progress(1)
        part = next(p for p in all_parts(minor) if p.name == program.name)
        return scripts(folder / "bin", program_names(part), text=toolchain.version)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compiler:
    """Builds without Go, apt and network, in folders of their own."""
    compiler = Compiler()

    def prepare(_minor: str, go: str, *_: object) -> compiling.Toolchain:
        own = tmp_path / "go"
        (own / "mod").mkdir(parents=True, exist_ok=True)
        return compiling.Toolchain(
            go, Path("/nonexistent"), Caches(own / "mod", own / "build", own / "tmp", own)
        )

    def layers(layout: Layout, _work: Path) -> tuple[dict[str, Layer], list[debian.Taken]]:
        compiler.built.append("debian")
        made = {name: layout.put_layer({name: Entry(data=b"")}) for name in ("base", "tools", "shell")}
        return made, [debian.Taken("busybox-static", "1", "all", "0")]

    def furnish(layout: Layout, furniture: recipe.Furniture, _work: Path) -> tuple[Layer, list[debian.Taken]]:
        taken = [debian.Taken(name, "1", "all", "0") for name in furniture.debian]
        return layout.put_layer({text.path: Entry(data=b"") for text in furniture.texts}), taken

    monkeypatch.setenv("KUBESTEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "build", compiler.build)
    monkeypatch.setattr(compiling.Prefetcher, "start", lambda *_: None)
    monkeypatch.setattr(preflight, "prepare", prepare)
    monkeypatch.setattr(debian, "layers", layers)
    monkeypatch.setattr(debian, "furnish", furnish)
    return compiler


def options(folder: Path, **more: Any) -> build.Options:
    """A build of the default minor."""
    return dataclasses.replace(build.Options(MINOR, folder, folder / places.STATUS), **more)


def names() -> list[str]:
    """All parts in order."""
    return [part.name for part in recipe.parts(catalogue.load().versions(MINOR))]


def test_build_is_complete_and_clean(compiler: Compiler, tmp_path: Path) -> None:
    """All parts are built, the result is whole, no work is left over, and a second build does nothing."""
    told: list[str] = []
    build.build(catalogue.load(), options(tmp_path / "bundle"), told.append)
    assert compiler.built == names()
    assert verify.verify(tmp_path / "bundle") == []
    assert not (tmp_path / "bundle" / places.BUILDING).exists()
    assert not (tmp_path / "go").exists()
    assert any(line.startswith("[2/9] pause … ") and " left" in line for line in told)
    assert status.current(tmp_path / "bundle").state == status.READY
    again: list[str] = []
    build.build(catalogue.load(), options(tmp_path / "bundle"), again.append)
    assert compiler.built == names()
    assert again == [f"{tmp_path / 'bundle'}: Kubernetes 1.36.4 is complete, nothing to build"]


def test_addons_come_when_asked_for_and_stay(compiler: Compiler, tmp_path: Path) -> None:
    """Only what is new is built; a later build without naming them keeps them."""
    folder = tmp_path / "bundle"
    build.build(catalogue.load(), options(folder), lambda _: None)
    build.build(catalogue.load(), options(folder, addons=("kube-vip", "helm")), lambda _: None)
    assert compiler.built == [*names(), "kube-vip", "helm"]
    build.build(catalogue.load(), options(folder, rebuild=("pause",)), lambda _: None)
    assert compiler.built[-1] == "pause"
    assert verify.verify(folder) == []
    manifest = assemble.read_manifest(folder)
    assert manifest is not None
    images = [image["annotations"][oci.REFERENCE] for image in manifest["minors"][MINOR]["images"]]
    assert "ghcr.io/kube-vip/kube-vip:v1.2.2" in images
    archive = next(folder.glob("files/get.helm.sh/helm-v*.tar.gz"))
    with tarfile.open(archive) as tar:
        (member,) = tar.getmembers()
    assert member.name == f"linux-{gotool.architecture()}/helm"
    assert member.mode == 0o755
    checked = ["sha256sum", "--check", f"{archive.name}.sha256sum"]
    assert subprocess.run(checked, cwd=archive.parent, check=False).returncode == 0


def test_all_addons_are_packed(compiler: Compiler, tmp_path: Path) -> None:
    """``--with all`` has every add-on, containerd as the package that machines look for."""
    build.build(catalogue.load(), options(tmp_path, addons=(build.ALL,)), lambda _: None)
    assert compiler.built == [part.name for part in all_parts()]
    assert verify.verify(tmp_path) == []
    packages = next(tmp_path.glob("apt/*/Packages")).read_text(encoding="utf-8")
    (stanza,) = [s for s in packages.split("\n\n") if s.startswith("Package: containerd.io\n")]
    assert "Depends: runc\nProvides: containerd\nConflicts: containerd\nReplaces: containerd\n" in stanza


def test_another_minor_takes_what_is_the_same(compiler: Compiler, tmp_path: Path) -> None:
    """What minors share is not built again, and is whole under both; 1.37 has containerd without asking."""
    build.build(catalogue.load(), options(tmp_path, addons=("containerd",)), lambda _: None)
    compiler.built.clear()
    told: list[str] = []
    build.build(catalogue.load(), options(tmp_path, minor="1.37"), told.append)
    assert compiler.built == ["pause", "etcd", "kubernetes", "coredns"]
    assert "containerd 2.3.4: kept" in told
    assert verify.verify(tmp_path) == []
    for name in ("containerd.io", "cri-tools"):
        ours, theirs = (next(tmp_path.glob(f"apt/v{m}/*/{name}_*.deb")) for m in ("1.36", "1.37"))
        assert ours.read_bytes() == theirs.read_bytes()


def test_kubernetes_own_tests_come_with_their_images(compiler: Compiler, tmp_path: Path) -> None:
    """The program in `bin`, the images under the tags that the minor's tests ask for."""
    build.build(catalogue.load(), options(tmp_path, addons=("conformance",)), lambda _: None)
    assert (tmp_path / f"bin/v{MINOR}/e2e.test").stat().st_mode & 0o111
    assert verify.verify(tmp_path) == []
    manifest = assemble.read_manifest(tmp_path)
    assert manifest is not None
    images = {image["annotations"][oci.REFERENCE] for image in manifest["minors"][MINOR]["images"]}
    asked = catalogue.load().conformance_images[MINOR]
    assert {
        f"registry.k8s.io/e2e-test-images/{name}:{tag}" for name in asked for tag in asked[name]
    } <= images
    (part,) = (part for part in manifest["minors"][MINOR]["parts"] if part["name"] == "conformance")
    assert {"apt": "curl", "version": "1", "architecture": "all", "sha256": "0"} in part["sources"]


def test_a_minor_without_tests_says_so(compiler: Compiler, tmp_path: Path) -> None:
    """By name, with those that there are for it."""
    with pytest.raises(WrongInputError, match=r"no add-on is called conformance: .* with 1\.29"):
        build.build(
            catalogue.load(), options(tmp_path, minor="1.29", addons=("conformance",)), lambda _: None
        )
    assert compiler.built == []


def test_an_unknown_addon_is_refused(compiler: Compiler, tmp_path: Path) -> None:
    """By name, with those that there are, before anything is built."""
    with pytest.raises(WrongInputError, match="--with: no add-on is called hlem: there are kube-vip, helm,"):
        build.build(catalogue.load(), options(tmp_path, addons=("hlem",)), lambda _: None)
    assert compiler.built == []


def test_interrupted_build_goes_on(compiler: Compiler, tmp_path: Path) -> None:
    """What was finished before a failure is not built again; until the end there is no manifest."""
    folder = tmp_path / "bundle"
    compiler.fails_at = "coredns"
    with pytest.raises(BuildFailedError, match="no more memory"):
        build.build(catalogue.load(), options(folder), lambda _: None)
    before = list(compiler.built)
    assert before == names()[: names().index("coredns")]
    assert not (folder / places.MANIFEST).exists()
    assert status.current(folder) == status.Status("failed", "", "no more memory")
    compiler.fails_at = ""
    told: list[str] = []
    build.build(catalogue.load(), options(folder), told.append)
    assert compiler.built == names()
    assert "kubernetes 1.36.4: kept" in told
    assert verify.verify(folder) == []


def test_interrupt_is_told_in_the_status(compiler: Compiler, tmp_path: Path) -> None:
    """Ctrl-C leaves a state from which the same command goes on."""
    compiler.fails_at, compiler.error = "etcd", KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        build.build(catalogue.load(), options(tmp_path), lambda _: None)
    assert "goes on" in status.current(tmp_path).detail


def test_programs_that_were_compiled_are_not_compiled_again(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that fell over while packing does not repeat the minutes of compiling."""

    def fails(*_: object) -> None:
        raise BuildFailedError("dpkg-deb failed")

    with monkeypatch.context() as patch:
        patch.setattr("bundle.debpackage.build", fails)
        with pytest.raises(BuildFailedError, match="dpkg-deb"):
            build.build(catalogue.load(), options(tmp_path), lambda _: None)
    build.build(catalogue.load(), options(tmp_path), lambda _: None)
    assert sorted(compiler.built) == sorted(names())


def test_a_changed_version_replaces_only_its_part(compiler: Compiler, tmp_path: Path) -> None:
    """One new version: one part is built, its old files go, all others stay as they are."""
    known = catalogue.load()
    build.build(known, options(tmp_path), lambda _: None)
    kept = {path: path.stat().st_ino for path in tmp_path.glob("apt/*/*/kube*.deb")}
    compiler.built.clear()
    newer = dataclasses.replace(known.minors[MINOR], cri_tools="1.36.9")
    build.build(dataclasses.replace(known, minors={MINOR: newer}), options(tmp_path), lambda _: None)
    assert compiler.built == ["cri-tools"]
    assert [p.name.split("_")[1] for p in tmp_path.glob("apt/*/*/cri-tools_*")] == ["1.36.9-1.1"]
    assert kept == {path: path.stat().st_ino for path in kept}
    assert verify.verify(tmp_path) == []


def test_a_damaged_part_is_built_again(compiler: Compiler, tmp_path: Path) -> None:
    """A package that was cut short is noticed and made anew."""
    build.build(catalogue.load(), options(tmp_path), lambda _: None)
    next(tmp_path.glob("apt/*/*/cri-tools_*.deb")).write_bytes(b"")
    compiler.built.clear()
    build.build(catalogue.load(), options(tmp_path), lambda _: None)
    assert compiler.built == ["cri-tools"]
    assert verify.verify(tmp_path) == []


def test_a_part_is_built_anew_when_asked(compiler: Compiler, tmp_path: Path) -> None:
    """``--rebuild debian`` takes newer Debian packages; a part that there is not is refused with the list."""
    build.build(catalogue.load(), options(tmp_path), lambda _: None)
    compiler.built.clear()
    build.build(catalogue.load(), options(tmp_path, rebuild=("debian",)), lambda _: None)
    assert compiler.built == ["debian"]
    with pytest.raises(WrongInputError, match="no part is called nix: there are debian, pause"):
        build.build(catalogue.load(), options(tmp_path, rebuild=("nix",)), lambda _: None)


def test_unknown_minor_lists_those_that_can_be_built(compiler: Compiler, tmp_path: Path) -> None:
    """The message says what to type instead, and nothing was written."""
    with pytest.raises(WrongInputError, match=r"give one of .*1\.36"):
        build.build(catalogue.load(), options(tmp_path / "x", minor="1.1"), lambda _: None)
    assert not (tmp_path / "x").exists()
    assert compiler.built == []


def test_a_second_build_waits_or_refuses(tmp_path: Path) -> None:
    """One builds, the other says whom it waits for, or refuses."""
    file = tmp_path / "lock"
    told: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with lock.held(file, wait=True, tell=told.append):
            entered.set()

    with lock.held(file, wait=False, tell=told.append):
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()}"),
            lock.held(file, wait=False, tell=told.append),
        ):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(5)
    assert entered.is_set()
    assert len(told) == 1
    assert "waiting" in told[0]


def test_status_of_a_killed_build_is_failed(tmp_path: Path) -> None:
    """A builder that is gone without a word is not waited for."""
    script = (
        "import sys; from pathlib import Path; from bundle.status import *; "
        "StatusFile(Path(sys.argv[1])).write(Status(BUILDING, 'half'))"
    )
    path = tmp_path / places.STATUS
    subprocess.run([sys.executable, "-c", script, path], cwd=places.CHECKOUT, check=True)
    found = status.current(tmp_path)
    assert (found.state, found.progress) == ("failed", "half")
    assert "goes on" in found.detail


def test_a_failed_rebuild_leaves_the_bundle_ready(compiler: Compiler, tmp_path: Path) -> None:
    """What was complete stays usable, and the failure is told."""
    build.build(catalogue.load(), options(tmp_path), lambda _: None)
    compiler.fails_at = "etcd"
    with pytest.raises(BuildFailedError):
        build.build(catalogue.load(), options(tmp_path, rebuild=("etcd",)), lambda _: None)
    found = status.current(tmp_path)
    assert (found.state, found.detail) == ("ready", "the last build failed: no more memory")
    assert verify.verify(tmp_path) == []


def test_time_left_follows_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a computer that is twice as slow as the reference, what is left takes twice as long."""
    now = [0.0]
    monkeypatch.setattr("bundle.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("bundle.progress.os.cpu_count", lambda: 2)
    parts = [part for part in recipe.parts(catalogue.load().versions(MINOR)) if part.seconds > 60]
    told: list[str] = []
    progress = Progress(parts, status.StatusFile(tmp_path / "status"), told.append)
    progress.begin(parts[0], {parts[0].name: 1000})
    now[0] = 61.0
    progress.packages(500)
    assert "500 of 1000 packages" in told[0]
    now[0] = 2.0 * parts[0].seconds
    progress.end(parts[0])
    assert progress.left() == pytest.approx(2 * sum(part.seconds for part in parts[1:]))
    said = json.loads((tmp_path / "status").read_text(encoding="utf-8"))
    assert said["state"] == "building"
    assert (minutes(44), minutes(540)) == ("40 s", "9 min")


def test_space_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk would fill up nothing is begun, and the message says how much is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    parts = recipe.parts(catalogue.load().versions(MINOR))
    caches = Caches(tmp_path / "mod", tmp_path / "build", tmp_path / "tmp", tmp_path)
    with pytest.raises(LacksError, match="the build needs about"):
        preflight.check_space(parts, caches, tmp_path / "bundle")


def test_a_folder_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the folder and why; no traceback."""
    assert cli.main(["--from", "modules", "--output", "/proc/bundle"]) == 3
    assert "/proc/bundle" in capsys.readouterr().err


def test_a_bundle_of_another_architecture_is_left_alone(compiler: Compiler, tmp_path: Path) -> None:
    """Two kinds of programs in one folder would serve neither kind of machine."""
    build.build(catalogue.load(), options(tmp_path), lambda _: None)
    manifest = tmp_path / places.MANIFEST
    data = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**data, "architecture": "riscv64"}), encoding="utf-8")
    with pytest.raises(WrongInputError, match="holds software for riscv64"):
        build.build(catalogue.load(), options(tmp_path), lambda _: None)


def test_exit_codes(compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends as docs/bundle.md says; ``build`` may be left out before options."""
    folder = str(tmp_path / "bundle")
    assert cli.main(["build", "--from", "modules", "--minor", "1.1", "--output", folder]) == 2
    assert "give one of" in capsys.readouterr().err
    compiler.fails_at = "etcd"
    assert cli.main(["build", "--from", "modules", "--output", folder]) == 1
    compiler.error = KeyboardInterrupt()
    assert cli.main(["--from", "modules", "--output", folder]) == 130
    compiler.fails_at = ""
    assert cli.main(["--from", "modules", "--output", folder]) == 0
    assert cli.main(["verify", folder]) == 0
    assert cli.main(["info", folder]) == 0
    assert "kube-proxy" in capsys.readouterr().out
    assert cli.main(["info", str(tmp_path / "none")]) == 1
