"""What a job runs and what travels with it; what is refused before anything is sent."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from actors.cluster import refused
from actors.lifecycle import actor_name, title
from actors.submission import job_environment, training_command
from ray_easgd.cli import main
from ray_easgd.config import Config, as_words, split
from ray_easgd.environment import ray_api_at, ray_token

ROOT = Path(__file__).parents[1]
CONFIG = """
algorithm: {name: easgd, period: 4}
topology: {levels: {4: 2, 32: 2}}
data: "my data: all of it"
stop: {samples: 100}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my run.yaml").write_text(CONFIG, "utf-8")
    return tmp_path


def runs(command: str) -> Config:
    """The configuration that the job will have, in its working directory."""
    words = shlex.split(command)[4:]
    return Config.load(*split([word for word in words if word != "--json"]))


def test_the_file_goes_with_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(folder / "my run.yaml")
    command = training_command(path, ["run.name=r", "batch_size=7"], folder, as_json=True)
    assert command == "python -m ray_easgd.cli train 'my run.yaml' run.name=r batch_size=7 --json"
    monkeypatch.chdir(folder)
    assert runs(command) == Config.load(path, ["run.name=r", "batch_size=7"])


@pytest.mark.parametrize("elsewhere", [None, ROOT / "docs"])
def test_what_a_file_elsewhere_sets_goes_with_the_command(
    folder: Path, elsewhere: Path | None
) -> None:
    path = str(folder / "my run.yaml")
    command = training_command(path, ["stop.samples=5"], elsewhere, as_json=False)
    assert "yaml" not in command
    assert runs(command) == Config.load(path, ["stop.samples=5"])


def test_every_configuration_that_we_ship_survives_as_words() -> None:
    for path in (ROOT / "jobs" / "configs").glob("*.yaml"):
        assert Config.load(None, as_words(str(path))) == Config.load(str(path))


def test_a_checkout_brings_its_own_packages_and_anyone_else_those_installed() -> None:
    assert training_command(None, [], ROOT, as_json=False) == "python -m jobs.train"
    assert "py_modules" not in job_environment({}, ROOT)
    sent = job_environment({"py_modules": ["theirs"], "env_vars": {"A": "b"}}, ROOT / "docs")
    assert sent["working_dir"] == str(ROOT / "docs")
    assert sent["py_modules"][0] == "theirs"
    assert [Path(p).name for p in sent["py_modules"][1:]] == ["ray_easgd", "actors"]
    assert sent["env_vars"]["A"] == "b"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.yaml"], "No such file"),
        (["fleet.wokers=2"], "Did you mean 'fleet.workers'?"),
        (["run.name=a?b"], "no question mark"),
        (["address=auto"], "Give --address"),
        (["--working-dir", "/nowhere/at/all"], "there is no such folder"),
        (["--runtime-env", "/nowhere/at/all"], "No such file"),
        (["--runtime-env", "{pip: ["], "it is not YAML"),
        (["--runtime-env", __file__], "--runtime-env"),
        (["--address", "http://127.0.0.1:1"], "no head answers there"),
        (["--address", "127.0.0.1:1"], "no Ray cluster answers there"),
    ],
)
def test_what_cannot_be_submitted_is_one_message(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["submit", *words], catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert said in result.stderr


def test_the_token_is_looked_for_where_ray_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ray_token() == ("", "")
    assert "there is none here (401)" in str(refused("there", "401"))
    for path in (tmp_path / ".ray" / "auth_token", tmp_path / "file"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"from {path.name}\n", "utf-8")
    assert ray_token()[0] == "from auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    assert ray_token() == ("from file", str(tmp_path / "file"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    assert ray_token() == ("t", "RAY_AUTH_TOKEN")
    assert "token = 'RAY_AUTH_TOKEN': there lets nobody in" in str(refused("there", "403"))


def test_rays_client_is_led_to_the_address_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.dashboard.utils import get_address_for_submission_client

    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://before:1")
    with ray_api_at("http://here:1"):
        assert get_address_for_submission_client("http://here:1") == "http://here:1"
    assert get_address_for_submission_client("http://here:1") == "http://before:1"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (actor_name("r", "center"), "center of run r"),
        (actor_name("my:run.2", "worker-3", 2), "worker-3 life 2 of run my:run.2"),
        ("Evaluator", "Evaluator"),
    ],
)
def test_an_actor_is_told_by_its_name(name: str, said: str) -> None:
    assert title(name) == said


def test_json_of_a_result_is_the_last_line_of_the_log() -> None:
    from ray_easgd.submit_cli import _result

    assert _result(["{not json", json.dumps({"a": 1}), ""]) == {"a": 1}
    assert _result(["[ 1.0 s] training"]) is None
    assert _result(["{broken"]) is None


def test_ctrl_c_ends_the_looking_and_says_how_to_look_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ray_easgd.output import let_go

    with pytest.raises(SystemExit) as ended, let_go("it goes on"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "it goes on\n"
