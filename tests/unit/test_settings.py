"""File, environment, flags: the later ones first, and whatever is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from longshore.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("LONGSHORE_"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "longshore.toml"
    path.write_text(text)
    return path


def test_without_anything_the_defaults_hold() -> None:
    settings = load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8300)
    assert (settings.rate_limits.deploy, settings.rate_limits.status, settings.rate_limits.list) == (5, 100, 50)
    assert settings.keep_releases == 5
    assert settings.environment("default").driver == "process"
    assert settings.environment("default").router == "envoy"


def test_flags_beat_the_environment_and_that_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, 'keep_releases = 7\nkeep_events = 70\nlog_level = "debug"\n')
    monkeypatch.setenv("LONGSHORE_KEEP_RELEASES", "8")
    monkeypatch.setenv("LONGSHORE_KEEP_EVENTS", "80")
    settings = load(path, {"keep_releases": 9, "log_level": None})
    assert (settings.keep_releases, settings.keep_events, settings.log_level) == (9, 80, "debug")


def test_nested_settings_are_tables_in_the_file_and_double_underscores_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[rate_limits]\ndeploy = 9\nlist = 0\n[artifacts]\nmax_entries = 10\n")
    monkeypatch.setenv("LONGSHORE_RATE_LIMITS__DEPLOY", "0")
    settings = load(path)
    assert (settings.rate_limits.deploy, settings.rate_limits.list, settings.rate_limits.status) == (0, 0, 100)
    assert settings.artifacts.limits().max_entries == 10


def test_an_empty_variable_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGSHORE_LISTEN", "")
    assert load().listen == "127.0.0.1:8300"


def test_a_file_read_once_does_not_leak_into_the_next(tmp_path: Path) -> None:
    load(written(tmp_path, "keep_releases = 7\n"))
    assert load().keep_releases == 5


def test_environments_are_named_in_the_file_and_any_other_runs_here(tmp_path: Path) -> None:
    path = written(tmp_path, '[environments.live]\nrouter = "none"\n[environments.live.defaults]\nreplicas = 3\n')
    settings = load(path)
    assert settings.environment("live").router == "none"
    assert settings.environment("live").defaults == {"replicas": 3}
    assert settings.environment("other").router == "envoy"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("keep_release = 7\n", "keep_release: Extra inputs"),
        ("[rate_limits]\ndeploys = 7\n", "rate_limits.deploys: Extra inputs"),
        ("[rate_limits]\ndeploy = -1\n", "rate_limits.deploy: "),
        ("keep_releases = 0\n", "keep_releases: "),
        ('listen = "8300"\n', "listen: .*HOST:PORT"),
        ('listen = "localhost:"\n', "listen: .*HOST:PORT"),
        ('listen = ":8300"\n', "listen: .*HOST:PORT"),
        ('listen = "localhost:70000"\n', "listen: .*HOST:PORT"),
        ('instance_ports = "80-90"\n', "instance_ports: .*1024-65535"),
        ('instance_ports = "30000-20000"\n', "instance_ports: .*1024-65535"),
        ('instance_ports = "20000"\n', "instance_ports: .*1024-65535"),
        ('[environments.live]\ndriver = "docker"\n', "environments.live.driver: "),
        ('log_level = "loud"\n', "log_level: "),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('# c\nlisten = "x"\n', r"longshore\.toml:2: listen: .*HOST:PORT"),
        ("[rate_limits]\n\ndeploys = 7\n", r"longshore\.toml:3: rate_limits\.deploys: "),
        ('[[environments.live.freeze]]\ncron = "soon"\nduration = "1h"\n', r"\.toml:2: .*freeze\.0\.cron: .*no cron"),
        ('[[environments.live.freeze]]\ncron = "0 0 * * *"\n', r"\.toml:1: .*freeze\.0\.duration: Field required"),
        (
            '[[environments.live.freeze]]\ncron = "0 0 * * *"\nduration = "1h"\ntime_zone = "Mars"\n',
            r"\.toml:4: .*freeze\.0\.time_zone: .*no time zone",
        ),
    ],
)
def test_what_does_not_fit_in_the_file_is_named_by_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load(written(tmp_path, text))


def test_what_does_not_fit_and_stands_elsewhere_has_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, 'listen = "localhost:1"\n[rate_limits]\ndeploy = 1\n')
    monkeypatch.setenv("LONGSHORE_LISTEN", "nowhere")
    monkeypatch.setenv("LONGSHORE_RATE_LIMITS__DEPLOY", "-1")
    with pytest.raises(SettingsError) as refused:
        load(path, {"keep_releases": 0})
    assert "longshore.toml" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(written(tmp_path, 'keep_releases = 0\nlisten = "x"\n'))
    assert "keep_releases" in str(refused.value)
    assert "listen" in str(refused.value)


@pytest.mark.parametrize("text", ["keep_releases = \n", "a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"longshore\.toml cannot be read: .*line"):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "binary.toml")


def test_an_ipv6_address_is_given_in_brackets() -> None:
    settings = load(None, {"listen": "[::1]:0"})
    assert (settings.host, settings.port) == ("::1", 0)


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        load().keep_releases = 3  # type: ignore[misc]


def test_the_data_directory_follows_the_users_own_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/ana/.data")
    assert Settings().data_dir == Path("/home/ana/.data/longshore")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Settings().data_dir == Path("/var/lib/longshore")


ENDPOINTS = '[environments.live]\nrouter = "none"\n[environments.live.endpoints]\n'


def test_endpoints_have_defaults(tmp_path: Path) -> None:
    found = load(written(tmp_path, ENDPOINTS + 'file = "/etc/x/{name}.json"\n')).environment("live").endpoints
    assert found is not None
    assert (found.format, found.reload, found.timeout_s, found.settle_s) == ("json", "", 30.0, 2.0)


@pytest.mark.parametrize(
    ("line", "named", "message"),
    [
        ('file = "etc/{name}.cfg"', "environments.live.endpoints.file", "must be the absolute path"),
        ('file = "/etc/../{name}.cfg"', "environments.live.endpoints.file", "must be the absolute path"),
        ('file = "/etc/{name}/"', "environments.live.endpoints.file", "must be the absolute path"),
        ('file = "/etc/shop.cfg"', "environments.live.endpoints.file", "must contain {name}"),
        ('format = "caddy"', "environments.live.endpoints.format", "'json', 'haproxy' or 'nginx'"),
        ('timeout = "soon"', "environments.live.endpoints.timeout", "is no duration"),
        ('settle = "soon"', "environments.live.endpoints.settle", "is no duration"),
        ('file = "/etc/{name}.cfg"\ntimeout = "0s"', "environments.live.endpoints", "timeout must be above 0"),
        ('reload = "true"', "environments.live.endpoints", "reload needs a file"),
    ],
)
def test_endpoints_that_cannot_be_are_named(tmp_path: Path, line: str, named: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(written(tmp_path, ENDPOINTS + line + "\n"))
    assert named in str(refused.value)
    assert message in str(refused.value)


def test_endpoints_beside_envoy_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match='router = "none"'):
        load(written(tmp_path, '[environments.live.endpoints]\nsettle = "1s"\n'))


def test_a_data_directory_is_absolute_wherever_the_manager_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    assert load(None, {"data_dir": Path("data")}).data_dir == Path("/tmp/data")


def test_users_with_homes_of_their_own_have_to_be_given_a_place_for_their_apps(tmp_path: Path) -> None:
    lines = '[environments.live]\ndriver = "systemd"\nscope = "user"\nhosts = ["alice@10.0.0.1", "bob@10.0.0.2"]\n'
    with pytest.raises(SettingsError, match=r"alice and bob .* homes of their own: give `apps`"):
        load(written(tmp_path, lines))
    assert load(written(tmp_path, f'{lines}apps = "/opt/apps"\n')).environment("live").apps_there == "/opt/apps"


def test_one_user_on_all_hosts_has_the_apps_in_its_home(tmp_path: Path) -> None:
    lines = '[environments.live]\ndriver = "systemd"\nscope = "user"\nhosts = ["bob@10.0.0.1", "bob@10.0.0.2"]\n'
    assert load(written(tmp_path, lines)).environment("live").apps_there == "/home/bob/apps"
