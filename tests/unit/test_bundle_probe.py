# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sources there are, found out quickly, with a reason for each."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundle import catalogue, gotool, preflight, probe
from bundle.catalogue import PublicUrl
from bundle.errors import UnreachableError, WrongInputError
from tests.unit.bundle_sample import MINOR, needs_tools, sample

__all__ = ["sample"]
pytestmark = needs_tools


class Public(BaseHTTPRequestHandler):
    """A registry that wants a login, a repository that is there, and a proxy for both."""

    asked: list[str]

    def do_GET(self) -> None:
        """Answer by the last word of the path."""
        Public.asked.append(self.path)
        self.send_response(401 if self.path.endswith("/v2/") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quietly."""


@pytest.fixture
def public() -> Iterator[str]:
    """Its address."""
    Public.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Public) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()


@pytest.fixture(autouse=True)
def no_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Go client whose proxy does not answer, and no proxies but those of a test."""

    def unreachable(*_: object) -> None:
        raise UnreachableError("no answer")

    monkeypatch.setattr(preflight, "reach", unreachable)
    monkeypatch.setattr(preflight, "check_space", lambda *_: None)
    for name in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)


def test_public_first_when_it_answers(public: str, sample: Path) -> None:
    """A registry that asks for a login is there."""
    urls = [PublicUrl("packages", f"{public}/InRelease"), PublicUrl("images", f"{public}/v2/", (200, 401))]
    found = probe.probe_sources(MINOR, urls, sample)
    assert [(s.name, s.available) for s in found[:2]] == [("public", True), ("bundle", True)]
    assert probe.best(found) == found[0]


def test_every_address_that_fails_is_named(public: str, tmp_path: Path) -> None:
    """The reason names all of them, with what was answered."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        urls = [PublicUrl("images", f"{public}/v2/"), PublicUrl("packages", closed)]
        (first, second, _third) = probe.probe_sources(MINOR, urls, tmp_path)
    assert not first.available
    assert f"{public}/v2/: answered 401, expected 200" in first.reason
    assert f"{closed}: [Errno 111] Connection refused" in first.reason
    assert "no bundle in" in second.reason


def test_an_address_that_never_answers_costs_five_seconds_at_most(tmp_path: Path) -> None:
    """Silence is no answer, and not waited for long."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        start = time.monotonic()
        found = probe.probe_sources(MINOR, [PublicUrl("x", address), PublicUrl("y", address)], tmp_path)
        assert time.monotonic() - start < 5.5
    assert "timed out" in found[0].reason


def test_proxies_of_the_environment_are_used(
    public: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a proxy the public source is reached through it."""
    monkeypatch.setenv("http_proxy", public)
    found = probe.probe_sources(MINOR, [PublicUrl("packages", "http://packages.invalid/InRelease")], tmp_path)
    assert found[0].available
    assert Public.asked == ["http://packages.invalid/InRelease"]


def test_bundle_of_another_minor_or_cut_short_is_no_source(sample: Path, tmp_path: Path) -> None:
    """The reason says what the bundle has, or what it lacks."""
    folder = Path(shutil.copytree(sample, tmp_path / "bundle"))
    next(folder.glob("apt/*/*/kubelet_*.deb")).write_bytes(b"")
    (_, found, _) = probe.probe_sources(MINOR, [], folder)
    assert not found.available
    assert "kubelet_" in found.reason


def test_modules_say_what_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Go the packages are named; with it the proxy's silence is."""
    assert probe.probe_sources(MINOR, [], tmp_path)[2].reason == "no answer"
    monkeypatch.setattr(gotool, "find", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "gcc" else f"/usr/bin/{name}")
    found = probe.probe_sources(MINOR, [], tmp_path)[2]
    assert found.missing_packages[:2] == ("golang-go", "gcc")
    assert found.reason.startswith("after 'apt-get install golang-go gcc")
    assert found.minutes > 1


def test_catalogue_tells_everything_that_is_wrong(tmp_path: Path) -> None:
    """A broken catalogue is one message with all problems."""
    file, defaults = tmp_path / "catalogue.yml", tmp_path / "main.yml"
    file.write_text("versions: {'1.36': {kubernetes: 1.36}}\n", encoding="utf-8")
    defaults.write_text("artifacts_source: public\n", encoding="utf-8")
    with pytest.raises(WrongInputError) as caught:
        catalogue.load(file, defaults)
    text = "\n".join(caught.value.problems)
    assert "versions['1.36'] lacks kubernetes, package_revision" in text
    assert "artifacts_kubernetes_minor must be plain text" in text
    with pytest.raises(WrongInputError, match="cannot be read"):
        catalogue.load(tmp_path / "none")
