# SPDX-License-Identifier: GPL-3.0-or-later
"""The archives that apt uses, from what apt says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kubestead.model.apt_archives import AptError, archives, ask, proxy_for_others


def line(origin: str, label: str, release: str, uri: str) -> str:
    """As apt prints an index."""
    return f"{origin}\t{label}\t{release}\t{uri}\n"


def test_the_first_archive_of_each_name_is_found_and_others_are_left_out() -> None:
    said = (
        line("Docker", "Docker CE", "trixie", "https://docker.example/linux/debian/")
        + line("Debian", "Debian", "trixie", "http://near.example/debian/")
        + line("Debian", "Debian", "trixie-updates", "http://far.example/debian/")
        + line("Debian", "Debian-Security", "trixie-security", "https://near.example/debian-security/")
        + line("", "", "trixie", "http://unsigned.example/debian/")
        + line("Debian", "Debian", "trixie", "file:/media/cdrom/")
        + "nonsense\n"
    )
    assert archives(said) == {
        "debian": "http://near.example/debian",
        "debian-security": "https://near.example/debian-security",
    }


def test_ubuntu_s_archives_are_told_apart_by_suite_and_processor() -> None:
    said = (
        line("Ubuntu", "Ubuntu", "noble", "http://near.example/ubuntu/")
        + line("Ubuntu", "Ubuntu", "noble-security", "http://safe.example/ubuntu/")
        + line("Ubuntu", "Ubuntu", "noble", "http://near.example/ubuntu-ports/")
    )
    assert archives(said) == {
        "ubuntu": "http://near.example/ubuntu",
        "ubuntu-security": "http://safe.example/ubuntu",
        "ubuntu-ports": "http://near.example/ubuntu-ports",
    }


def test_a_list_of_mirrors_is_read() -> None:
    said = line("Debian", "Debian", "trixie", "mirror+file:/etc/apt/mirrors/debian.list/")
    lists = {"/etc/apt/mirrors/debian.list": "# the best first\n\nhttps://near.example/debian priority:1\n"}
    assert archives(said, lists.__getitem__) == {"debian": "https://near.example/debian"}


def test_a_list_of_mirrors_that_is_gone_is_no_mirror() -> None:
    assert archives(line("Debian", "Debian", "trixie", "mirror+file:/nowhere/debian.list")) == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://10.0.0.5:3142/", "http://10.0.0.5:3142"),
        ("http://cache.home", "http://cache.home"),
        ("http://[fd00::5]:3142", "http://[fd00::5]:3142"),
        ("http://127.0.0.1:3142", ""),
        ("http://localhost:3142", ""),
        ("http://user:secret@10.0.0.5:3142", ""),
        ("http://10.0.0.5:port", ""),
        ("DIRECT", ""),
        ("", ""),
    ],
)
def test_a_proxy_is_for_others_only_where_they_can_use_it(given: str, expected: str) -> None:
    assert proxy_for_others(given) == expected


def test_an_apt_that_fails_is_no_apt_without_archives() -> None:
    def run(argv: Sequence[str], stdin: str | None = None, timeout: float = 30) -> tuple[int, str, str]:
        return 100, "", "E: Malformed entry 1 in list file /etc/apt/sources.list (Suite)\n"

    with pytest.raises(AptError, match=r"`apt-get indextargets` fails: E: Malformed entry 1"):
        ask(run)
