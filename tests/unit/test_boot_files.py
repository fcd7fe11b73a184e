# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot port's application: files below one folder, scripts, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from kubestead.api.boot import BootApp
from kubestead.api.boot_files import BootFiles
from kubestead.installers import SettingsError

KERNEL = bytes(range(256)) * 4000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    boot = tmp_path / "boot"
    (boot / "debian").mkdir(parents=True)
    (boot / "debian" / "vmlinuz").write_bytes(KERNEL)
    (boot / "empty").touch()
    (boot / ".hidden").write_text("secret")
    (boot / ".git").mkdir()
    (boot / ".git" / "config").write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (boot / "current").symlink_to("debian")
    (boot / "out").symlink_to("../outside")
    (boot / "up").symlink_to("..")
    (boot / "to-hidden").symlink_to(".hidden")
    (boot / "nowhere").symlink_to("nothing")
    (boot / "loop").symlink_to("loop")
    os.mkfifo(boot / "pipe")
    return boot


class NoBoots:
    """Decides nothing: these tests are about files."""

    def __getattr__(self, name: str) -> Any:
        """Whatever is asked for, it is not to be had."""

        def broken(*_arguments: object, **_options: object) -> Any:
            raise SettingsError([f"nobody decides ({name})"])

        return broken


@pytest.fixture
def boot(folder: Path) -> TestClient:
    return TestClient(BootApp(BootFiles(folder), NoBoots(), 1000), base_url="http://10.0.0.10:8081")


def test_a_file_with_its_length_and_tag(boot: TestClient) -> None:
    answer = boot.get("/debian/vmlinuz")
    assert (answer.status_code, answer.content) == (200, KERNEL)
    assert answer.headers["content-length"] == str(len(KERNEL))
    assert answer.headers["accept-ranges"] == "bytes"
    head = boot.head("/debian/vmlinuz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(KERNEL))
    tag = answer.headers["etag"]
    assert boot.get("/debian/vmlinuz", headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    assert boot.get("/debian/vmlinuz", headers={"If-None-Match": '"x"'}).status_code == 200
    assert boot.get("/current/vmlinuz").content == KERNEL
    assert boot.get("/empty").content == b""


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299", 100, 300),
        ("bytes=1000000-", 1_000_000, len(KERNEL)),
        ("bytes=-10", len(KERNEL) - 10, len(KERNEL)),
        ("bytes=-99999999", 0, len(KERNEL)),
        ("bytes=5-99999999", 5, len(KERNEL)),
    ],
)
def test_a_range(boot: TestClient, asked: str, begin: int, end: int) -> None:
    answer = boot.get("/debian/vmlinuz", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, KERNEL[begin:end])
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(KERNEL)}"
    assert answer.headers["content-length"] == str(end - begin)


def test_ranges_that_cannot_be_had(boot: TestClient) -> None:
    answer = boot.get("/debian/vmlinuz", headers={"Range": f"bytes={len(KERNEL)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(KERNEL)}"
    for asked in ("bytes=5-3", "bytes=-", "bytes=-0", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b", ""):
        assert boot.get("/debian/vmlinuz", headers={"Range": asked}).status_code == 200
    changed = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert boot.get("/debian/vmlinuz", headers=changed).status_code == 200
    assert boot.get("/empty", headers={"Range": "bytes=0-0"}).status_code == 416


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/debian",
        "/debian/",
        "/.hidden",
        "/.git/config",
        "/to-hidden",
        "/out",
        "/up/outside",
        "/nowhere",
        "/loop",
        "/pipe",
        "/%2e%2e/outside",
        "/debian/%2e%2e/%2e%2e/outside",
        "/debian//vmlinuz",
        "//etc/passwd",
        "/debian%5c..%5coutside",
        "/debian/vmlinuz%00",
        "/" + "a" * 5000,
        "/api/states",
        "/healthz",
        "/docs",
    ],
)
def test_nothing_else(boot: TestClient, path: str) -> None:
    answer = boot.get(f"http://10.0.0.10:8081{path}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}
    assert "secret" not in answer.text


@given(path=st.text(max_size=40))
def test_no_path_leads_out(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "served"
    folder.mkdir(exist_ok=True)
    assert BootFiles(folder).find(path) is None


def test_what_changes_nothing_is_all_that_is_taken(boot: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = boot.request(method, "/debian/vmlinuz")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_folder_may_come_later(tmp_path: Path) -> None:
    files = BootFiles(tmp_path / "later")
    assert files.find("/x") is None
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "x").touch()
    assert files.find("/x") is not None


def test_files_are_closed_again(boot: TestClient) -> None:
    boot.get("/debian/vmlinuz")  # the threads and the loop open theirs first
    before = len(os.listdir("/proc/self/fd"))
    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=99999999-"}):
        boot.get("/debian/vmlinuz", headers=headers)
        boot.head("/debian/vmlinuz", headers=headers)
    boot.get("/pipe")
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_folder_is_also_where_a_web_server_has_it(boot: TestClient, folder: Path) -> None:
    assert boot.get("/boot/debian/vmlinuz").content == KERNEL
    assert boot.get("/bootdebian/vmlinuz").status_code == 404
    assert boot.get("/boot/.hidden").status_code == 404
    assert boot.get("/boot/boot/../out").status_code == 404


def test_the_entry_is_ours_unless_the_folder_has_one(boot: TestClient, folder: Path) -> None:
    assert "boot/${netX/mac:hexhyp}.ipxe?platform=${platform}&buildarch=${buildarch}&uuid=${uuid}&" in (
        boot.get("/boot.ipxe").text
    )
    (folder / "boot.ipxe").write_text("#!ipxe\nexit\n")
    assert boot.get("/boot.ipxe").text == "#!ipxe\nexit\n"
