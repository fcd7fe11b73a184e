# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine, with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from .events import event_lines
from .output import lines, one_line
from .views import View, age, state_of, state_text, until


def machine_details(
    view: View, newest_first: Sequence[dict[str, Any]], more: Sequence[tuple[str, str]] = ()
) -> list[Text]:
    """A line for each thing that is known of a machine, and its last events."""
    facts: list[tuple[str, str | Text]] = [
        ("hostname", one_line(view["hostname"] or "- (not in the registry)")),
        ("MAC", one_line(view["mac"])),
        ("role", one_line(view["role"] or "-")),
        ("address", one_line(view["ip"] or view["address"] or "-")),
        ("system", one_line(" ".join(str(view[key]) for key in ("os", "architecture") if view[key]) or "-")),
        ("cluster", one_line(view["cluster"] or "-")),
        ("state", _state(view)),
        ("phase", one_line(view["phase"] or "-")),
        ("progress", "-" if view["progress"] is None else f"{view['progress']} %"),
        ("message", lines(view["message"] or "-")),
    ]
    if view["error"]:
        facts.append(("error", Text(lines(view["error"]), "red")))
    facts.append(("reported", f"{view['updated_at'] or ''} ({age(view['updated_at'])})".strip()))
    if view["deadline_at"]:
        facts.append(("deadline", f"{view['deadline_at']} ({until(view['deadline_at'])})"))
    status = view["feature_status"]
    for feature in dict.fromkeys([*view["features"], *status]):
        facts.append((f"feature {one_line(feature)}", one_line(status.get(feature, "-"))))
    facts += more
    margin = max(len(name) for name, _ in facts) + 2
    found = []
    for name, value in facts:
        line = Text(name.ljust(margin), "bold")
        # Further lines of a message stand below its first.
        plain = value if isinstance(value, Text) else Text(value)
        indented = Text(f"\n{' ' * margin}").join(plain.split("\n"))
        found.append(Text.assemble(line, indented))
    if newest_first:
        found += [Text(), Text("Last events", "bold"), *event_lines(list(reversed(newest_first)), {})]
    return found


def _state(view: View) -> Text:
    text = state_text(state_of(view))
    if view["since"]:
        text.append(f" since {view['since']} ({age(view['since'])})", "default")
    if view["locked"]:
        text.append(", locked", "bold")
    return text
