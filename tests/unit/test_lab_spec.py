# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node should be, as it is typed and as molecule's files have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import InputError
from lab.spec import NodeSpec, check_lab_name, check_together, read_platforms


def test_parse() -> None:
    spec = NodeSpec.parse("web-1:debian-12:10.77.0.31")
    assert (spec.name, spec.os, spec.ip) == ("web-1", "debian-12", "10.77.0.31")
    assert spec.mac == "52:54:00:4d:00:1f", "made from the address when it is not given"
    assert NodeSpec.from_dict(spec.to_dict()) == spec
    assert NodeSpec.parse("a:debian-13:10.77.0.9:52-54-00-AA-BB-CC").mac == "52:54:00:aa:bb:cc"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web", "expected NAME:OS:IP"),
        ("Web:debian-12:10.77.0.31", "expected a host name"),
        ("web-:debian-12:10.77.0.31", "expected a host name"),
        ("web:debian-11:10.77.0.31", "expected one of debian-12, debian-13"),
        ("web:debian-12:10.77.1.31", "10.77.0.0/24"),
        ("web:debian-12:10.77.0.1", "10.77.0.1 is not free"),
        ("web:debian-12:10.77.0.255", "is not free"),
        ("web:debian-12:here", "'here' is no IP address"),
        ("web:debian-12:10.77.0.31:zz", "'zz' is no MAC"),
        ("web:debian-12:10.77.0.31:01:00:5e:00:00:01", "is no MAC of a machine"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        NodeSpec.parse(text)
    assert caught.value.exit_code == 2


def test_all_problems_at_once() -> None:
    with pytest.raises(InputError) as caught:
        NodeSpec("X", "plan9", "1.2.3.4")
    assert len(caught.value.problems) == 3


def test_nodes_that_would_meet() -> None:
    one = NodeSpec.parse("a:debian-12:10.77.0.31")
    check_together([one, NodeSpec.parse("b:debian-12:10.77.0.32")])
    with pytest.raises(InputError) as caught:
        check_together([one, NodeSpec("a", "debian-12", "10.77.0.31", one.mac)])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("name", ["", "Lab", "a.b", "-a", "a/b", "x" * 32])
def test_names_that_cannot_name_a_lab(name: str) -> None:
    with pytest.raises(InputError, match="lab name"):
        check_lab_name(name)


def test_platforms(tmp_path: Path) -> None:
    path = tmp_path / "molecule.yml"
    path.write_text("platforms:\n  - {name: a, os: debian-12, ip: 10.77.0.31, groups: [x]}\n")
    assert [spec.name for spec in read_platforms(path)] == ["a"]
    path.write_text("platforms:\n  - {name: a}\n")
    with pytest.raises(InputError, match="name, os and ip"):
        read_platforms(path)
    with pytest.raises(InputError, match=r"none\.yml"):
        read_platforms(tmp_path / "none.yml")
