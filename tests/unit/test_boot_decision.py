# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine boots: the installer only when all speaks for it."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubestead.model.boot_decision import INSTALL, LOCAL, MENU, BootFacts, decide, script
from kubestead.model.lifecycle import STATES

MAC = "52:54:00:77:00:11"
WANTED = BootFacts(registered=True, state="install_pending", desired_install_id="new", hostname="cp-1")
# Every command of iPXE that these scripts may hold.
COMMANDS = {
    "#!ipxe",
    "echo",
    "chain",
    "sanboot",
    "exit",
    "menu",
    "item",
    "choose",
    "goto",
    "shell",
    "iseq",
    "set",
}


def test_the_installer_is_given_only_when_all_speaks_for_it() -> None:
    for registered, state, locked, desired, completed, attempts in itertools.product(
        (True, False), (None, *STATES), (True, False), (None, "new"), (None, "old", "new"), range(5)
    ):
        facts = BootFacts(registered, state, locked, desired, completed, attempts)
        wanted = (
            registered
            and not locked
            and state in ("install_pending", "installing")
            and desired is not None
            and desired != completed
            and attempts < 3
        )
        assert (decide(facts).action == INSTALL) == wanted
        assert decide(facts).reason


def test_doubt_and_strangers_get_no_installer() -> None:
    assert decide(None).action == LOCAL
    assert decide(BootFacts(registered=False)).action == MENU
    assert decide(BootFacts(registered=False, state="discovered")).action == MENU
    assert decide(BootFacts(registered=False, state="installing", desired_install_id="new")).action == LOCAL


@pytest.mark.parametrize(
    ("platform", "local"),
    [("pcbios", "sanboot --no-describe --drive 0x80 || exit"), ("efi", "exit")],
)
def test_the_local_disk_of_each_firmware(platform: str, local: str) -> None:
    for facts in (None, BootFacts(registered=True), BootFacts(registered=False), WANTED):
        assert script(MAC, facts, platform=platform).splitlines()[-1] == local


def test_without_a_platform_ipxe_decides() -> None:
    lines = script(MAC, None).splitlines()
    assert lines[-4:] == [
        "iseq ${platform} efi && goto efi ||",
        "sanboot --no-describe --drive 0x80 || exit",
        ":efi",
        "exit",
    ]


def test_the_installer_falls_back_to_the_local_disk() -> None:
    lines = script("52-54-00-77-00-11", WANTED, "http://10.0.0.10:8081", "efi").splitlines()
    assert lines == [
        "#!ipxe",
        "echo Kubestead: cp-1 is being installed",
        f"chain --autofree http://10.0.0.10:8081/installers/{MAC}.ipxe ||",
        "echo Kubestead: its installer cannot be fetched, booting the local disk",
        "exit",
    ]


def test_the_menu_boots_the_local_disk_by_itself() -> None:
    text = script(MAC, BootFacts(registered=False), platform="pcbios")
    assert "choose --default local --timeout 10000 what || set what local" in text
    assert "installers" not in text


@pytest.mark.parametrize(
    "base", ["https://10.0.0.10", "http://a b", "http://x/y", "http://x\nchain evil", "http://${net0/ip}", ""]
)
def test_a_base_that_is_no_address_is_left_out(base: str) -> None:
    assert f"chain --autofree ../installers/{MAC}.ipxe ||" in script(MAC, WANTED, base)


@given(mac=st.text(max_size=30))
def test_what_is_no_mac_is_refused(mac: str) -> None:
    try:
        text = script(mac, None)
    except ValueError:
        return
    assert re.search(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2} boots its local disk", text)


@given(
    hostname=st.none() | st.text(max_size=40) | st.sampled_from(["a\nshell", "${evil}", "a && shell", "a;b"]),
    base=st.none() | st.text(max_size=40),
    platform=st.none() | st.text(max_size=10),
    state=st.none() | st.text(max_size=10) | st.sampled_from(STATES),
    registered=st.booleans(),
)
def test_nothing_can_be_smuggled_into_a_script(
    hostname: str | None, base: str | None, platform: str | None, state: str | None, registered: bool
) -> None:
    facts = BootFacts(
        registered=registered, state=state, hostname=hostname, desired_install_id="new\nchain http://evil"
    )
    text = script(MAC, facts, base, platform)
    assert text.isascii()
    assert "evil" not in text
    for line in text.splitlines():
        assert line.startswith(":") or line.split(" ")[0] in COMMANDS
    assert set(re.findall(r"\$\{[^}]*\}", text)) <= {"${platform}", "${what}"}
