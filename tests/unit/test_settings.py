"""Settings: what the environment may say, and how a refusal reads."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from osbkit.errors import SettingsInvalid
from osbkit.settings import SECRET_FILE_BYTES, Settings, known_names


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_environment(environ)
    return str(refused.value)


def test_empty_environment_gives_the_documented_defaults():
    settings = Settings.from_environment({})

    assert settings.model_dump() == {
        "database_url": SecretStr("sqlite:///osbkit.db"),
        "engine": "auto",
        "worker": "inline",
        "host": "127.0.0.1",
        "port": 8080,
        "path_prefix": "",
        "public_url": "http://127.0.0.1:8080",
        "basic_user": None,
        "basic_password": None,
        "bearer_token": None,
        "credentials_file": None,
        "auth": "required",
        "encryption_keys": None,
        "max_body_bytes": 1024 * 1024,
        "sync_budget": 2.0,
        "sync_budget_required": 40.0,
        "operation_deadline": 3600.0,
        "retention_days": 8,
        "concurrency": 64,
        "allow_catalog_changes": frozenset(),
        "log_level": "INFO",
        "log_format": "auto",
    }


def test_without_a_mapping_the_environment_of_the_process_is_read(monkeypatch):
    monkeypatch.setenv("OSBKIT_PORT", "9001")

    assert Settings.from_environment().port == 9001


def test_a_record_made_by_hand_reads_no_environment(monkeypatch):
    monkeypatch.setenv("OSBKIT_PORT", "9001")

    assert Settings().port == 8080


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        setattr(Settings(), "port", 1)  # noqa: B010


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        pytest.param("PORT", "65535", "port", 65535, id="port"),
        pytest.param("ENGINE", "embedded", "engine", "embedded", id="engine"),
        pytest.param("AUTH", "disabled", "auth", "disabled", id="auth"),
        pytest.param("SYNC_BUDGET", "2", "sync_budget", 2.0, id="whole seconds"),
        pytest.param("SYNC_BUDGET", "2.5", "sync_budget", 2.5, id="part seconds"),
        pytest.param("SYNC_BUDGET", "500ms", "sync_budget", 0.5, id="milliseconds"),
        pytest.param("SYNC_BUDGET", "2 s", "sync_budget", 2.0, id="unit after space"),
        pytest.param("OPERATION_DEADLINE", "10m", "operation_deadline", 600, id="min"),
        pytest.param("OPERATION_DEADLINE", "1h", "operation_deadline", 3600, id="h"),
        pytest.param("OPERATION_DEADLINE", "8d", "operation_deadline", 691200, id="d"),
        pytest.param("LOG_LEVEL", "debug", "log_level", "DEBUG", id="level, any case"),
        pytest.param("LOG_FORMAT", "console", "log_format", "console", id="format"),
        pytest.param(
            "ALLOW_CATALOG_CHANGES",
            " a, b,,",
            "allow_catalog_changes",
            frozenset({"a", "b"}),
            id="ids",
        ),
        pytest.param("PATH_PREFIX", "/a/b/", "path_prefix", "/a/b", id="prefix"),
        pytest.param("PATH_PREFIX", "/", "path_prefix", "", id="prefix of nothing"),
        pytest.param("HOST", "[::1]", "host", "::1", id="IPv6 in brackets"),
        pytest.param("HOST", "broker.local", "host", "broker.local", id="host name"),
        pytest.param(
            "CREDENTIALS_FILE",
            "/c.yaml",
            "credentials_file",
            Path("/c.yaml"),
            id="path",
        ),
        pytest.param("PORT", "", "port", 8080, id="empty counts as unset"),
    ],
)
def test_a_setting_is_read(name, text, field, expected):
    settings = Settings.from_environment({f"OSBKIT_{name}": text})

    assert getattr(settings, field) == expected


@pytest.mark.parametrize(
    ("name", "text", "fix"),
    [
        ("PORT", "0", "a port, 1 to 65535"),
        ("PORT", "http", "a port, 1 to 65535"),
        ("HOST", "http://x", "an IP address or a host name"),
        ("ENGINE", "celery", "distributed on PostgreSQL"),
        ("WORKER", "some", "where `osbkit worker` runs the operations"),
        ("AUTH", "off", "required, or disabled"),
        ("SYNC_BUDGET", "soon", "a span such as"),
        ("SYNC_BUDGET", "-1", "a span such as"),
        ("SYNC_BUDGET", "nan", "a span such as"),
        ("SYNC_BUDGET", "9h", "a span from 0s to 1h"),
        ("OPERATION_DEADLINE", "0", "a span from 1s to 30d"),
        ("RETENTION_DAYS", "1.5", "a whole number of days"),
        ("MAX_BODY_BYTES", "1MiB", "a whole number of bytes"),
        ("CONCURRENCY", "0", "a number, 1 to 10000"),
        ("PATH_PREFIX", "broker", "a slash first"),
        ("PATH_PREFIX", "/a//b", "a slash first"),
        ("PATH_PREFIX", "/a/../b", "a slash first"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR"),
        ("LOG_FORMAT", "xml", "json, console, or auto"),
        ("BASIC_USER", "a:b", "without colon"),
        ("BASIC_USER", "a", "set together with OSBKIT_BASIC_USER"),
        ("BASIC_PASSWORD", "a", "set together with OSBKIT_BASIC_USER"),
        ("BEARER_TOKEN", "two words", "printable ASCII without spaces"),
        ("BEARER_TOKEN", "schlüssel", "printable ASCII without spaces"),
        ("PUBLIC_URL", "broker.example.com", "the http or https URL"),
        ("PUBLIC_URL", "ftp://broker", "the http or https URL"),
        ("PUBLIC_URL", "https://u:p@broker", "the http or https URL"),
        ("PUBLIC_URL", "https://broker?a=b", "the http or https URL"),
        ("PUBLIC_URL", "https://broker:99999", "the http or https URL"),
        ("PUBLIC_URL", "https://[broker", "the http or https URL"),
        ("PUBLIC_URL", "https://bro ker", "the http or https URL"),
    ],
)
def test_a_refused_value_is_named_with_its_fix(name, text, fix):
    said = refusal({f"OSBKIT_{name}": text})

    assert len(said.splitlines()) == 2  # a heading, and nothing but this problem
    assert fix in said


def test_control_characters_do_not_fit_a_basic_credential():
    said = refusal({"OSBKIT_BASIC_USER": "a", "OSBKIT_BASIC_PASSWORD": "p\x07p"})

    assert "OSBKIT_BASIC_PASSWORD must hold no control characters" in said


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"OSBKIT_HOST": "10.0.0.7", "OSBKIT_PORT": "90"}, "http://10.0.0.7:90"),
        ({"OSBKIT_HOST": "0.0.0.0"}, "http://127.0.0.1:8080"),
        ({"OSBKIT_HOST": "::"}, "http://[::1]:8080"),
        ({"OSBKIT_HOST": "fd00::1"}, "http://[fd00::1]:8080"),
        ({"OSBKIT_PATH_PREFIX": "/broker"}, "http://127.0.0.1:8080/broker"),
        ({"OSBKIT_PUBLIC_URL": "https://b.example/x/"}, "https://b.example/x"),
    ],
)
def test_the_public_url_follows_from_host_port_and_prefix_unless_said(
    environ, expected
):
    assert Settings.from_environment(environ).public_url == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"secret", "secret", id="as it is"),
        pytest.param(b"secret\n", "secret", id="less one line break"),
        pytest.param(b"secret\r\n", "secret", id="less one line break of Windows"),
        pytest.param(b" secret\t\n", " secret\t", id="blanks belong to it"),
        pytest.param("schlüssel\n".encode(), "schlüssel", id="UTF-8"),
    ],
)
def test_a_secret_may_come_from_a_file(tmp_path, content, expected):
    file = tmp_path / "url"
    file.write_bytes(content)

    settings = Settings.from_environment({"OSBKIT_DATABASE_URL_FILE": str(file)})

    assert settings.database_url.get_secret_value() == expected


def test_every_secret_and_nothing_else_may_come_from_a_file():
    assert [name for name in known_names() if name.endswith("_FILE")] == [
        "OSBKIT_DATABASE_URL_FILE",
        "OSBKIT_BASIC_PASSWORD_FILE",
        "OSBKIT_BEARER_TOKEN_FILE",
        "OSBKIT_CREDENTIALS_FILE",
        "OSBKIT_ENCRYPTION_KEYS_FILE",
    ]


def test_a_secret_and_its_file_exclude_each_other(tmp_path):
    (tmp_path / "token").write_text("from-file")

    said = refusal(
        {
            "OSBKIT_BEARER_TOKEN": "from-environment",
            "OSBKIT_BEARER_TOKEN_FILE": str(tmp_path / "token"),
        }
    )

    assert "OSBKIT_BEARER_TOKEN and OSBKIT_BEARER_TOKEN_FILE are both set" in said
    assert "from-" not in said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(None, "No such file or directory", id="missing"),
        pytest.param(b"\n", "it is empty", id="empty"),
        pytest.param(b"\xff\xfe", "it is not UTF-8 text", id="not text"),
        pytest.param(b"x" * (SECRET_FILE_BYTES + 1), "longer than", id="too long"),
    ],
)
def test_an_unreadable_secret_file_is_named_by_its_setting(tmp_path, content, why):
    file = tmp_path / "p4ssw0rd-in-the-wrong-variable"
    if content is not None:
        file.write_bytes(content)

    said = refusal({"OSBKIT_BASIC_USER": "a", "OSBKIT_BASIC_PASSWORD_FILE": str(file)})

    assert len(said.splitlines()) == 2
    assert "OSBKIT_BASIC_PASSWORD_FILE must name a file that holds the secret" in said
    assert why in said
    assert "p4ssw0rd" not in said


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    said = refusal({"OSBKIT_BASIC_PASWORD": "hunter2", "OSBKIT_ZZZ": "1"})

    assert "OSBKIT_BASIC_PASWORD is no setting of this version" in said
    assert "did you mean OSBKIT_BASIC_PASSWORD?" in said
    assert "OSBKIT_ZZZ is no setting of this version: remove it." in said
    assert "hunter2" not in said


def test_names_without_the_prefix_do_not_matter():
    Settings.from_environment({"PORT": "no", "osbkit_port": "no", "MY_OSBKIT_X": "no"})


@pytest.mark.parametrize("service", ["OSBKIT", "OSBKIT_BROKER", "OSBKIT_0_A"])
def test_what_kubernetes_injects_for_a_service_is_ignored(service):
    settings = Settings.from_environment(
        {
            f"{service}_SERVICE_HOST": "10.96.0.7",
            f"{service}_SERVICE_PORT": "8080",
            f"{service}_SERVICE_PORT_HTTP": "8080",
            f"{service}_PORT": "tcp://10.96.0.7:8080",
            f"{service}_PORT_8080_TCP": "tcp://10.96.0.7:8080",
            f"{service}_PORT_8080_TCP_PROTO": "tcp",
            f"{service}_PORT_8080_TCP_PORT": "8080",
            f"{service}_PORT_8080_TCP_ADDR": "10.96.0.7",
            f"{service}_PORT_53_UDP": "udp://10.96.0.7:53",
        }
    )

    assert settings == Settings()


def test_a_port_of_another_service_counts_only_as_kubernetes_writes_it():
    said = refusal({"OSBKIT_BROKER_PORT": "8080"})

    assert "OSBKIT_BROKER_PORT is no setting of this version" in said


def test_all_problems_are_told_at_once_and_no_value_is():
    values = {
        "OSBKIT_PORT": "port-value",
        "OSBKIT_BASIC_USER": "user:value",
        "OSBKIT_BEARER_TOKEN": "token value",
        "OSBKIT_SYNC_BUDGET": "budget-value",
        "OSBKIT_PUBLIC_URL": "url-value",
        "OSBKIT_NONSENSE": "nonsense-value",
        "OSBKIT_DATABASE_URL_FILE": "/file-value",
        "OSBKIT_BASIC_PASSWORD": "\udcff",  # how os.environ shows the byte 0xff
    }

    heading, *lines = refusal(values).splitlines()

    assert heading == "The settings cannot be used."
    assert sorted(line.split()[1] for line in lines) == sorted(values)
    for value in values.values():
        assert value not in "\n".join(lines)


def test_no_secret_shows_in_a_record_or_an_error():
    secrets = {
        "OSBKIT_DATABASE_URL": "postgresql://osbkit:hunter2@db/osbkit",
        "OSBKIT_BASIC_USER": "broker",
        "OSBKIT_BASIC_PASSWORD": "hunter2",
        "OSBKIT_BEARER_TOKEN": "hunter2",
        "OSBKIT_ENCRYPTION_KEYS": "a:hunter2",
    }

    settings = Settings.from_environment(secrets)
    with pytest.raises(ValidationError) as refused:
        Settings(bearer_token=SecretStr("hunter2 hunter2"))

    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert "hunter2" not in settings.model_dump_json()
    assert "hunter2" not in f"{refused.value} {refused.value!r}"
