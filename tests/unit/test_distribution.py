# SPDX-License-Identifier: GPL-3.0-or-later
"""Which distribution a machine has: the names that Ansible has for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.facts.system.distribution import Distribution

from plugins.module_utils.distribution import KNOWN, distribution_facts

RELEASES = {
    "debian": (
        'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
        "Debian",
        "13",
        "Debian",
    ),
    "ubuntu": ('# Ubuntu\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "Ubuntu", "24", "Debian"),
    "rocky": ('NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="9.6"\n', "Rocky", "9", "RedHat"),
    "rhel": ("ID='rhel'\nVERSION_ID='10.1'\n", "RedHat", "10", "RedHat"),
}


@pytest.mark.parametrize("name", RELEASES)
def test_known_distributions(name: str, tmp_path: Path) -> None:
    """Their three facts, wherever the file lies."""
    text, distribution, major, family = RELEASES[name]
    for folder in ("usr/lib", "etc"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "os-release").write_text(text, encoding="utf-8")
        assert distribution_facts(tmp_path) == {
            "distribution": distribution,
            "distribution_major_version": major,
            "os_family": family,
        }
        (tmp_path / folder / "os-release").unlink()


@pytest.mark.parametrize("text", ["", "ID=debian\n", 'ID=arch\nVERSION_ID="1"\n', "nonsense"])
def test_what_is_not_known_is_left_to_setup(text: str, tmp_path: Path) -> None:
    """Also Debian's testing, which has no number."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text, encoding="utf-8")
    assert distribution_facts(tmp_path) == {}


def test_families_are_those_of_ansible() -> None:
    """So that it makes no difference who has asked."""
    for name, family in KNOWN.values():
        assert Distribution.OS_FAMILY[name] == family
