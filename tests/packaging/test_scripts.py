"""scripts/setup and scripts/demo, run beside stand-ins for what they call.

The stand-ins write down how they were called; nothing is installed or served.
"""

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, run, succeed

RECORD = f"""#!{sys.executable}
import json, os, sys
kept = {{n: v for n, v in os.environ.items() if n.startswith(("OSBKIT_", "QUEUE_"))}}
with open("called.jsonl", "a") as file:
    file.write(json.dumps([sys.argv[1:], kept]) + "\\n")
"""
UV = f"""{RECORD}
if sys.argv[1] == "venv":
    os.makedirs(".venv/bin")
    os.symlink({sys.executable!r}, ".venv/bin/python")
if sys.argv[1] == "pip" and os.path.exists("fail"):
    sys.exit(1)
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def calls(checkout: Path) -> list[tuple[list[str], dict[str, str]]]:
    """Arguments and settings of every call, oldest first."""
    try:
        lines = (checkout / "called.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [tuple(json.loads(line)) for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts and the files they read, alone in a directory."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, copy)
    return copy


class TestSetup:
    """With a stand-in for uv."""

    @pytest.fixture(autouse=True)
    def uv(self, checkout: Path, tmp_path: Path) -> None:
        executable(tmp_path / "bin" / "uv", UV)

    def setup(self, checkout: Path) -> int:
        path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
        return run([checkout / "scripts" / "setup"], cwd=checkout, PATH=path).returncode

    def installs(self, checkout: Path) -> int:
        return sum("--require-hashes" in arguments for arguments, _ in calls(checkout))

    def test_installs_hashed_and_then_the_checkout_without_its_dependencies(
        self, checkout: Path
    ):
        assert self.setup(checkout) == 0

        first, second = (a for a, _ in calls(checkout) if a[:2] == ["pip", "install"])
        assert {"--require-hashes", "requirements.lock"} <= set(first)
        assert {"--no-deps", "--no-build-isolation", "-e"} <= set(second)

    def test_does_nothing_when_nothing_changed(self, checkout: Path):
        self.setup(checkout)
        once = calls(checkout)

        assert self.setup(checkout) == 0

        assert [a for a, _ in calls(checkout)[len(once) :] if a != ["--version"]] == []

    @pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
    def test_installs_again_when_a_file_changed(self, checkout: Path, name: str):
        self.setup(checkout)
        with (checkout / name).open("a") as file:
            file.write("# changed\n")

        assert self.setup(checkout) == 0

        assert self.installs(checkout) == 2

    def test_installs_again_after_an_install_that_failed(self, checkout: Path):
        (checkout / "fail").touch()
        assert self.setup(checkout) != 0
        (checkout / "fail").unlink()

        assert self.setup(checkout) == 0

        assert self.installs(checkout) == 2


class TestDemo:
    """With stand-ins for setup and for the server."""

    @pytest.fixture(autouse=True)
    def stand_ins(self, checkout: Path) -> None:
        executable(checkout / "scripts" / "setup", "#!/bin/sh\n")
        executable(checkout / ".venv" / "bin" / "osbkit", RECORD)
        python = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n'
        executable(checkout / ".venv" / "bin" / "python", python)

    def demo(self, checkout: Path, *arguments: str, **environ: str) -> str:
        return succeed(
            [checkout / "scripts" / "demo", *arguments], cwd=checkout, **environ
        )

    def test_serves_the_queue_broker_with_its_state_in_one_directory(
        self, checkout: Path
    ):
        self.demo(checkout)

        ((arguments, settings),) = calls(checkout)
        assert arguments == ["serve", "examples.queue_broker.app:app"]
        assert settings["OSBKIT_HOST"] == "127.0.0.1"
        assert settings["OSBKIT_PORT"] == "8080"
        assert settings["OSBKIT_DATABASE_URL"].startswith("sqlite:///.demo/")
        assert settings["QUEUE_BROKER_DIR"].startswith(".demo/")

    def test_prints_address_credentials_and_a_curl(self, checkout: Path):
        said = self.demo(checkout)

        user = (checkout / ".demo" / "user").read_text()
        password = (checkout / ".demo" / "password").read_text()
        assert (
            f"curl -u platform-{user}:{password} -H 'X-Broker-API-Version: 2.17'"
            " http://127.0.0.1:8080/v2/catalog"
        ) in said
        assert f"OSB_USER=platform-{user} OSB_PASSWORD={password}\n" in said

    def test_its_credentials_are_long_random_and_the_same_at_every_start(
        self, checkout: Path
    ):
        first, again = self.demo(checkout), self.demo(checkout)
        shutil.rmtree(checkout / ".demo")
        fresh = self.demo(checkout)

        assert first == again
        assert fresh != first
        assert len((checkout / ".demo" / "password").read_text()) == 32

    def test_only_the_owner_reads_its_state(self, checkout: Path):
        (checkout / ".demo").mkdir(mode=0o755)

        self.demo(checkout)

        state = checkout / ".demo"
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert {stat.S_IMODE(p.stat().st_mode) for p in state.iterdir()} == {0o600}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OSBKIT_PORT", "9001"),
            ("OSBKIT_HOST", "::1"),
            ("OSBKIT_DATABASE_URL", "sqlite:///mine.db"),
            ("OSBKIT_BASIC_USER", "ann"),
            ("OSBKIT_PATH_PREFIX", "/broker"),
            ("OSBKIT_ENCRYPTION_KEYS", "mine:" + "A" * 43 + "="),
            ("OSBKIT_LOG_FORMAT", "json"),
            ("QUEUE_BROKER_DIR", "mine"),
            ("QUEUE_BROKER_BACKENDS", "embedded"),
            ("QUEUE_BROKER_SLOW_SECONDS", "0.5"),
        ],
    )
    def test_a_setting_of_the_environment_wins(
        self, checkout: Path, name: str, value: str
    ):
        self.demo(checkout, **{name: value})

        ((_, settings),) = calls(checkout)
        assert settings[name] == value

    def test_what_it_prints_is_what_was_set(self, checkout: Path):
        said = self.demo(
            checkout,
            OSBKIT_PORT="9001",
            OSBKIT_PATH_PREFIX="/broker",
            OSBKIT_BASIC_USER="ann",
            OSBKIT_BASIC_PASSWORD="it's mine",
        )

        assert "http://127.0.0.1:9001/broker/v2/catalog" in said
        assert """-u 'ann:it'"'"'s mine'""" in said
        ((_, settings),) = calls(checkout)
        assert "OSBKIT_BASIC_PASSWORD_FILE" not in settings

    def test_a_port_that_kubernetes_sets_is_none(self, checkout: Path):
        self.demo(checkout, OSBKIT_PORT="tcp://10.0.0.1:80")

        ((_, settings),) = calls(checkout)
        assert settings["OSBKIT_PORT"] == "8080"

    def test_the_backend_is_handed_to_the_example(self, checkout: Path):
        self.demo(checkout, "--backend", "embedded", QUEUE_BROKER_BACKENDS="other")

        ((_, settings),) = calls(checkout)
        assert settings["QUEUE_BROKER_BACKENDS"] == "embedded"

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--backend", "rabbit"], "there is no backend 'rabbit'"),
            (["--backend=rabbit"], "there is no backend 'rabbit'"),
            (["--backend"], "--backend needs a name"),
            (["embedded"], "there is no argument 'embedded'"),
        ],
    )
    def test_an_argument_it_does_not_know_is_refused_with_a_sentence(
        self, checkout: Path, arguments: list[str], sentence: str
    ):
        done = run([checkout / "scripts" / "demo", *arguments], cwd=checkout)

        assert done.returncode == 2
        assert sentence in done.stderr
        assert calls(checkout) == []
        assert not (checkout / ".demo").exists()

    def test_a_refused_setting_is_said_before_anything_is_served(self, checkout: Path):
        done = run([checkout / "scripts" / "demo"], cwd=checkout, OSBKIT_PORT="none")

        assert done.returncode == 1
        assert "OSBKIT_PORT must be a port" in done.stderr
        assert "Traceback" not in done.stderr
        assert calls(checkout) == []
