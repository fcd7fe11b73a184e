# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard when its API goes away, and when there is much to see."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from kubestead.model.state_api_client import StateApiClient
from tests.integration.dashboard_sample import Visit, chromium, entry, mac, write_registry
from tests.unit.api_sample import BEARER, Files, free_port, running, until

WORKING = mac(3)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as program:
        yield program


def test_the_api_stops_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    files = Files.make(tmp_path)
    write_registry(files, {WORKING: entry(3, "worker-2")})
    port = free_port()
    command = files.arguments(port)
    url = f"http://127.0.0.1:{port}"
    client = StateApiClient(url, BEARER)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until(client.healthy, 30)
        return process

    process = start()
    try:
        client.report_state(WORKING, "provisioning", message="before")
        seen = Visit.start(browser, url + "/")
        seen.sign_in()
        page = seen.page
        expect(seen.row("worker-2")).to_contain_text("before")
        process.kill()
        process.wait()
        banner = page.locator("#offline")
        expect(banner).to_be_visible()
        expect(banner).to_contain_text(re.compile(r"What you see is \d+ s old[\s\S]*trying again"))
        expect(page.locator("#link-text")).to_have_text("Not connected")
        expect(seen.row("worker-2")).to_contain_text("before")  # the last picture stays
        process = start()
        client.report_state(WORKING, "provisioning", message="after")
        # It tries again by itself, too, and may be faster: then the button is no longer seen.
        page.get_by_role("button", name="Try now", include_hidden=True).dispatch_event("click")
        expect(banner).to_be_hidden()
        expect(seen.row("worker-2")).to_contain_text("after")
        page.get_by_role("button", name="worker-2").click()
        expect(page.get_by_role("list", name="History")).to_contain_text("before")
        seen.end()
    finally:
        process.kill()
        process.wait()


def test_two_hundred_machines_that_change_two_hundred_times_a_second_leave_it_responsive(
    browser: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    files = Files.make(tmp_path)
    machines = [mac(number) for number in range(1, 201)]
    write_registry(files, {one: entry(number, f"node-{number}") for number, one in enumerate(machines, 1)})
    with running(files) as api:
        client = api.client()
        for one in machines:
            client.report_state(one, "provisioning", phase="prepare", progress=0)
        stop, sent = threading.Event(), [0, 0]

        def report(part: int) -> None:
            own, turn = api.client(), 0
            start = time.monotonic()
            while not stop.is_set():
                turn += 1
                address = machines[(turn * 2 + part) % len(machines)]
                own.report_state(
                    address, "provisioning", phase="prepare", progress=turn // 2 % 101, message=f"{turn}"
                )
                sent[part] = turn
                stop.wait(max(0, start + turn / 100 - time.monotonic()))

        seen = Visit.start(browser, api.url + "/")
        seen.sign_in()
        page = seen.page
        expect(page.locator("#rows .row")).to_have_count(200)
        reporters = [threading.Thread(target=report, args=(part,)) for part in (0, 1)]
        for reporter in reporters:
            reporter.start()
        try:
            page.evaluate("window.busy.length = 0")
            began, before = time.monotonic(), sum(sent)
            top = page.locator("#rows .name").first.inner_text()
            until(lambda: sum(sent) - before >= 1000, 20)
            seconds, changes = time.monotonic() - began, sum(sent) - before
            busy = page.evaluate("window.busy.splice(0)")
            assert page.locator("#rows .name").first.inner_text() == top, "nothing jumps"
            asked = time.monotonic()
            page.get_by_label("Search by name, MAC or IP address").fill("node-17")
            expect(page.locator("#rows .row")).to_have_count(11)
            answered = time.monotonic() - asked
        finally:
            stop.set()
            for reporter in reporters:
                reporter.join()
        seen.end()
    rate = changes / seconds
    record_property("changes a second", round(rate))
    print(
        f"{rate:.0f} changes/s for {seconds:.1f} s: {len(busy)} long tasks, "
        f"the longest {max(busy, default=0):.0f} ms, together {sum(busy) / seconds / 10:.1f} % of the time; "
        f"a search took {answered * 1000:.0f} ms"
    )
    assert rate > 100, "there was load"
    assert max(busy, default=0) < 500
    assert sum(busy) < seconds * 1000 * 0.25
    assert answered < 2
