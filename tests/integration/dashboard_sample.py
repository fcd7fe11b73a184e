# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard for tests: a real State API with machines in it, and a real browser that looks at it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.integration.needs import require
from tests.unit.api_sample import BEARER, Files

WAIT = 15_000  # milliseconds, for what comes about by itself; on a busy computer too
expect.set_options(timeout=WAIT)
# Runs before the page's own scripts: what the browser refuses by the Content Security Policy, how long it
# is busy.
_WATCH = """
window.violations = [];
window.busy = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
new PerformanceObserver((list) => window.busy.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });
"""


def mac(number: int) -> str:
    """The MAC of a machine of these tests."""
    return f"52:54:00:88:{number >> 8:02x}:{number & 255:02x}"


def entry(number: int, hostname: str, role: str = "worker", **more: Any) -> dict[str, Any]:
    """A machine's entry in the registry."""
    address = f"10.88.{number >> 8}.{number & 255}"
    return {"hostname": hostname, "role": role, "architecture": "amd64", "ip": address, **more}


def write_registry(files: Files, machines: dict[str, dict[str, Any]]) -> None:
    """Put machines into the registry before the API is started."""
    files.registry.write_text(json.dumps(machines, indent=2))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser, without a window."""
    program = require("chromium", "chromium")
    with sync_playwright() as playwright:
        # As root, in a container, Chromium has no sandbox of its own; nothing but our page is opened in it.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A person before the dashboard."""

    url: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, browser: Browser, url: str, **options: Any) -> Visit:
        """Open the page in a browser of its own, with `options` such as its size."""
        context = browser.new_context(**{"viewport": {"width": 1360, "height": 820}, **options})
        context.set_default_timeout(WAIT)
        context.add_init_script(_WATCH)
        visit = cls(url, context, context.new_page())
        visit.page.on("console", visit._heard)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.goto(url)
        return visit

    def _heard(self, message: ConsoleMessage) -> None:
        # The browser itself notes every answer that is no 2xx and every connection that broke.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def sign_in(self, token: str = BEARER) -> None:
        """Sign in and wait for the first picture."""
        self.page.get_by_label("Token").fill(token)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#link[data-link=live]")

    def row(self, name: str) -> Any:
        """The row of the machine with this name."""
        return self.page.locator(".row", has=self.page.locator(".name", has_text=name))

    def names(self) -> list[str]:
        """The machines shown, in order."""
        return self.page.locator("#rows .name").all_text_contents()

    def end(self) -> None:
        """Close it; the browser must not have complained of anything."""
        violations = [] if self.page.is_closed() else self.page.evaluate("window.violations")
        self.context.close()
        assert not violations, "nothing on the page is against its own Content Security Policy"
        assert not self.complaints, "the console is clean"


def picture(page: Page, path: Path) -> None:
    """Write what is to be seen as an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled", caret="hide")
