# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths, by concern. Handlers that wait for the disk run in threads; those of the hot paths do not."""

from kubestead.api.access import GuardedRoute, Section

from . import (
    backup,
    claims,
    data,
    enrolments,
    events,
    exchange,
    health,
    machines,
    metrics,
    registry,
    states,
    tokens,
)

SECTIONS: tuple[Section, ...] = (
    health.section,
    states.section,
    data.section,
    machines.section,
    exchange.section,
    enrolments.section,
    events.section,
    registry.section,
    tokens.section,
    claims.section,
    backup.section,
    metrics.section,
)


def all_routes() -> list[GuardedRoute]:
    """Every path of the API, in the order of its documentation."""
    return [route for section in SECTIONS for route in section.routes]
