# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Go is taken, that its checks stay on, and what is pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle import compile, gomod, gotool, places, preflight, recipe
from bundle.errors import BuildFailedError, LacksError, UnreachableError, WrongInputError
from bundle.gotool import Caches, Go
from tests.unit.bundle_sample import MINOR, all_parts

MINORS = sorted(folder.name for folder in places.MODULES.iterdir() if folder != places.COMMON)


def fake_go(path: Path, version: str, more: str = "") -> Path:
    """A program that answers like a Go client of a version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\ncase "$1 $2" in "version "*) echo "go version {version} linux/amd64";;\n{more}\nesac\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def caches(folder: Path) -> Caches:
    """Private caches in a folder."""
    return Caches(folder / "mod", folder / "build", folder / "tmp", folder)


@pytest.mark.parametrize("minor", MINORS)
def test_pins_agree_with_the_catalogue(minor: str) -> None:
    """What go.mod pins is the version that the catalogue names, and go.sum has a sum for it."""
    for part in all_parts(minor):
        if part.program is None or part.program.own or part.name == "flannel-cni-plugin":
            continue  # flannel's CNI plugin is served as a part of an older release of the plugins only
        (pinned,) = compile.sources(part.program, minor)
        assert pinned.version == f"v{part.version}", part.name
        assert pinned.sum.startswith("h1:")


@pytest.mark.parametrize("minor", MINORS)
def test_every_program_of_the_recipe_is_built(minor: str) -> None:
    """The packages that go.mod names give the binaries that the recipe packs."""
    for part in all_parts(minor):
        if part.program is None or part.program.own:
            continue
        tools = gomod.read(compile.source_folder(part.program, minor)).tools
        # Go names a program after the last part of its path that is not a version
        built = {next(w for w in reversed(tool.split("/")) if w != "v3") for tool in tools}
        built |= {f"{test.rpartition('/')[2]}.test" for test in part.program.tests if test in tools}
        wanted = {name for package in part.packages for name in package.programs}
        wanted |= {name for layer in part.layers.values() for name in layer}
        wanted |= {*part.files, *part.archives}
        assert wanted <= built, part.name
        assert wanted, part.name


def test_each_folder_of_common_programs_is_used() -> None:
    """What all minors share has a folder of its own, and none is left over."""
    used = {p.program.name for p in all_parts() if p.program and compile.is_common(p.program, MINOR)}
    assert used == {folder.name for folder in places.COMMON.iterdir()}


def test_go_mod_is_read_in_all_its_forms(tmp_path: Path) -> None:
    """Single lines and blocks; ``tools.go`` where Go is older than the ``tool`` directive."""
    (tmp_path / "go.mod").write_text(
        "module x\n\ngo 1.23\n\ntool example.org/a/cmd/one\ntool (\n\texample.org/b // why\n)\n"
        "require example.org/a v1.0.0\nrequire (\n\texample.org/b v2.0.0 // indirect\n)\n",
        encoding="utf-8",
    )
    (tmp_path / "go.sum").write_text(
        "example.org/a v1.0.0 h1:aaa=\nexample.org/a v1.0.0/go.mod h1:bbb=\n", encoding="utf-8"
    )
    (tmp_path / "tools.go").write_text(
        'package tools\n\nimport (\n\t_ "example.org/a/cmd/two"\n)\n', encoding="utf-8"
    )
    module = gomod.read(tmp_path)
    assert module.tools == ("example.org/a/cmd/one", "example.org/b", "example.org/a/cmd/two")
    assert [(p.path, p.version, p.sum) for p in module.sources] == [
        ("example.org/a", "v1.0.0", "h1:aaa="),
        ("example.org/b", "v2.0.0", ""),
    ]


def test_a_tool_without_its_module_is_told(tmp_path: Path) -> None:
    """A go.mod that forgets to require what it builds is refused by name."""
    (tmp_path / "go.mod").write_text("module x\ntool example.org/a\n", encoding="utf-8")
    (tmp_path / "go.sum").write_text("", encoding="utf-8")
    with pytest.raises(WrongInputError, match=r"no module is required that holds example\.org/a"):
        _ = gomod.read(tmp_path).sources


@pytest.mark.parametrize(
    ("patterns", "module", "expected"),
    [
        ("", "k8s.io/kubernetes", False),
        ("*", "k8s.io/kubernetes", True),
        ("k8s.io", "k8s.io/kubernetes", True),
        ("*.io/kube*", "k8s.io/kubernetes", True),
        ("k8s.io/api", "k8s.io/apimachinery", False),
        ("corp.example/*,github.com/mine", "github.com/coredns/coredns", False),
        ("corp.example, github.com/", "github.com/coredns/coredns", True),
    ],
)
def test_patterns_match_as_go_matches(patterns: str, module: str, expected: bool) -> None:
    """GOPRIVATE and its like are globs for a leading part of the path."""
    assert gomod.matches(patterns, module) is expected


@pytest.mark.parametrize(
    "env",
    [
        {"GOSUMDB": "off"},
        {"GOFLAGS": "-insecure"},
        {"GONOSUMDB": "k8s.io"},
        {"GOPRIVATE": "*"},
        {"GOINSECURE": "golang.org/toolchain"},
    ],
)
def test_without_checksums_nothing_is_built(env: dict[str, str]) -> None:
    """Each way to switch the checks off is refused with its name and value."""
    (key, value), *_ = env.items()
    with pytest.raises(LacksError, match=rf"{key}={value}".replace("*", r"\*")):
        gotool.refuse_without_checks(env, ["k8s.io/kubernetes", gotool.TOOLCHAIN_MODULE])


def test_old_switch_for_checksums_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """GONOSUMCHECK is read from the environment only."""
    monkeypatch.setenv("GONOSUMCHECK", "1")
    with pytest.raises(LacksError, match="GONOSUMCHECK=1"):
        gotool.refuse_without_checks({}, [])


def test_private_modules_of_others_do_not_matter() -> None:
    """A company's own modules may stay private."""
    env = {"GOPRIVATE": "corp.example", "GONOSUMDB": "corp.example", "GOFLAGS": "-buildvcs=false"}
    gotool.refuse_without_checks(env, ["k8s.io/kubernetes"])


def test_a_newer_go_fetches_the_wanted_one_by_itself(tmp_path: Path) -> None:
    """From 1.21 on GOTOOLCHAIN does it; the same version is used as it is."""
    new = Go(fake_go(tmp_path / "go", "go1.22.1", '"env GOROOT") echo "/fetched/$GOTOOLCHAIN";;'), (1, 22, 1))
    assert gotool.toolchain(new, "1.26.5", caches(tmp_path)) == Path("/fetched/go1.26.5/bin/go")
    same = Go(new.path, (1, 26, 5))
    assert gotool.toolchain(same, "1.26.5", caches(tmp_path)) == new.path


def test_an_old_go_downloads_the_wanted_one_as_a_module(tmp_path: Path) -> None:
    """Debian 12's Go 1.19 cannot switch: the module is downloaded by it and made to run."""
    architecture = gotool.architecture()
    root = f"golang.org/toolchain@v0.0.1-go1.26.5.linux-{architecture}"
    tool = f"pkg/tool/linux_{architecture}"
    download = (
        f'"mod download") cd "$GOMODCACHE" && mkdir -p {root}/bin {root}/{tool} {root}/src '
        f"&& touch {root}/bin/go {root}/{tool}/compile && echo module std > {root}/src/_go.mod;;"
    )
    old = Go(fake_go(tmp_path / "go", "go1.19.8", download), (1, 19, 8))
    own = caches(tmp_path / "own")
    own.modules.mkdir(parents=True)
    program = gotool.toolchain(old, "1.26.5", own)
    assert program == own.modules / root / "bin/go"
    assert program.stat().st_mode & 0o111
    assert (own.modules / root / tool / "compile").stat().st_mode & 0o111
    assert (own.modules / root / "src/go.mod").read_text(encoding="utf-8") == "module std\n"
    old.path.unlink()
    assert gotool.toolchain(old, "1.26.5", own) == program


def test_the_newest_go_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH is looked at, and KUBESTEAD_GO decides."""
    monkeypatch.setenv("PATH", f"{fake_go(tmp_path / 'bin/go', 'go1.99').parent}:/usr/bin:/bin")
    found = gotool.find()
    assert found is not None
    assert found.version == (1, 99, 0)
    monkeypatch.setenv("KUBESTEAD_GO", str(fake_go(tmp_path / "mine/go", "go1.24.3")))
    chosen = gotool.find()
    assert chosen is not None
    assert chosen.text == "go1.24.3"
    monkeypatch.setenv("KUBESTEAD_GO", str(tmp_path))
    with pytest.raises(LacksError, match="is no Go client"):
        gotool.find()


def test_a_broken_download_is_tried_again(tmp_path: Path) -> None:
    """The Go client itself gives up at the first lost connection."""
    count = tmp_path / "count"
    build = (
        f'"build -v") echo x >> {count}; [ "$(wc -l < {count})" = 3 ] && touch "$4/pause" && exit 0; '
        'echo "Get x: read: connection reset by peer" >&2; exit 1;;'
    )
    go = compile.Toolchain("1.26.5", fake_go(tmp_path / "go", "go1.26.5", build), caches(tmp_path / "own"))
    pause = recipe.Program("pause", "1", 1, own=True)
    built = compile.build(pause, "1.36", go, tmp_path / "work", lambda _: None)
    assert (built / "pause").exists()
    assert count.read_text(encoding="utf-8").count("x") == 3


def test_tests_are_built_as_a_program(tmp_path: Path) -> None:
    """Beside the programs of the same module, with the same options for the linker."""
    said = tmp_path / "said"
    build = f'"build -v") touch "$4/agnhost";; "test -c") echo "$@" > {said}; touch "$5";;'
    go = compile.Toolchain("1.26.5", fake_go(tmp_path / "go", "go1.26.5", build), caches(tmp_path / "own"))
    (part,) = (part for part in all_parts() if part.name == "conformance")
    assert part.program is not None
    built = compile.build(part.program, MINOR, go, tmp_path / "work", lambda _: None)
    assert sorted(path.name for path in built.iterdir()) == ["agnhost", "e2e.test"]
    assert "gitVersion=v1.36.4" in said.read_text(encoding="utf-8")
    assert said.read_text(encoding="utf-8").endswith(" k8s.io/kubernetes/test/e2e\n")


def test_user_settings_do_not_change_what_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags and caches are ours, the proxy and the checksum database are the user's."""
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.setenv("GOPROXY", "http://proxy.example")
    env = gotool.environment(caches(tmp_path))
    assert "-mod=readonly" in env["GOFLAGS"]
    assert env["GOPROXY"] == "http://proxy.example"
    assert env["GOMODCACHE"] == str(tmp_path / "mod")


def test_only_private_caches_are_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's caches are used when told so, and never deleted; ours go, read-only folders included."""
    env = {"GOMODCACHE": str(tmp_path / "user/mod"), "GOCACHE": str(tmp_path / "user/build")}
    monkeypatch.setenv("KUBESTEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBESTEAD_GO_CACHE", "user")
    users = gotool.caches(env, tmp_path / "out")
    users.modules.mkdir(parents=True)
    users.clean()
    assert users.modules.is_dir()
    monkeypatch.delenv("KUBESTEAD_GO_CACHE")
    own = gotool.caches(env, tmp_path / "out")
    assert own.modules.is_relative_to(tmp_path / "cache")
    assert own.modules != gotool.caches(env, tmp_path / "other").modules
    locked = own.modules / "module"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0o500)
    own.clean()
    assert not own.modules.exists()


def test_failures_are_told_apart() -> None:
    """A proxy that does not answer is exit code 4, a broken build 1; secrets in addresses are left out."""
    gone = gotool.failure("etcd", 'Get "https://me:secret@proxy.example/x": dial tcp: connection refused')
    assert isinstance(gone, UnreachableError)
    assert gone.exit_code == 4
    assert "secret" not in str(gone)
    broken = gotool.failure("etcd", "go: downloading x\nmain.go:1: undefined: y")
    assert isinstance(broken, BuildFailedError)
    assert "undefined: y" in str(broken)
    assert "downloading" not in str(broken)


def test_an_unreachable_proxy_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names GOPROXY, what the client said, and what to set."""
    say = '"list -m") echo "go: dial tcp: connection refused" >&2; exit 1;;\n"env -json") echo \'{"GOPROXY": "http://127.0.0.1:9"}\';;'
    go = Go(fake_go(tmp_path / "go", "go1.26.0", say), (1, 26, 0))
    with pytest.raises(
        UnreachableError, match=r"GOPROXY is 'http://127\.0\.0\.1:9'.*connection refused.*go env -w"
    ):
        preflight.reach(go, "example.org/a", "v1.0.0", 5)
