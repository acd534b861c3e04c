"""Every document holds what it refers to: links, files, commands, examples."""

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from longshore.api.wire_request import parse_request
from longshore.cli.root import COMMANDS, cli
from longshore.settings import load
from support.documents import (
    DOCUMENTS,
    ROOT,
    blocks_of,
    commands_of,
    headings_of,
    links_of,
    prose_of,
    slug,
    spans,
)

every_document = pytest.mark.parametrize("name", DOCUMENTS)

#: a file or directory of this repository, as prose names it
_TOP = re.compile(r"(?:src|tests|docs|benchmarks|requirements|\.ci)/[\w./-]*")
_SOURCE = re.compile(r"[\w/]+\.(?:py|sql)")
#: documents whose short file names are those of the sources
ABOUT_THE_SOURCES = [name for name in DOCUMENTS if re.match(r"docs/(architecture|glossary|adr/|checklists/)", name)]
#: stand for a name of the reader's choice
PLACEHOLDERS = ("NAME", "new-")


@every_document
def test_links_lead_to_something(name):
    for target in links_of(name):
        path, _, anchor = target.partition("#")
        place = (DOCUMENTS[name].parent / path).resolve() if path else DOCUMENTS[name]
        assert place.exists(), target
        if anchor:
            known = {slug(heading) for heading in headings_of(str(place.relative_to(ROOT)))}
            assert anchor in known, target


@every_document
def test_nothing_of_a_merge_is_left_in_it(name):
    assert not re.findall(r"^(?:<{7} .*|={7}|>{7} .*)$", DOCUMENTS[name].read_text(), re.MULTILINE)


@every_document
def test_files_that_are_named_exist(name):
    for span in spans(prose_of(name)):
        if _TOP.fullmatch(span) and not any(word in span for word in PLACEHOLDERS):
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("name", ABOUT_THE_SOURCES)
def test_source_files_that_are_named_exist(name):
    for span in spans(prose_of(name)):
        if _SOURCE.fullmatch(span) and not any(word in span for word in PLACEHOLDERS):
            here = (ROOT / span).exists()
            assert here or any((ROOT / "src/longshore").glob(f"**/{span}")), span


@every_document
def test_commands_exist_with_their_options(name):
    for line in commands_of(name):
        words = shlex.split(line, comments=True)[1:]
        if words[0] in ("--version", "--help"):
            continue
        command = COMMANDS[words[0]]
        if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
            command = command.commands[words[1]]
        known = {option for param in (*command.params, *cli.params) for option in param.opts + param.secondary_opts}
        used = {word.partition("=")[0] for word in words[1:] if word.startswith("-") and word not in ("-", "&")}
        assert used <= known | {"-h", "--help"}, line


@every_document
def test_commands_in_prose_exist(name):
    named = {span.split()[1] for span in spans(prose_of(name)) if re.match(r"longshore [a-z]+\b", span)}
    assert named <= COMMANDS.keys()


@every_document
def test_targets_of_make_exist(name):
    makefile = (ROOT / "Makefile").read_text()
    for target in {span.split()[1] for span in spans(prose_of(name)) if re.fullmatch(r"make [a-z]+", span)}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@every_document
def test_examples_of_data_can_be_read(name):
    for body in blocks_of(name, "json"):
        json.loads(body)
    for body in blocks_of(name, "toml"):
        tomllib.loads(body)
    for body in blocks_of(name, "ini"):
        configparser.ConfigParser(strict=False, interpolation=None).read_string(body)


@every_document
def test_examples_in_python_compile(name):
    for body in blocks_of(name, "python"):
        compile(body, name, "exec")


def test_the_configuration_of_the_operations_guide_is_one(tmp_path):
    (body,) = blocks_of("docs/operations.md", "toml")
    file = tmp_path / "longshore.toml"
    file.write_text(body)
    settings = load(file)
    for environment in settings.environments.values():
        assert not parse_request(environment.defaults, require=()).issues


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/*/longshore.toml")), ids=lambda path: path.parent.name)
def test_the_specification_of_an_example_is_one(file):
    assert not parse_request(tomllib.loads(file.read_text())).issues


def test_the_first_deploy_shows_the_example_as_it_is():
    (shown,) = (tomllib.loads(body) for body in blocks_of("docs/guide/first-deploy.md", "toml"))
    real = tomllib.loads(Path(ROOT / "examples/python-shop/longshore.toml").read_text())
    assert shown == {key: real[key] for key in shown}
