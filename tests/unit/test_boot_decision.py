# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine boots: the installer only when all speaks for it."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubestead.model.boot_decision import (
    GRUB,
    INSTALL,
    LOCAL,
    MENU,
    RESCUE_SYSTEM,
    BootFacts,
    Decision,
    decide,
    script,
)
from kubestead.model.lifecycle import STATES

MAC = "52:54:00:77:00:11"
WANTED = BootFacts(registered=True, state="install_pending", desired_install_id="new")
LOADER = "kernel http://10.0.0.10/vmlinuz || goto local\nboot || goto local\n"
# Every command of iPXE that these scripts may hold.
COMMANDS = {
    "#!ipxe",
    "echo",
    "kernel",
    "boot",
    "imgfree",
    "sanboot",
    "exit",
    "menu",
    "item",
    "choose",
    "goto",
    "shell",
    "iseq",
}
LOCAL_BOOT = {
    ("pcbios", "sanboot"): "sanboot --no-describe --drive 0x80 || exit",
    ("pcbios", "exit"): "exit",
    ("efi", "sanboot"): "sanboot --no-describe --drive 0x80 || exit 1",
    ("efi", "exit"): "exit 1",
}
DECISIONS = [
    Decision(LOCAL, "it is locked"),
    Decision(MENU, "it is not in the registry"),
    Decision(INSTALL, "an installation is asked for, attempt 1 of 3", 1),
    Decision(RESCUE_SYSTEM, "a rescue is asked for"),
]


def test_the_installer_is_given_only_when_all_speaks_for_it() -> None:
    for registered, state, locked, desired, completed, attempts, ago in itertools.product(
        (True, False),
        (None, *STATES),
        (True, False),
        (None, "new"),
        (None, "old", "new"),
        range(5),
        (None, -3600, -5, 0, 10, 10.1, 3600),
    ):
        facts = BootFacts(registered, state, locked, desired, completed, attempts, ago)
        just_now = attempts > 0 and state != "failed" and ago in (-5, 0, 10)
        wanted = (
            registered
            and not locked
            and state in ("install_pending", "installing", "failed")
            and desired is not None
            and desired != completed
        )
        decision = decide(facts)
        assert (decision.action == INSTALL) == (wanted and attempts + (not just_now) <= 3)
        assert decision.used_up == (wanted and attempts + (not just_now) > 3)
        if decision.action == INSTALL:
            assert decision.attempt == attempts + (not just_now)
        assert decision.reason


def test_the_rescue_system_is_given_for_one_boot() -> None:
    for registered, locked, ago in itertools.product(
        (True, False), (True, False), (None, 0, 10, 10.1, -3600)
    ):
        decision = decide(BootFacts(registered, "rescue", locked, "new", None, 0, None, ago))
        assert (decision.action == RESCUE_SYSTEM) == (registered and ago in (None, 0, 10))
        assert decision.rescue_ends == (registered and ago in (10.1, -3600))


def test_doubt_and_strangers_get_no_installer() -> None:
    assert decide(None).action == LOCAL
    assert decide(BootFacts(registered=False)).action == MENU
    assert decide(BootFacts(registered=False, state="discovered")).action == MENU
    assert decide(BootFacts(registered=False, state="installing", desired_install_id="new")).action == LOCAL


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda each: str(each.action))
@pytest.mark.parametrize(("platform", "how"), LOCAL_BOOT)
def test_the_local_disk_of_each_firmware_is_the_end_of_every_script(
    decision: Decision, platform: str, how: str
) -> None:
    text = script(MAC, decision, platform=platform, local_boot={platform: how}, loader=LOADER)
    assert text.splitlines()[0] == "#!ipxe"
    assert text.splitlines()[-1] == LOCAL_BOOT[platform, how]


def test_without_a_platform_ipxe_decides() -> None:
    lines = script(MAC, decide(None), platform="riscv").splitlines()
    assert lines[-4:] == [
        "iseq ${platform} efi && goto efi ||",
        "sanboot --no-describe --drive 0x80 || exit",
        ":efi",
        "exit 1",
    ]


def test_a_setting_that_is_none_is_left_out() -> None:
    text = script(MAC, decide(None), platform="efi", local_boot={"efi": "reboot"})
    assert text.splitlines()[-1] == "exit 1"


def test_the_installer_falls_back_to_the_local_disk() -> None:
    lines = script(
        "52-54-00-77-00-11", decide(WANTED), hostname="cp-1", platform="efi", loader=LOADER
    ).splitlines()
    assert lines == [
        "#!ipxe",
        "echo Kubestead: cp-1 is being installed: an installation is asked for, attempt 1 of 3",
        "kernel http://10.0.0.10/vmlinuz || goto local",
        "boot || goto local",
        ":local",
        "echo Kubestead: that cannot be loaded, booting the local disk",
        "imgfree ||",
        "exit 1",
    ]


def test_the_menu_boots_the_local_disk_by_itself() -> None:
    text = script(MAC, Decision(MENU, "it is not in the registry"), platform="pcbios", loader=LOADER)
    assert "choose --default local --timeout 10000 what || set what local" in text
    assert "kernel" not in text


def test_only_what_was_decided_is_loaded() -> None:
    for form in ("ipxe", "grub"):
        for decision in DECISIONS:
            text = script(MAC, decision, form=form, loader=LOADER)
            assert ("vmlinuz" in text) == (decision.action in (INSTALL, RESCUE_SYSTEM))


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda each: str(each.action))
def test_the_form_for_grub(decision: Decision) -> None:
    efi = script(MAC, decision, form=GRUB, platform="efi", loader=LOADER).splitlines()
    assert efi[0] == "set timeout=0"
    assert efi[-1] == "exit 1"
    bios = script(MAC, decision, form=GRUB, platform="pcbios", loader=LOADER).splitlines()
    assert bios[-3:] == ["set root=(hd0)", "chainloader +1", "boot"]
    either = script(MAC, decision, form=GRUB, loader=LOADER)
    assert 'if [ "$grub_platform" = "efi" ]; then\nexit 1\nelse\nset root=(hd0)\n' in either
    search = script(MAC, decision, form=GRUB, platform="efi", local_boot={"efi": "sanboot"}, loader=LOADER)
    assert "search --no-floppy --file --set=root $file" in search


@given(mac=st.text(max_size=30))
def test_what_is_no_mac_is_refused(mac: str) -> None:
    try:
        text = script(mac, decide(None))
    except ValueError:
        return
    assert re.search(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2} boots its local disk", text)


@given(
    hostname=st.none() | st.text(max_size=40) | st.sampled_from(["a\nshell", "${x}", "a && shell", "a;b"]),
    reason=st.text(max_size=300)
    | st.sampled_from(["no image\nshell", "${evil}", '"; reboot; "', "a && shell"]),
    platform=st.none() | st.text(max_size=10),
    decision=st.sampled_from(DECISIONS),
    form=st.sampled_from(["ipxe", "grub"]),
)
def test_nothing_can_be_smuggled_into_a_script(
    hostname: str | None, reason: str, platform: str | None, decision: Decision, form: str
) -> None:
    text = script(
        MAC, Decision(decision.action, reason), form=form, hostname=hostname, platform=platform, loader="boot"
    )
    assert text.isascii()
    told = [line for line in text.splitlines() if line.startswith("echo")]
    assert not any(re.search(r"[$;&|`\\<>]", line) for line in told)
    if form == "grub":
        assert all(re.fullmatch(r'echo "[^"]*"', line) for line in told)
        return
    for line in text.splitlines():
        assert line.startswith(":") or line.split(" ")[0] in COMMANDS
    assert set(re.findall(r"\$\{[^}]*\}", text)) <= {"${platform}", "${what}"}
