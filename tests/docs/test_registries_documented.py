"""Whatever can be named has its place in the documentation, and what stands there is true of it."""

import dataclasses
import re
from pathlib import Path
from typing import get_origin

import pytest
from pydantic import BaseModel

from longshore.api.routes import PROGRESS_PATH, ROUTES
from longshore.api.wire_request import DEPLOY_FIELDS
from longshore.artifacts import ARTIFACTS
from longshore.drivers import DRIVERS
from longshore.durations import parse_duration
from longshore.errors import LeaseLost, LongshoreError
from longshore.freezes import Freeze
from longshore.health.probes import PROBES
from longshore.model import (
    Analysis,
    BlueGreen,
    Canary,
    CanaryCheck,
    HealthCheck,
    Recreate,
    Role,
    Rolling,
    RolloutStatus,
    Spec,
)
from longshore.rollout.analysis.checks import CHECKS
from longshore.rollout.analysis.judge import CHARGES
from longshore.rollout.steps import STEPS, far_commands, hooks, variables
from longshore.rollout.strategies import STRATEGIES
from longshore.routers import ROUTERS
from longshore.routers.endpoints import FORMATS as ENDPOINT_FORMATS
from longshore.settings import Endpoints, Environment, Settings
from longshore.store.sqlite import SchemaTooNew
from longshore.webhooks.events import EVENTS
from longshore.webhooks.formats import FORMATS
from longshore.webhooks.receiver import Webhook
from support.documents import DOCS, headings_of, row_of, rows_of, spans, text_of

#: settings whose default is worked out, and told in words
TOLD_IN_WORDS = {
    "data_dir", "router.envoy_path", "environments.NAME.user", "environments.NAME.defaults", "environments.NAME.freeze",
    "environments.NAME.apps",
    "environments.NAME.hosts", "environments.NAME.ssh.known_hosts", "environments.NAME.ssh.key",
    "environments.NAME.endpoints", "environments.NAME.endpoints.file", "environments.NAME.endpoints.reload",
    "webhooks.name", "webhooks.url", "webhooks.events", "webhooks.environments", "webhooks.secret",
    "webhooks.secret_file",
}  # fmt: skip
#: what a step that is not undone has in its last cell
NOT_UNDONE = {"", "after the commit", "hooks are not undone"}
KINDS = (
    "strategy", "step", "driver", "router", "artifact-kind", "endpoint", "error", "probe", "setting", "webhook-format",
)  # fmt: skip


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, object]:
    """Dotted name → default, of a section and those below it."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
            found |= settings_of(annotation, f"{prefix}{name}.")
        elif prefix + name == "environments.NAME.endpoints":
            found |= {prefix + name: None, **settings_of(Endpoints, f"{prefix}{name}.")}
        elif prefix + name == "environments":
            found |= settings_of(Environment, "environments.NAME.")
        elif name == "webhooks":
            found |= settings_of(Webhook, "webhooks.")
        else:
            found[prefix + name] = field.default
    return found


SETTINGS = settings_of(Settings)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_a_row_with_its_default(name):
    default = row_of("docs/operations.md", name)[1]
    if name not in TOLD_IN_WORDS:
        value = SETTINGS[name]
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        assert spans(default)[0] in (shown, f"{value:g}" if isinstance(value, float) else shown)


def test_no_row_is_left_of_a_setting_that_is_gone():
    settings = {row[0].strip("`") for row in rows_of("docs/operations.md") if row[0].startswith("`")}
    known = {name for name in settings if "." in name or name in SETTINGS}
    assert {name for name in known if not name.startswith("longshore_")} <= SETTINGS.keys()


def errors_of(kind: type[LongshoreError]) -> set[tuple[str, int]]:
    return {(kind.code, kind.status)}.union(*(errors_of(below) for below in kind.__subclasses__()))


@pytest.mark.parametrize(("code", "status"), sorted(errors_of(LongshoreError)))
def test_every_error_code_has_a_row_with_its_status(code, status):
    rows = [row for row in rows_of("docs/api.md") if code in spans(row[0])]
    assert str(status) in {row[1] for row in rows}


def test_errors_that_never_reach_a_client_bring_no_code_of_their_own():
    for kind in (LeaseLost, SchemaTooNew):
        assert kind.code == LongshoreError.code


@pytest.mark.parametrize("row", ROUTES, ids=lambda row: f"{row.method} {row.path}")
def test_every_route_has_a_heading(row):
    assert f"`{row.method} {row.path}`" in headings_of("docs/api.md")


def test_the_socket_is_described():
    assert f"WebSocket `{PROGRESS_PATH}`" in text_of("docs/api.md")


@pytest.mark.parametrize("name", DEPLOY_FIELDS)
def test_every_field_of_a_deploy_has_a_row(name):
    assert row_of("docs/api.md", name)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_a_section_and_a_column(name):
    assert name in headings_of("docs/guide/strategies.md")
    assert f"[{name}](#{name})" in rows_of("docs/guide/strategies.md")[0]


@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_a_row_that_says_whether_it_is_undone(name):
    undo = row_of("docs/guide/strategies.md", name)[2]
    has_undo = STEPS[name].undo is not STEPS[name].__mro__[1].undo
    assert (undo not in NOT_UNDONE) == has_undo


def knobs() -> dict[str, object]:
    """Dotted name → default, of what only one strategy asks for; steps of a canary are told in words."""
    groups = {"rolling": Rolling, "blue_green": BlueGreen, "recreate": Recreate, "canary.analysis": Analysis}
    found = {f"{group}.{name}": getattr(kind(), name) for group, kind in groups.items() for name in kind.__slots__}
    return {**found, "canary.sticky": Canary().sticky, "drain_timeout": Spec("", "", "").drain_timeout}


@pytest.mark.parametrize(("name", "default"), knobs().items())
def test_every_knob_of_a_strategy_has_a_row_with_its_default(name, default):
    page = "docs/guide/canary.md" if name.startswith("canary.analysis.") else "docs/guide/strategies.md"
    if name == "rolling.serial":
        assert row_of(page, name)[1] == "none"
        return
    shown = spans(row_of(page, name)[1])[0].strip('"')
    same = shown == str(default).lower() or shown == f"{default:g}" if isinstance(default, bool | int) else False
    assert same or shown == str(default) or parse_duration(shown) == default


def test_the_steps_of_a_canary_are_the_default_ones():
    steps = Canary().steps
    weights = ", ".join(str(step.weight) for step in steps)
    (pause,) = {step.pause for step in steps}
    assert row_of("docs/guide/strategies.md", "canary.steps")[1] == f"{weights} %, `{pause:g}s` each"


@pytest.mark.parametrize("name", CHARGES)
def test_every_charge_against_a_candidate_is_told_of(name):
    assert f"`{name}`" in text_of("docs/guide/canary.md").partition("## What is held against")[2]


@pytest.mark.parametrize("kind", CHECKS)
def test_every_kind_of_check_of_a_candidate_has_a_row(kind):
    assert any(row[0] == f"`{kind}`" and len(row) == 4 for row in rows_of("docs/guide/canary.md"))


@pytest.mark.parametrize("field", dataclasses.fields(CanaryCheck), ids=lambda field: field.name)
def test_every_key_of_a_check_of_a_candidate_has_a_row_with_its_default(field):
    rows = [row for row in rows_of("docs/guide/canary.md") if f"`{field.name}`" in row[0] and len(row) == 3]
    assert rows
    if field.name in ("interval", "timeout"):
        assert parse_duration(spans(rows[0][1])[0]) == field.default
    elif field.default and field.default is not dataclasses.MISSING:
        assert spans(rows[0][1])[0] == str(field.default)


@pytest.mark.parametrize("name", HealthCheck.__slots__)
def test_every_key_of_the_health_check_has_a_row_with_its_default(name):
    shown = spans(row_of("docs/guide/health-checks.md", name)[1])[0]
    assert parse_duration(shown) == getattr(HealthCheck(), name)


@pytest.mark.parametrize(
    ("document", "heading", "names"),
    [
        ("docs/guide/running-apps.md", "Driver `{}`", DRIVERS),
        ("docs/guide/running-apps.md", "Check `{}`", PROBES),
        ("docs/guide/traffic.md", "{}", ROUTERS),
        ("docs/guide/traffic.md", "{}", ENDPOINT_FORMATS),
        ("docs/guide/artifacts.md", "{}", ARTIFACTS),
        ("docs/guide/webhooks.md", "Format `{}`", FORMATS),
    ],
    ids=["drivers", "probes", "routers", "formats of endpoints", "artifacts", "formats of webhooks"],
)
def test_every_key_of_a_registry_has_a_section(document, heading, names):
    headings = headings_of(document)
    assert [name for name in names if heading.format(name) not in headings] == []


@pytest.mark.parametrize("role", Role)
def test_every_role_has_a_row(role):
    assert row_of("docs/guide/access.md", str(role))


@pytest.mark.parametrize("name", Freeze.model_fields)
def test_every_key_of_a_freeze_window_has_a_row_with_its_default(name):
    default, field = row_of("docs/guide/access.md", name)[1], Freeze.model_fields[name]
    shown = "required" if field.is_required() else f"`{field.default}`" if field.default else "none"
    assert default == shown


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_of_a_webhook_has_a_row(name):
    assert row_of("docs/guide/webhooks.md", name)


@pytest.mark.parametrize("name", ARTIFACTS)
def test_every_artifact_kind_has_a_row(name):
    assert row_of("docs/guide/artifacts.md", name)


@pytest.mark.parametrize("name", [status for status in RolloutStatus if status != "succeeded"])
def test_every_way_a_rollout_may_be_found_in_has_a_remedy(name):
    assert [row for row in rows_of("docs/operations.md") if name in spans(row[0])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_addition_has_a_checklist(kind):
    assert (DOCS / "checklists" / f"new-{kind}.md").is_file()


def test_every_variable_of_a_hook_has_a_row():
    sources = "".join(Path(module.__file__).read_text("utf-8") for module in (hooks, far_commands, variables))
    given = set(re.findall(r'"(DEPLOYMENT_[A-Z_]+)"', sources))
    assert given == {key for row in rows_of("docs/guide/hooks.md") for key in spans(row[0]) if key.startswith("DEPL")}
