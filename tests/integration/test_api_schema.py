# SPDX-License-Identifier: GPL-3.0-or-later
"""The API against its own description: no fault, and no answer that is not described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from kubestead.api.app import create_app
from kubestead.api.routes import all_routes
from tests.integration.server_sample import served
from tests.unit.api_sample import BEARER, Files, bearer

load_all_checks()
# What a registry may say and what its entries are now, and which tokens have a MAC, no schema can tell.
MORE_THAN_A_SHAPE = {
    ("PUT", "/api/registry"),
    ("PUT", "/api/registry/machines/{mac}"),
    ("DELETE", "/api/registry/machines/{mac}"),
    ("POST", "/api/tokens"),
}
EXAMPLES = 20

OPERATIONS = [(method, route.path) for route in all_routes() for method in sorted(route.methods or ())]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API's own description of itself, read from it."""
    settings = Files.make(tmp_path_factory.mktemp("api")).settings(rate=1_000_000)
    app = create_app(settings)
    with served(app, settings) as server:
        app.state.stream.stop()  # a stream would not end by itself
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_only_what_is_described_is_answered(
    schema: Any, session: requests.Session, method: str, path: str, mode: GenerationMode
) -> None:
    operation = schema[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        case.call_and_validate(
            session=session,
            headers=bearer(BEARER),
            timeout=30,
            excluded_checks=[positive_data_acceptance] if (method, path) in MORE_THAN_A_SHAPE else [],
        )

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing can be asked in a wrong way where nothing is given"
