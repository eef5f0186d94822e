"""Whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

import json
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.integration.conftest import Running

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
WITH_INPUT = [(path, method) for path, method in OPERATIONS if "requestBody" in DOCUMENT["paths"][path][method]]
EXAMPLES = 60
NO_PROMISE = [positive_data_acceptance, not_a_server_error]
"""Bytes that the document allows may be no picture, and a deadline that it allows too short."""


@pytest.fixture(scope="module")
def schema(stack: Running) -> Any:
    """The document, from the gateway that serves it."""
    return schemathesis.openapi.from_url(f"{stack.stack.gateway_url}/openapi.json")


def test_the_gateway_serves_the_document_that_is_published(schema: Any) -> None:
    assert schema.raw_schema["paths"] == DOCUMENT["paths"]


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [*((*each, "POSITIVE") for each in OPERATIONS), *((*each, "NEGATIVE") for each in WITH_INPUT)],
)
def test_an_operation_does_what_the_document_says(schema: Any, path: str, method: str, mode: str) -> None:
    operation = schema[path][method.upper()]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    def asked(case: Any) -> None:
        response = case.call()
        assert response.status_code < 500 or "deadline_exceeded" in response.text, response.text
        case.validate_response(response, excluded_checks=NO_PROMISE)

    asked()
