# SPDX-License-Identifier: GPL-3.0-or-later
"""What the viewers of the event stream see: all machines at one moment, and the frames that tell of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kubestead.store import Event, MachineRecord

from .frames import Frame, event
from .live_registry import Content
from .views import event_view, machine_view

Macs = frozenset[str] | None  # None: all machines


class Picture:
    """All machines as they are at the event `position`; each is made JSON once for all who look."""

    def __init__(self, position: int, records: Mapping[str, MachineRecord], content: Content) -> None:
        """Begin with what store and registry hold."""
        self.position = position
        self.content = content
        self._records = dict(records)
        self._shown: dict[str, str] = {}
        self._snapshot: Frame | None = None
        self._draw(dict.fromkeys([*content.machines, *self._records]))

    def update(
        self, position: int, records: Mapping[str, MachineRecord], content: Content
    ) -> set[str] | None:
        """Take changes over; give the MACs of the machines that have changed.

        None where other machines are there than before, or in another order: a new snapshot says that.
        """
        before, self.content, self.position = self.content, content, position
        self._records.update(records)
        changed = set(records)
        if content is not before:
            if list(content.machines) != list(before.machines):
                self._shown.clear()
                self._draw(dict.fromkeys([*content.machines, *self._records]))
                return None
            changed |= {mac for mac, machine in content.machines.items() if before.machines[mac] != machine}
        self._draw(changed)
        return changed

    def snapshot(self, macs: Macs) -> Frame:
        """The frame that shows all, or some."""
        if macs is not None:
            return self._frame_of_all(self._picked(macs))
        if self._snapshot is None:
            self._snapshot = self._frame_of_all(self._shown.values())
        return self._snapshot

    def change(
        self,
        macs: Macs,
        changed: Iterable[str],
        events: Iterable[Event],
        registry: Mapping[str, Any] | None = None,
    ) -> Frame | None:
        """The frame that tells of changes, None where none is about `macs`."""
        mine = self._picked(mac for mac in changed if macs is None or mac in macs)
        told = _chosen(events, macs)
        if not mine and not told and registry is None:
            return None
        data = f'{{"machines":{{{",".join(mine)}}},"events":{_json(told)}'
        data += f',"registry":{_json(registry)}}}' if registry is not None else "}"
        return self._frame("change", data)

    def _draw(self, macs: Iterable[str]) -> None:
        self._snapshot = None
        for mac in macs:
            view = machine_view(mac, self.content.machines.get(mac), self._records.get(mac))
            self._shown[mac] = f'"{mac}":{_json(view)}'

    def _picked(self, macs: Iterable[str]) -> list[str]:
        return [self._shown[mac] for mac in macs if mac in self._shown]

    def _frame_of_all(self, shown: Iterable[str]) -> Frame:
        registry = _json(self.content.summary())
        return self._frame("snapshot", f'{{"machines":{{{",".join(shown)}}},"registry":{registry}}}')

    def _frame(self, kind: str, data: str) -> Frame:
        return event(kind, self.position, data)


def _chosen(events: Iterable[Event], macs: Macs) -> list[dict[str, Any]]:
    """What is told of events: all but those reports that a later one of the same machine replaces."""
    last = {each.mac: each.id for each in events if each.kind == "report"}
    return [
        event_view(each)
        for each in events
        if (macs is None or each.mac in macs) and (each.kind != "report" or last[each.mac] == each.id)
    ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
