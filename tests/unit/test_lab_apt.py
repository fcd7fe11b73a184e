# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive that this computer uses is read from apt's own files, whichever form they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import apt
from lab.errors import HostError

DEB822 = """\
Types: deb
# a comment between
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/example.gpg

Types: deb deb-src
URIs: https://security.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://other.example/repository
Suites: stable-somewhere
Components: main
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://mirror.example/debian bookworm main non-free # end
deb http://mirror.example/debian bookworm-backports main
deb http://mirror.example/debian bookworm contrib
deb-src http://mirror.example/debian bookworm main
deb http://security.example/ bullseye/updates main
"""


def test_deb822() -> None:
    found = apt.parse_deb822(DEB822)
    assert [(one.uri, one.suite) for one in found] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("https://security.example/debian-security", "bookworm-security"),
    ]
    assert found[0].options == {"signed-by": "/usr/share/keyrings/example.gpg"}
    assert found[2].options == {}, "a key inside the file is no path"


def test_one_line() -> None:
    found = apt.parse_one_line(ONE_LINE)
    assert [(one.uri, one.suite, one.kind) for one in found] == [
        ("http://mirror.example/debian", "bookworm", ""),
        ("http://security.example", "bullseye/updates", "-security"),
    ]
    assert found[0].options == {"signed-by": "/k.gpg", "trusted": "yes"}
    assert (
        found[0].one_line() == "deb [signed-by=/k.gpg trusted=yes] http://mirror.example/debian bookworm main"
    )


def test_another_release_of_the_same_archive() -> None:
    found = apt.sources_for("trixie", apt.parse_deb822(DEB822))
    assert [(one.uri, one.suite) for one in found] == [
        ("http://mirror.example/debian", "trixie"),
        ("http://mirror.example/debian", "trixie-updates"),
        ("https://security.example/debian-security", "trixie-security"),
    ]
    assert found[2].options == {"signed-by": apt.KEYRING}


def test_the_first_archive_wins() -> None:
    known = apt.parse_one_line(
        "deb http://one.example/debian stable main\ndeb http://two.example/debian sid main\n"
    )
    assert [one.uri for one in apt.sources_for("trixie", known)] == ["http://one.example/debian"]


def test_a_mirror_that_is_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESTEAD_DEBIAN_MIRROR", "http://own.example/debian/")
    assert [one.uri for one in apt.sources_for("trixie", [])] == ["http://own.example/debian"]
    monkeypatch.setenv("KUBESTEAD_DEBIAN_SECURITY_MIRROR", "http://own.example/security")
    assert [one.suite for one in apt.sources_for("trixie", [])] == ["trixie", "trixie-security"]


def test_no_debian_archive_is_a_problem_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBESTEAD_DEBIAN_MIRROR", raising=False)
    with pytest.raises(HostError, match="KUBESTEAD_DEBIAN_MIRROR") as caught:
        apt.sources_for("trixie", apt.parse_one_line("deb http://archive.example/ubuntu noble main\n"))
    assert caught.value.exit_code == 3


def test_files_of_a_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("# first\nhttps://listed.example/debian/ priority:1\nhttps://second.example/debian\n")
    (tmp_path / "sources.list").write_text("deb cdrom:[Debian]/ bookworm main\n")
    (parts / "debian.sources").write_text(
        f"Types: deb\nURIs: mirror+file:{mirrors}\nSuites: bookworm\nComponents: main\n"
    )
    (parts / "gone.sources.disabled").write_text(DEB822)
    assert [one.uri for one in apt.host_sources(tmp_path)] == ["https://listed.example/debian"]
