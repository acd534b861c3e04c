import json
import os
import subprocess

import pytest

from longshore.client import ClientError, Longshore, ManagerUnreachable, discover


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:8300", "pid": 1}))
    (tmp_path / "admin.token").write_text("from-file\n")
    return tmp_path


def find(data_dir, environ=(), **given):
    endpoint = discover(given.get("url"), given.get("token"), data_dir, environ=dict(environ))
    return endpoint.url, endpoint.token


def test_the_data_directory_says_where_the_manager_is(data_dir):
    assert find(data_dir) == ("http://127.0.0.1:8300", "from-file")


def test_the_environment_wins_over_the_data_directory(data_dir):
    environ = {"LONGSHORE_URL": "http://127.0.0.1:1/", "LONGSHORE_TOKEN": "from-env"}
    assert find(data_dir, environ) == ("http://127.0.0.1:1", "from-env")


def test_arguments_win_over_the_environment(data_dir):
    environ = {"LONGSHORE_URL": "http://127.0.0.1:1", "LONGSHORE_TOKEN": "from-env"}
    assert find(data_dir, environ, url="https://m.example", token="t") == ("https://m.example", "t")


def test_the_environment_names_the_data_directory(data_dir):
    assert discover(environ={"LONGSHORE_DATA_DIR": str(data_dir)}).token == "from-file"


def test_the_token_of_this_machine_is_never_sent_to_another(data_dir):
    assert find(data_dir, url="https://m.example") == ("https://m.example", None)


def test_the_token_of_this_machine_is_sent_to_this_machine(data_dir):
    assert find(data_dir, url="http://localhost:9")[1] == "from-file"


def test_no_manager_known_says_where_it_was_looked_for_and_what_to_do(tmp_path):
    with pytest.raises(ManagerUnreachable, match=r"server\.json.*longshore serve.*LONGSHORE_URL"):
        discover(data_dir=tmp_path, environ={})


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense"])
def test_a_broken_server_json_is_named(tmp_path, content):
    (tmp_path / "server.json").write_text(content)
    with pytest.raises(ManagerUnreachable, match="cannot be understood"):
        discover(data_dir=tmp_path, environ={})


@pytest.mark.parametrize("url", ["127.0.0.1:8300", "ftp://x", "http://", "http://u:p@x", "http://x/?a=b"])
def test_a_url_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(ClientError):
        discover(url, data_dir=tmp_path, environ={})


@pytest.mark.parametrize(("url", "local"), [("http://127.0.0.9", True), ("http://[::1]:1", True),
                                            ("http://app.localhost", True), ("http://10.0.0.1", False)])  # fmt: skip
def test_loopback_is_told_by_the_name_alone(tmp_path, url, local):
    assert discover(url, data_dir=tmp_path, environ={}).is_local is local


def test_a_manager_whose_process_has_ended_is_told_from_one_that_is_silent(tmp_path, monkeypatch):
    monkeypatch.delenv("LONGSHORE_URL", raising=False)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": ended.pid}))
    with (
        Longshore(data_dir=tmp_path) as client,
        pytest.raises(ManagerUnreachable, match=rf"process {ended.pid}, named in .*server\.json, has ended"),
    ):
        client.get("shop")
    (tmp_path / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid()}))
    assert not discover(data_dir=tmp_path, environ={}).is_stale
