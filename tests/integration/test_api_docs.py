# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation page in a real browser: every path is shown, and nothing is asked of another host."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from kubestead.api.routes import all_routes
from tests.integration.dashboard_sample import Visit, chromium
from tests.unit.api_sample import Files, running


def test_every_path_is_shown(tmp_path: Path) -> None:
    asked: list[str] = []
    with running(Files.make(tmp_path)) as program, chromium() as browser:
        visit = Visit.start(browser, program.url + "/")
        page = visit.page
        page.on("request", lambda request: asked.append(request.url))
        page.goto(program.url + "/docs")
        shown = page.locator("#paths summary")
        expect(shown).to_have_count(len(all_routes()))
        expect(page.locator("h1")).to_have_text("Kubestead State API 0.1.0")
        page.get_by_label("Find").fill("reinstall")
        expect(page.locator("#paths summary:visible")).to_have_count(1)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        details = page.locator("#paths details[open]")
        expect(details).to_contain_text("which erases its disk")
        expect(details).to_contain_text("Token of the scope operator.")
        expect(details).to_contain_text("hostname: string")
        expect(details).to_contain_text("POST/api/machines/{mac}/reinstall")
        expect(details).to_contain_text("409")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 360, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.screenshot(path=tmp_path / "docs.png")
        assert page.evaluate("window.violations") == []
        assert visit.complaints == []
        assert {url.removeprefix(program.url) for url in asked} >= {"/docs", "/docs/docs.js", "/openapi.json"}
        assert all(url.startswith(program.url) for url in asked)
