import json

import click
import pytest

from longshore.cli.spec import _OPTIONS, assign, read_spec, spec_options


def given(**changes):
    """What click hands over for these flags."""

    @click.command()
    @spec_options
    def command(**values):
        pass

    return {parameter.name: () if parameter.multiple else None for parameter in command.params} | changes


def test_flags_are_the_fields_of_the_api():
    spec = read_spec(given(name="shop", replicas=3, dependencies=("db",), rollback_on_failure=False), local=False)
    assert spec == {"name": "shop", "replicas": 3, "dependencies": ["db"], "rollback_on_failure": False}


def test_flags_win_over_the_file_and_set_wins_over_flags(tmp_path):
    file = tmp_path / "deploy.toml"
    file.write_text('name = "shop"\nversion = "1"\nreplicas = 1\n[configuration]\nA = "1"\nB = "2"\n')
    spec = read_spec(
        given(file=str(file), version="2", replicas=2, env=("B=3=4",), assignments=("replicas=5",)), local=True
    )
    assert spec == {"name": "shop", "version": "2", "replicas": 5, "configuration": {"A": "1", "B": "3=4"}}


@pytest.mark.parametrize("name", ["deploy.json", "deploy.spec"])
def test_json_is_told_by_name_or_by_its_first_character(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"name": "shop", "canary": {"steps": [{"weight": 5}]}}))
    assert read_spec(given(file=str(tmp_path / name)), local=True)["canary"] == {"steps": [{"weight": 5}]}


def test_paths_in_a_file_are_relative_to_it_and_those_of_flags_to_here(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/deploy.toml").write_text('artifact_path = "dist"\nworking_directory = "run"\n')
    monkeypatch.chdir(tmp_path)
    in_file = read_spec(given(file="sub/deploy.toml"), local=True)
    assert in_file == {"artifact_path": f"{tmp_path}/sub/dist", "working_directory": f"{tmp_path}/sub/run"}
    assert read_spec(given(artifact_path="dist"), local=True) == {"artifact_path": f"{tmp_path}/dist"}


def test_paths_of_another_machine_are_sent_as_written():
    assert read_spec(given(artifact_path="dist"), local=False) == {"artifact_path": "dist"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("x=3", 3), ("x=true", True), ('x=["a"]', ["a"]), ("x=30s", "30s"), ("x=", ""), ("x=a=b", "a=b")],
)
def test_set_takes_json_and_else_the_text_itself(text, value):
    assert read_spec(given(assignments=(text,)), local=False) == {"x": value}


def test_set_reaches_into_objects_without_losing_their_other_fields():
    spec = {"canary": {"sticky": True, "analysis": {"min_requests": 1}}}
    assign(spec, ["canary", "analysis", "max_latency_ratio"], 2)
    assert spec == {"canary": {"sticky": True, "analysis": {"min_requests": 1, "max_latency_ratio": 2}}}


@pytest.mark.parametrize(
    "flags",
    [
        {"assignments": ("novalue",)},
        {"assignments": ("=1",)},
        {"assignments": ("a..b=1",)},
        {"assignments": ("name=x", "name.first=y")},
        {"env": ("NOVALUE",)},
        {"file": "/does/not/exist.toml"},
    ],
)
def test_what_cannot_be_read_is_a_usage_error(flags):
    with pytest.raises(click.UsageError):
        read_spec(given(**flags), local=True)


@pytest.mark.parametrize(("name", "text"), [("a.toml", "a = "), ("a.json", "{"), ("a.json", "[1]")])
def test_a_file_that_is_no_specification_is_a_usage_error_naming_it(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(click.UsageError, match=name):
        read_spec(given(file=str(tmp_path / name)), local=True)


def test_every_field_of_the_specification_has_a_flag_or_is_an_object():
    from dataclasses import fields, is_dataclass

    from longshore.model import Spec

    flags = set(given()) | {"configuration", "host_labels"}  # objects, too: maps of strings
    objects = {field.name for field in fields(Spec) if is_dataclass(field.default)}
    assert {field.name for field in fields(Spec)} - objects - flags == set()
    assert len(_OPTIONS) == len(given())
