# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13 by its own installer and by image, side by side, from empty disks to `ready`. Half an hour."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubestead.model.debian_installer import SUITES, Source
from lab import Lab, MachineSpec, network, paths
from lab.host import problems
from lab.spec import GATEWAY
from tests.e2e.install_lab import InstallLab
from tests.e2e.installer_lab import archive, installer
from tests.e2e.needs import require_machines
from tests.figures import tell
from tests.install.debian_archive import SUITE, LackingError, Parts, kernel_of, make_server

pytestmark = pytest.mark.skipif(bool(os.geteuid() or problems()), reason="python -m lab check says why")

NAME, RELEASE, IMAGE = "debian", "13", "image"
SPEC = MachineSpec(NAME, "10.77.0.51", disk=8 << 30, memory=1536)
IMAGE_SPEC = MachineSpec(IMAGE, "10.77.0.52", disk=8 << 30, memory=1536)
TIMES_FASTER = 4
SECONDS = 5400  # emulated, on processors that others use too
# The console, parts of the installer that this computer's archive may lack, and what makes it quicker where
# the machine is emulated: a small kernel, and no waiting for a disk that is not one.
ARGUMENTS = (
    f"console=ttyS0,115200n8 mirror/udeb/suite={SUITE} debian-installer/allow_unauthenticated=true "
    "base-installer/kernel/image=linux-image-cloud-amd64 base-installer/initramfs-tools/driver-policy=dep "
    "anna/choose_modules=eatmydata-udeb"
)


@pytest.fixture(scope="module")
def boot() -> Path:
    return installer(RELEASE)


@pytest.fixture(scope="module")
def parts(boot: Path, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    source = Source(archive(), RELEASE, "amd64", paths.cache() / "installers" / f"apt-{SUITES[RELEASE]}")
    made = Parts(tmp_path_factory.mktemp("parts"), archive(), RELEASE, kernel_of(boot / "linux"))
    try:
        made.build(source)
    except LackingError as error:
        pytest.skip(str(error))
    tell(f"the archive lacks {len(made.lacking)} parts of the installer: {' '.join(made.lacking)}")
    tell(f"made of ordinary packages: {' '.join(made.made) or 'none'}")
    return made


@pytest.fixture(scope="module")
def install_lab(parts: Parts) -> Iterator[InstallLab]:
    """A PXE server by our own roles, and the archive that Debian's installer is told of."""
    require_machines()
    variables = {
        "provision_timeout": SECONDS,
        "pxe_server_install_kernel_arguments": ARGUMENTS,
        "pxe_server_install_mirrors": {"debian": f"http://{GATEWAY}/debian"},
        "pxe_server_install_proxy": "none",
    }
    entries = {NAME: {"os": f"debian-{RELEASE}", "install_method": "installer"}}
    specs = {NAME: SPEC, IMAGE: IMAGE_SPEC}
    one = InstallLab(specs, Lab("fullinstall", say=print), entries, variables)
    one.lab.down()
    try:
        one.up()
        one.make(*specs)
        cache = paths.cache() / "apt"
        web = network.inside(
            one.lab.namespace,
            lambda: make_server((GATEWAY, 80), parts.archive, parts.folder / "www", cache),
        )
        # In this computer's own network, where the archive is.
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield one
        web.shutdown()
        web.server_close()
    finally:
        left = one.lab.down()
    assert left == []


def test_empty_machines_end_ready_and_the_image_is_there_first(install_lab: InstallLab) -> None:
    since = install_lab.install(NAME, IMAGE)
    slow = install_lab.tell_times(NAME, "Debian's installer", since[NAME])
    fast = install_lab.tell_times(IMAGE, "image", since[IMAGE])
    assert slow["installed"] >= TIMES_FASTER * fast["installed"]
    log = install_lab.data(SPEC.mac, "install_log")["text"]
    assert "token=" not in log

    def said(command: str) -> str:
        return install_lab.ssh(NAME, command)

    assert said("findmnt --noheadings --output SOURCE /") == "/dev/vda1"
    assert said("cat /etc/hostname") == NAME
    assert said("getent shadow root").split(":")[1].startswith(("*", "!"))
    assert "install_token" not in said("cat /etc/kubestead/agent.json")
    assert said("grep -rl token= /var/log/installer || true") == ""
    assert "console=ttyS0,115200n8" in said("cat /proc/cmdline")
    done = install_lab.view(NAME)["install"]
    assert (done["attempts"], done["completed_id"]) == (1, done["desired_id"])
