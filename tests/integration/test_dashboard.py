# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard as a person uses it: a real State API, a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from playwright.sync_api import Request as Sent

from kubestead.model.state_api_client import StateApiClient
from tests.integration.dashboard_sample import Visit, chromium, entry, mac, write_registry
from tests.unit.api_sample import BEARER, Files, Running, running

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRASTS = Path(__file__).with_name("dashboard_contrast.js").read_text()
STATIC = REPOSITORY / "src" / "kubestead" / "dashboard" / "static"
CONTROL_PLANE, READY, WORKING, FAILED, SILENT, OTHER, VICTIM = (mac(number) for number in range(1, 8))
STRANGER = mac(99)
MACHINES = {
    CONTROL_PLANE: entry(1, "cp-1", "control-plane", features=["kubernetes"]),
    READY: entry(2, "worker-1", features=["kubernetes", "nfs"], os="debian-13"),
    WORKING: entry(3, "worker-2", features=["kubernetes"]),
    FAILED: entry(4, "worker-10"),
    SILENT: entry(5, "worker-4"),
    OTHER: entry(6, "ml-1", "compute", features=["gpu"]),
    VICTIM: entry(7, "worker-7"),
}
HOSTILE = """<img src=x onerror="window.owned=1"><script>window.owned=1</script>\u202e"""

Opener = Callable[..., Visit]


def bring(client: StateApiClient, address: str, *states: str, **last: Any) -> None:
    """Report the states one after the other, what else is said with the last of them."""
    for state in states[:-1]:
        client.report_state(address, state)
    client.report_state(address, states[-1], **last)


def fill(client: StateApiClient) -> None:
    """Bring the machines of these tests into their states."""
    bring(client, CONTROL_PLANE, "provisioning", "ready", message="node is Ready")
    bring(client, READY, "provisioning", "ready", message="node is Ready", features={"nfs": "ready"})
    bring(client, WORKING, "provisioning", phase="prepare", progress=40, message="installing packages")
    bring(client, FAILED, "provisioning", "failed", phase="prepare", error="no space left on /var")
    bring(client, OTHER, "provisioning", "ready", features={"gpu": "failed: no driver"})
    bring(client, VICTIM, "provisioning", "ready")
    bring(client, STRANGER, "discovered")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as program:
        yield program


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    made = Files.make(tmp_path_factory.mktemp("api"))
    write_registry(made, MACHINES)
    return made


@pytest.fixture(scope="module")
def api(files: Files) -> Iterator[Running]:
    with running(files) as program:
        fill(program.client())
        yield program


@pytest.fixture
def client(api: Running) -> StateApiClient:
    return api.client()


@pytest.fixture
def visit(browser: Browser, api: Running) -> Iterator[Opener]:
    """Opens the dashboard; at the end no browser may have complained."""
    visits: list[Visit] = []

    def opened(token: str | None = BEARER, **options: Any) -> Visit:
        visits.append(Visit.start(browser, api.url + "/", **options))
        if token:
            visits[-1].sign_in(token)
        return visits[-1]

    yield opened
    for one in visits:
        one.end()


def test_a_wrong_token_is_told_and_the_right_one_opens_and_is_kept_in_this_tab_alone(visit: Opener) -> None:
    page = visit(token=None).page
    for wrong, words in (
        ("", "Type or paste"),
        ("two words", "no token"),
        ("a-wrong-token", "does not open"),
    ):
        page.get_by_label("Token").fill(wrong)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text(words)
    page.get_by_label("Token").fill(BEARER)
    page.keyboard.press("Enter")
    expect(page.locator("#link-text")).to_have_text("Live")
    expect(page.get_by_role("alert")).to_have_count(0)

    assert page.url.endswith("/")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert page.evaluate("Object.values(sessionStorage)") == [BEARER]
    page.reload()
    expect(page.locator("#link-text")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.locator(".row").count() == 0


def test_a_token_that_is_revoked_leads_back_to_the_sign_in(visit: Opener, client: StateApiClient) -> None:
    made = client.create_token("for-a-while", "read")
    page = visit(token=made["token"]).page
    client.revoke_token(made["id"])
    expect(page.get_by_role("alert")).to_contain_text("no longer valid")
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_whole_and_every_machine_are_seen_at_a_glance(visit: Opener) -> None:
    seen = visit()
    page = seen.page
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 failed")
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 asks for approval")
    expect(page).to_have_title("1 failed, 1 new \u2013 Kubestead")
    expect(page.locator(".tile[data-role=control-plane]")).to_contain_text("1 of 1 ready")
    expect(page.locator(".tile[data-role=worker]")).to_contain_text("2 of 5 ready")
    expect(page.locator(".chip[data-state=ready]")).to_contain_text("4")
    shares = page.locator("#bar .segment:not([hidden])")
    assert shares.evaluate_all("all => all.map(one => +one.style.flexGrow)") == [1, 1, 1, 1, 4]

    names = seen.names()
    assert names[:2] == ["worker-10", STRANGER], "what failed stands first, then what asks"
    assert names.index("worker-1") < names.index("worker-7"), "names are sorted as people count"
    expect(seen.row("worker-10")).to_contain_text("no space left on /var")
    expect(seen.row("worker-10").locator(".word")).to_have_text("failed")
    expect(seen.row(STRANGER)).to_contain_text("not in the registry")
    expect(seen.row("worker-4").locator(".word")).to_have_text("no report yet")
    expect(seen.row("worker-2").get_by_role("progressbar")).to_have_attribute("aria-valuenow", "40")
    expect(seen.row("ml-1").locator(".c-features")).to_contain_text("gpu\u00a0✗")


def test_changes_new_machines_and_ages_show_without_a_reload(visit: Opener, client: StateApiClient) -> None:
    seen = visit()
    page = seen.page
    page.evaluate("window.sameDocument = true")
    client.report_state(WORKING, "provisioning", phase="join", progress=85, message="joining the cluster")
    row = seen.row("worker-2")
    expect(row).to_contain_text("joining the cluster")
    expect(row.locator(".percent")).to_have_text("85 %")
    expect(row.locator("time")).to_have_text(re.compile(r"^[3-9] s$"))  # it ticks

    newcomer = mac(100)
    client.report_state(newcomer, "discovered", message="booted from the network")
    expect(seen.row(newcomer)).to_contain_text("booted from the network")
    expect(page.locator(".chip[data-state=discovered]")).to_contain_text("2")
    expect(page.locator("#news")).to_contain_text(newcomer)
    client.act(newcomer, "retire")
    expect(seen.row(newcomer).locator(".word")).to_have_text("retired")
    assert page.evaluate("window.sameDocument")


def test_no_row_moves_away_from_under_a_pointer_nor_takes_the_focus_along(
    visit: Opener, client: StateApiClient
) -> None:
    seen = visit()
    page = seen.page
    before = seen.names()
    assert before[0] == "worker-10"
    seen.row("worker-1").first.hover()
    client.report_state(OTHER, "failed", error="it broke")
    expect(seen.row("ml-1").locator(".word")).to_have_text("failed")  # it is told at once
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 failed")
    assert seen.names() == before, "but nothing moves"
    page.mouse.move(5, 5)
    expect(page.locator("#rows .name").first).to_have_text("ml-1")

    page.get_by_role("button", name="ml-1").focus()
    client.report_state(OTHER, "ready", features={"gpu": "failed: no driver"})
    expect(page.locator("#rows .name").first).to_have_text("worker-10")
    expect(page.get_by_role("button", name="ml-1")).to_be_focused()


def test_a_machine_shows_its_details_and_its_history_which_goes_on(
    visit: Opener, client: StateApiClient
) -> None:
    page = visit().page
    page.get_by_role("button", name="worker-10").click()
    dialog = page.get_by_role("dialog", name="worker-10")
    expect(dialog).to_contain_text("no space left on /var")
    expect(dialog).to_contain_text("10.88.0.4")
    expect(dialog).to_contain_text(FAILED)
    history = dialog.get_by_role("list", name="History")
    expect(history.get_by_role("listitem").first).to_contain_text("provisioning → failed")
    before = history.get_by_role("listitem").count()
    client.report_state(FAILED, "failed", phase="prepare", error="still no space left on /var")
    expect(history.get_by_role("listitem").first).to_contain_text("still no space left")
    assert history.get_by_role("listitem").count() == before + 1
    expect(dialog.locator("#details-error")).to_contain_text("still no space")

    page.reload()  # the address has the machine, and nothing else
    assert page.url.endswith(f"/#{FAILED}")
    expect(dialog).to_be_visible()
    page.go_back()
    expect(dialog).to_be_hidden()


def test_machines_are_found_filtered_and_sorted(visit: Opener) -> None:
    seen = visit()
    page = seen.page
    everything = page.locator("#rows .row").count()

    def shows(*names: str) -> None:
        expect(page.locator("#rows .name")).to_have_text(list(names))

    search = page.get_by_label("Search by name, MAC or IP address")
    for text in ("worker-10", FAILED.upper(), FAILED.replace(":", "-"), FAILED.replace(":", ""), "10.88.0.4"):
        search.fill(text)
        shows("worker-10")
    search.fill("nothing of this")
    expect(page.get_by_text("No machine is like that")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#rows .row")).to_have_count(everything)

    failed = page.locator(".chip[data-state=failed]")
    failed.click()
    expect(failed).to_have_attribute("aria-pressed", "true")
    shows("worker-10")
    expect(page.locator("#count")).to_have_text(f"1 of {everything}")
    failed.click()
    page.locator("#bar .segment[data-look=provisioning]").click()
    shows("worker-2")
    page.get_by_role("button", name="Show all").click()
    page.locator(".tile[data-role=control-plane]").click()
    shows("cp-1")
    page.get_by_role("button", name="Show all").click()

    search.fill("worker")
    page.get_by_role("button", name="Machine", exact=True).click()
    shows("worker-1", "worker-2", "worker-4", "worker-7", "worker-10")
    page.get_by_role("button", name="Machine", exact=True).click()
    shows("worker-10", "worker-7", "worker-4", "worker-2", "worker-1")
    assert page.locator("[aria-sort=descending]").inner_text() == "Machine"
    page.get_by_label("Sort by").select_option("progress")
    expect(page.locator("#rows .name").first).to_have_text("worker-2")


def test_everything_is_done_with_the_keyboard_alone(visit: Opener) -> None:
    page = visit().page

    def focused() -> str:
        return str(page.evaluate("document.activeElement.textContent || document.activeElement.id"))

    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("worker")
    page.keyboard.press("ArrowDown")
    assert focused() == "worker-10"
    # The whole row shows that it is chosen.
    row = page.locator(".row", has=page.locator(".name:focus"))
    assert row.evaluate("row => getComputedStyle(row).outlineStyle") == "solid"
    page.keyboard.press("ArrowDown")
    second = focused()
    page.keyboard.press("End")
    page.keyboard.press("Home")
    assert focused() == "worker-10"
    page.keyboard.press("ArrowDown")
    assert focused() == second
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=second)
    expect(dialog).to_be_visible()
    assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert focused() == second, "the focus is back where it was"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#search")).to_have_value("")

    # With Tab every control is met, and each shows where the focus is.
    page.locator("#theme").focus()
    met = []
    while (name := page.evaluate("document.activeElement.id || document.activeElement.className")) != "name":
        met.append(name)
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", f"{name} shows the focus"
        page.keyboard.press("Tab")
    assert {"theme", "sign-out", "chip", "tile", "search", "sort"} <= set(met)


def test_a_phone_shows_cards_that_fit(visit: Opener) -> None:
    seen = visit(
        viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, device_scale_factor=2
    )
    page = seen.page
    width = "[document.documentElement.scrollWidth, innerWidth]"
    assert page.evaluate(width) == [360, 360], "nothing has to be pushed sideways"
    first = seen.row("worker-10")
    expect(first).to_contain_text("no space left on /var")
    box = first.bounding_box()
    assert box is not None
    assert box["width"] > 300
    small = page.locator("button:visible, input:visible, select:visible").evaluate_all(
        "all => all.filter(one => !one.matches('.name, .plain') && one.getBoundingClientRect().height < 28)"
        ".map(one => one.outerHTML)"
    )
    assert small == [], "everything is large enough for a finger"
    first.tap()
    expect(page.get_by_role("dialog", name="worker-10")).to_be_visible()
    assert page.evaluate(width) == [360, 360]
    page.get_by_role("button", name="Close").tap()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_colours_follow_the_system_or_the_choice_which_is_kept(visit: Opener) -> None:
    page = visit(color_scheme="dark").page

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = ground()
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert ground() != dark
    toggle = page.locator("#theme")
    toggle.click()  # light, whatever the system says
    toggle.click()  # dark
    expect(toggle).to_have_attribute("aria-label", "Colours: dark. Change")
    assert ground() == dark
    page.reload()
    assert ground() == dark
    toggle.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert page.evaluate("localStorage.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(visit: Opener, scheme: str) -> None:
    seen = visit(token=None, color_scheme=scheme)
    page = seen.page
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not open")
    measured = page.evaluate(CONTRASTS)
    seen.sign_in()
    page.locator(".chip[data-state=failed]").click()
    page.locator(".chip[data-state=failed]").click()
    measured += page.evaluate(CONTRASTS)
    # Every look that there is, also of states that no machine is in now.
    page.evaluate("""() => {
      const template = document.querySelector(".row");
      for (const state of ["failed", "discovered", "rescue", "install_pending", "installing", "installed",
                           "provisioning", "none", "approved", "ready", "retired"]) {
        const row = template.cloneNode(true);
        row.dataset.look = state;
        row.querySelector(".word").textContent = state;
        document.getElementById("rows").append(row);
        for (const chip of document.querySelectorAll(".chip")) chip.hidden = false;
      }
      document.getElementById("offline").hidden = false;
      document.getElementById("registry").hidden = false;
      document.getElementById("registry-title").textContent = "The registry has a warning";
      for (const row of document.querySelectorAll(".row")) row.style.contentVisibility = "visible";
    }""")
    measured += page.evaluate(CONTRASTS)
    page.evaluate("document.querySelectorAll('.chip').forEach(chip => chip.ariaPressed = 'true')")
    measured += page.evaluate(CONTRASTS)
    page.get_by_role("button", name="worker-10").first.click()
    expect(page.get_by_role("list", name="History").get_by_role("listitem").first).to_be_visible()
    measured += page.evaluate(CONTRASTS)
    assert len(measured) > 150
    assert [one for one in measured if one["ratio"] < one["least"]] == []


def test_who_wants_less_motion_gets_none(visit: Opener) -> None:
    page = visit(reduced_motion="reduce").page
    moving = """[...document.querySelectorAll("body *")].filter((element) => {
      const style = getComputedStyle(element);
      return style.transitionDuration !== "0s" || style.animationName !== "none";
    }).length"""
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0, "this test can tell"


def test_text_of_machines_is_never_markup(visit: Opener, client: StateApiClient) -> None:
    seen = visit()
    page = seen.page
    hostile = mac(666)
    client.report_state(
        hostile, "discovered", phase=HOSTILE, message=HOSTILE, error=HOSTILE, features={"x": HOSTILE}
    )
    row = seen.row(hostile)
    expect(row.locator(".text")).to_contain_text("<img src=x onerror")
    row.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("list", name="History")).to_contain_text("<script>")
    assert page.locator("#app img[src=x], dialog img, dialog script").count() == 0
    assert page.evaluate("window.owned") is None
    page.keyboard.press("Escape")
    client.act(hostile, "retire")
    # Should we ever make a mistake: the browser refuses to make markup from text at all.
    # It says so by an event and on the console, both after the refusal itself.
    with page.expect_console_message():
        refused = page.evaluate("try { document.createElement('p').innerHTML = '<b>'; false } catch { true }")
    assert refused
    page.wait_for_function("window.violations.length")
    assert page.evaluate("window.violations.splice(0).length") == 1
    assert len(seen.complaints) == 1
    seen.complaints.clear()


def test_registry_problems_are_shown_until_they_are_mended(
    visit: Opener, files: Files, client: StateApiClient
) -> None:
    seen = visit()
    banner = seen.page.locator("#registry")
    expect(banner).to_be_hidden()
    good = files.registry.read_text()
    bad = json.loads(good)
    bad[READY]["role"] = "king"
    bad[OTHER]["architecture"] = "abacus"
    files.registry.write_text(json.dumps(bad))
    try:
        expect(banner).to_contain_text("The registry is not valid")
        expect(banner).to_contain_text("king")
        expect(banner).to_contain_text("abacus")
        assert seen.page.locator("#registry-problems li").count() == 2
    finally:
        files.registry.write_text(good)
    expect(banner).to_be_hidden()


def test_an_operator_acts_and_a_reader_cannot(visit: Opener, client: StateApiClient) -> None:
    seen = visit()
    page = seen.page
    newcomer = mac(101)
    client.report_state(newcomer, "discovered")
    seen.row(newcomer).get_by_role("button", name="Approve").click()
    expect(page.locator("#details-answer")).to_have_text(f"{newcomer} is approved.")
    expect(page.locator("#details-state")).to_contain_text("approved")
    dialog = page.locator("#details")
    dialog.get_by_role("button", name="Lock", exact=True).click()
    expect(dialog.get_by_role("button", name="Unlock")).to_be_visible()
    expect(dialog.get_by_role("list", name="History")).to_contain_text("locked")
    assert client.machine(newcomer)["locked"] is True
    dialog.get_by_role("button", name="Retire").click()
    page.locator("#confirm").get_by_role("button", name="Cancel").click()
    assert client.machine(newcomer)["state"] == "approved"
    dialog.get_by_role("button", name="Retire").click()
    page.locator("#confirm").get_by_role("button", name="Retire").click()
    expect(page.locator("#details-state")).to_contain_text("retired")
    assert client.machine(newcomer)["state"] == "retired"
    page.keyboard.press("Escape")

    reader = visit(token=client.create_token("a-reader", "read")["token"])
    expect(reader.page.locator("#who")).to_contain_text("read only")
    assert reader.page.get_by_role("button", name="Approve").count() == 0
    reader.page.get_by_role("button", name="worker-1", exact=True).click()
    expect(reader.page.locator("#details-facts")).to_contain_text("10.88.0.2")
    assert reader.page.locator("#details-actions button").count() == 0


def test_a_reinstall_asks_for_the_host_name(visit: Opener, client: StateApiClient) -> None:
    page = visit().page
    page.get_by_role("button", name="worker-7").click()
    page.get_by_role("button", name="Reinstall").click()
    ask = page.locator("#confirm")
    page.keyboard.type("worker-1")
    page.keyboard.press("Enter")
    expect(ask.get_by_role("alert")).to_contain_text("is not worker-7")
    assert client.machine(VICTIM)["state"] == "ready"
    ask.get_by_label("type worker-7").fill("worker-7")
    page.keyboard.press("Enter")
    expect(page.locator("#details-state")).to_contain_text("install pending")
    record = client.machine(VICTIM)
    assert record["state"] == "install_pending"
    assert record["install"]["desired_id"]
    client.report_state(VICTIM, "installing")
    client.report_state(VICTIM, "installed")
    bring(client, VICTIM, "provisioning", "ready")


def test_two_at_once_are_told_and_a_mere_report_in_between_is_no_conflict(
    visit: Opener, client: StateApiClient, api: Running
) -> None:
    page = visit().page
    sent: list[Sent] = []

    def meanwhile(change: Callable[[], object]) -> Callable[[Route, Sent], None]:
        def handle(route: Route, request: Sent) -> None:
            if not sent:
                change()
            sent.append(request)
            route.continue_()

        return handle

    # Between this person's look and the arrival of the click a report comes in: the click still counts.
    page.get_by_role("button", name="worker-2").click()
    other = StateApiClient(api.url, BEARER)
    page.route(
        "**/lock", meanwhile(lambda: other.report_state(WORKING, "provisioning", phase="join", progress=86))
    )
    page.locator("#details").get_by_role("button", name="Lock", exact=True).click()
    expect(page.locator("#details-answer")).to_have_text("worker-2 is locked.")
    page.unroute("**/lock")
    sent.clear()

    # In the same moment another person retires it: nothing is done, and it is told why.
    page.route("**/unlock", meanwhile(lambda: other.act(WORKING, "retire")))
    page.locator("#details").get_by_role("button", name="Unlock").click()
    answer = page.locator("#details-answer")
    expect(answer).to_contain_text("Nothing was done")
    expect(answer).to_contain_text("it was provisioning and is retired now")
    assert client.machine(WORKING)["locked"] is True
    page.unroute("**/unlock")
    client.act(WORKING, "unlock")
    client.act(WORKING, "approve")
    client.report_state(WORKING, "provisioning", phase="prepare", progress=40, message="installing packages")


def test_an_event_stream_is_read_however_the_network_cuts_it(visit: Opener) -> None:
    page = visit(token=None).page
    text = ": comment\r\nid: 7\r\nevent: change\r\ndata: {\r\ndata:  1}\r\n\r\n"
    text += "id\ndata:x\n\n\nevent: e\n\ndata: ü\r\r"
    events = page.evaluate(
        """async (text) => {
      const { EventParser } = await import("/static/sse.js");
      const cut = (size) => {
        const parser = new EventParser();
        const events = [];
        for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
        return JSON.stringify(events);
      };
      const all = new Set(Array.from({ length: text.length }, (_, size) => cut(size + 1)));
      return [...all];
    }""",
        text,
    )
    assert [json.loads(one) for one in events] == [
        [
            {"event": "change", "id": "7", "data": "{\n 1}"},
            {"event": "message", "id": "", "data": "x"},
            {"event": "message", "id": "", "data": "ü"},
        ]
    ]


def test_the_wheel_carries_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"kubestead/dashboard/static/{file.name}" for file in STATIC.iterdir()}
    assert wanted
    assert wanted <= carried


def _sources(page: Page) -> set[str]:
    return set(
        page.evaluate("performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)")
    )


def _get(url: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
    try:
        with urlopen(Request(url, headers=headers, method=method), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_page_is_served_to_run_nothing_else_and_to_be_asked_for_anew(api: Running) -> None:
    for path in ("/", *(f"/static/{file.name}" for file in STATIC.iterdir() if file.name != "index.html")):
        status, headers, body = _get(api.url + path)
        assert (status, body != b"") == (200, True), path
        policy = set((headers["Content-Security-Policy"] or "").split("; "))
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= policy
        assert {"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-cache"
        known = {"If-None-Match": f'"other", W/{headers["ETag"]}'}
        status, headers, body = _get(api.url + path, **known)
        assert (status, body) == (304, b""), path
        status, headers, body = _get(api.url + path, method="HEAD")
        assert (status, body) == (200, b""), path
    for path in ("/static/none.js", "/static/index.html", "/static/..%2fpages.py", "/static/"):
        status, headers, body = _get(api.url + path)
        assert status == 404, path
        assert json.loads(body)["detail"]
    page = _get(api.url + "/")[2].decode()
    assert "<style" not in page
    assert re.search(r"<script(?! [^>]*src=)", page) is None
    assert re.search(r"\s(style|on\w+)=", page) is None


def test_nothing_comes_from_elsewhere(visit: Opener, api: Running) -> None:
    page = visit().page
    assert _sources(page) == {api.url}
    for file in STATIC.iterdir():
        text = file.read_text()
        assert "SPDX-License-Identifier: GPL-3.0-or-later" in text
        foreign = re.findall(r"https?://[^\s\"'<>]+", text.replace("http://www.w3.org/2000/svg", ""))
        assert foreign == [], f"{file.name} names no other host"
