"""Every row of the table of routes: documented, guarded, counted as it says, and true to its models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from longshore.api import schemas
from longshore.api.openapi import asyncapi, openapi
from longshore.api.routes import BODY_NAMES, PROGRESS_PATH, ROUTES, Row
from longshore.api.settings import RateLimits
from longshore.api.wire_request import BODIES, DEPLOY_FIELDS
from support.api_client import app_of, client_of
from support.fake_service import FakeService, spec

DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")

rows = pytest.mark.parametrize("row", ROUTES, ids=lambda row: f"{row.method} {row.path}")
streams = ("text/event-stream",)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi("0.0.1")


@pytest.fixture
def service(tmp_path: Path) -> FakeService:
    return FakeService(root=tmp_path)


@pytest.fixture
def app(service: FakeService) -> FastAPI:
    return app_of(service)


def path_of(row: Row, name: str = "shop") -> str:
    return row.path.format(
        name=name, rollout_id="r-1", version="1.0", environment="live", token="ci", webhook="chat", delivery="msg_1"
    )


async def call(client: httpx2.AsyncClient, row: Row, name: str = "shop") -> httpx2.Response:
    bodies = {
        "scale": {"replicas": 5},
        "change": {"replicas": 5},
        "create_token": {"name": "ben", "role": "read"},
    }
    body = spec(name) if row.name in ("deploy", "validate", "plan") else bodies.get(row.name)
    return await client.request(row.method, path_of(row, name), json=body)


# ----------------------------------------------------------------------------------------------- the table


def test_the_names_of_routes_are_unique() -> None:
    assert len({row.name for row in ROUTES}) == len(ROUTES)


def test_every_body_belongs_to_a_route_and_has_a_name() -> None:
    assert set(BODIES) == set(BODY_NAMES) <= {row.name for row in ROUTES}


@rows
def test_every_route_has_a_section_in_the_docs(row: Row) -> None:
    assert f"`{row.method} {row.path}`" in DOCS


@pytest.mark.parametrize("name", DEPLOY_FIELDS)
def test_every_field_of_a_deploy_is_in_the_docs(name: str) -> None:
    assert re.search(rf"^\| `{name}` ", DOCS, re.MULTILINE)


def test_the_websocket_has_a_section_in_the_docs() -> None:
    assert f"`{PROGRESS_PATH}`" in DOCS


# ----------------------------------------------------------------------------------------------- guard


@rows
async def test_every_route_asks_for_a_token_unless_it_is_open_to_all(app: FastAPI, row: Row) -> None:
    async with client_of(app, authenticated=False) as client:
        answer = await call(client, row)
    assert (answer.status_code == 401) is not row.open_to_all
    if not row.open_to_all:
        assert answer.json()["error"]["code"] == "UNAUTHORIZED"


@rows
async def test_every_route_counts_against_the_class_it_says(service: FakeService, row: Row) -> None:
    if row.media in streams:
        pytest.skip("endless; not limited, as its row says")
    limits = RateLimits(1, 1, 1)
    async with client_of(app_of(service, rate_limits=limits)) as client:
        answers = [await call(client, row) for _ in range(3)]
    limited = [answer.status_code == 429 for answer in answers]
    assert limited == ([False, True, True] if row.limited else [False, False, False])
    if row.limited:
        assert f'"{row.limited}"' in answers[0].headers["ratelimit-policy"]
        assert int(answers[1].headers["retry-after"]) > 0


@rows
async def test_every_route_of_a_deployment_answers_404_in_the_envelope_where_there_is_none(
    app: FastAPI, row: Row
) -> None:
    if "{name}" not in row.path:
        pytest.skip("is about no one deployment")
    async with client_of(app) as client:
        answer = await call(client, row, "nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DEPLOYMENT_NOT_FOUND")


@rows
async def test_every_route_refuses_other_methods_with_405(app: FastAPI, row: Row) -> None:
    async with client_of(app) as client:
        answer = await client.request("PROPFIND", path_of(row))
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert row.method in answer.headers["allow"].split(", ")


@rows
async def test_every_answer_is_what_the_models_say_and_nothing_else(app: FastAPI, row: Row) -> None:
    if row.media in streams:
        pytest.skip("has its own tests")
    async with client_of(app) as client:
        await client.post("/api/v1/deployments", json=spec(configuration={"A": "b"}))
        await client.post("/api/v1/deployments", json=spec(version="2.0"))
        answer = await call(client, row)
    assert answer.headers["content-type"].startswith(row.media)
    model = row.answers[answer.status_code]
    if model is not None:
        check_exactly(getattr(schemas, model), answer.json())


def check_exactly(model: type[BaseModel], body: Any) -> None:
    """Valid, and without a key that the model does not know."""
    model.model_validate(body, strict=False, extra="forbid")


# ----------------------------------------------------------------------------------------------- the documents


def test_the_openapi_document_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


@rows
def test_every_route_is_in_the_openapi_document_with_an_envelope_for_errors(document: dict[str, Any], row: Row) -> None:
    operation = document["paths"][row.path][row.method.lower()]
    assert operation["operationId"] == row.name
    assert operation["summary"] == row.summary
    assert operation["description"]
    assert "422" not in operation["responses"]
    assert operation["responses"]["default"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")
    assert ("security" in operation) is row.open_to_all


def test_there_is_no_trace_of_the_frameworks_own_errors(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize("name", sorted(set(BODY_NAMES.values())))
def test_the_examples_of_bodies_fit_their_schemas(document: dict[str, Any], name: str) -> None:
    schema = document["components"]["schemas"][name]
    for example in schema["examples"]:
        jsonschema.validate(example, schema)


@pytest.mark.parametrize("name", DEPLOY_FIELDS)
def test_the_example_of_every_field_fits_its_schema(document: dict[str, Any], name: str) -> None:
    schema = document["components"]["schemas"]["DeployRequest"]["properties"][name]
    for example in schema.get("examples", []):
        jsonschema.validate(example, schema)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi("1")
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        part: Any = document
        for key in reference.split("/"):
            part = part[key]
    assert document["channels"]["progress"]["address"] == PROGRESS_PATH


async def test_the_documents_are_served_as_they_are(app: FastAPI, document: dict[str, Any]) -> None:
    async with client_of(app) as client:
        assert (await client.get("/openapi.json")).json() == document
        assert (await client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"


async def test_the_docs_page_loads_nothing_from_elsewhere(app: FastAPI) -> None:
    async with client_of(app) as client:
        answer = await client.get("/docs")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"(https?:)?//[a-z]", answer.text)
