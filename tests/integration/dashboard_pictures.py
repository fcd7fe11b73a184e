# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the dashboard's pictures for its page: python -m tests.integration.dashboard_pictures [FOLDER]."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from playwright.sync_api import Browser, Page

from kubestead.store import schema
from tests.integration.dashboard_sample import Visit, chromium, entry, mac, picture, write_registry
from tests.unit.api_sample import Files, Running, running

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
LARGEST = 150_000
WIDE = {"width": 1240, "height": 680}


@dataclass(frozen=True)
class Story:
    """A machine and what it has reported; the last `minutes` ago, the ones before earlier."""

    mac: str
    entry: dict[str, Any] | None
    minutes: float
    reports: list[dict[str, Any]] = field(default_factory=list)
    locked: bool = False


def _steps(*states: str, **last: Any) -> list[dict[str, Any]]:
    return [*({"state": state} for state in states[:-1]), {"state": states[-1], **last}]


def homelab() -> list[Story]:
    """A homelab on an ordinary evening: most is well, and one machine has failed."""
    control, nodes = "control-plane", ["kubernetes", "nfs", "storage"]
    ready = {"message": "node is Ready", "features": {"kubernetes": "ready"}}
    broken = (
        "apt-get: E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1423 "
        "(unattended-upgr)\nE: Unable to acquire the dpkg frontend lock, is another process using it?"
    )
    failing: list[dict[str, Any]] = [
        {"state": "provisioning", "phase": "prepare", "progress": 10, "message": "kernel modules"},
        {"state": "provisioning", "phase": "prepare", "progress": 25, "message": "kernel settings"},
        {"state": "provisioning", "phase": "prepare", "progress": 40, "message": "installing packages"},
        {"state": "failed", "phase": "prepare", "progress": 40, "error": broken},
    ]
    joining = {"phase": "join", "progress": 64, "message": "waiting for etcd to make it a voting member"}
    features = {"kubernetes": "ready", "nfs": "ready", "storage": "ready"}
    model = {
        "features": {"gpu": "ready", "inference": "loading the model"},
        "message": "driver 550.54 is loaded",
    }
    writing = {"phase": "partition", "progress": 35, "message": "writing the file systems"}
    started = _steps("provisioning", "ready", **ready)
    debian = {"os": "debian-13"}
    return [
        Story(mac(11), entry(11, "cp-1", control, features=["kubernetes"], **debian), 0.7, started),
        Story(mac(12), entry(12, "cp-2", control, features=["kubernetes"], **debian), 0.4, started),
        Story(
            mac(13),
            entry(13, "cp-3", control, features=["kubernetes"], **debian),
            0.1,
            _steps("provisioning", "provisioning", **joining),
        ),
        Story(
            mac(21),
            entry(21, "worker-1", features=nodes, **debian),
            0.9,
            _steps("provisioning", "ready", message="node is Ready", features=features),
            locked=True,
        ),
        Story(mac(22), entry(22, "worker-2", features=["kubernetes"], **debian), 12, failing),
        Story(
            mac(23),
            entry(23, "worker-3", features=["kubernetes"], **debian),
            0.2,
            _steps("install_pending", "installing", **writing),
        ),
        Story(mac(24), entry(24, "worker-4", features=["kubernetes"], **debian), 0),
        Story(
            mac(31),
            entry(31, "ml-1", "compute", features=["gpu", "inference"]),
            0.6,
            _steps("provisioning", "ready", **model),
        ),
        Story(mac(99), None, 1.5, _steps("discovered")),
        Story(
            mac(41),
            entry(41, "old-nas", "compute", features=["nfs"]),
            17_000,
            _steps("provisioning", "ready", "retired"),
        ),
    ]


def many() -> list[Story]:
    """200 machines."""
    stories = []
    for number in range(1, 201):
        role, name = ("control-plane", f"cp-{number}") if number <= 5 else ("worker", f"node-{number}")
        reports = _steps("provisioning", "ready", message="node is Ready", features={"kubernetes": "ready"})
        if number % 11 == 0:
            working = {"phase": "prepare", "progress": number * 7 % 100, "message": "installing packages"}
            reports = _steps("provisioning", "provisioning", **working)
        elif number % 23 == 0:
            writing = {
                "phase": "partition",
                "progress": number * 3 % 100,
                "message": "writing the file systems",
            }
            reports = _steps("install_pending", "installing", **writing)
        elif number in (58, 140, 171):
            reports = _steps(
                "provisioning", "failed", phase="join", progress=80, error="the API server does not answer"
            )
        features = ["kubernetes"] if number % 3 else ["kubernetes", "storage"]
        stories.append(
            Story(mac(number), entry(number, name, role, features=features), number % 60 / 60, reports)
        )
    stories.append(Story(mac(999), None, 3, _steps("discovered")))
    return stories


@contextmanager
def told(stories: list[Story]) -> Iterator[Running]:
    """A State API in which all this has happened, when it is said to have."""
    with tempfile.TemporaryDirectory() as folder:
        files = Files.make(Path(folder))
        write_registry(files, {story.mac: story.entry for story in stories if story.entry})
        with running(files) as api:
            client = api.client()
            for story in stories:
                for report in story.reports:
                    client.report_state(story.mac, **report)
                if story.locked:
                    client.act(story.mac, "lock")
        _age(files.database, stories)
        with running(files) as api:
            yield api


def _age(database: Path, stories: list[Story]) -> None:
    """Move all that has happened to where it belongs in time; a machine's reports are four minutes apart."""
    engine = sa.create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        for story in stories:
            ago = timedelta(minutes=story.minutes)
            _move(connection, schema.machines, [ago], story.mac)
            events = [ago + timedelta(minutes=4) * turn for turn in range(len(story.reports) + 1)]
            _move(connection, schema.events, events, story.mac)
    engine.dispose()


def _move(connection: sa.Connection, table: sa.Table, ago: list[timedelta], address: str) -> None:
    times = [column for column in table.columns if isinstance(column.type, schema.UtcDateTime)]
    (key,) = table.primary_key.columns
    newest_first = sa.select(key, *times).where(table.c.mac == address).order_by(key.desc())
    for row, span in zip(connection.execute(newest_first).all(), ago, strict=False):
        moved = {column.name: at - span for column, at in zip(times, row[1:], strict=True) if at}
        connection.execute(sa.update(table).where(key == row[0]).values(moved))


def take(folder: Path) -> list[Path]:
    """Take all pictures."""
    taken: list[Path] = []

    def shoot(page: Page, name: str) -> None:
        taken.append(folder / f"dashboard-{name}.png")
        picture(page, taken[-1])

    with chromium() as browser:
        with told(homelab()) as api:
            for scheme in ("light", "dark"):
                shoot(_signed_in(browser, api, color_scheme=scheme, viewport=WIDE), scheme)
            phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
            shoot(_signed_in(browser, api, **phone, device_scale_factor=1.75), "phone")
            page = _signed_in(browser, api, viewport=WIDE)
            page.get_by_role("button", name="worker-2").click()
            page.get_by_role("list", name="History").get_by_role("listitem").first.wait_for()
            shoot(page, "failed")
        with told(many()) as api:
            shoot(_signed_in(browser, api, viewport=WIDE), "200-machines")
    return taken


def _signed_in(browser: Browser, api: Running, **options: Any) -> Page:
    visit = Visit.start(browser, api.url + "/", **options)
    visit.sign_in()
    visit.page.locator("#rows .row").first.wait_for()
    return visit.page


def main() -> int:
    """Take the pictures; return the exit code."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    large = [path for path in take(folder) if path.stat().st_size > LARGEST]
    for path in large:
        sys.stderr.write(f"{path} is larger than {LARGEST} bytes\n")
    return 1 if large else 0


if __name__ == "__main__":
    raise SystemExit(main())
