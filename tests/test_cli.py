"""The command line: what a user types wrong, and what he reads."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch  # noqa: F401  (with it there, `train` in this process starts no cluster ahead)
from click.testing import CliRunner, Result

from ray_easgd.cli import main
from ray_easgd.config import Config
from ray_easgd.processes import family, has_ended


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), catch_exceptions=False)


def refused(*words: str) -> str:
    """The one message of a command that must end with code 2 and no traceback."""
    result = run("train", *words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algorithm.name=eamsdg"], "Did you mean 'eamsgd'?"),
        (["model=small_cn"], "small_cnn"),
        (["fleet.wokers=2"], "Did you mean 'fleet.workers'?"),
        (["data=/nowhere/at/all"], "/nowhere/at/all"),
        (["data=no_such_set"], "no_such_set"),
        (["algorithm.name=easgd", "optimizer.name=Addam"], "torch.optim has no such optimizer"),
        (["algorithm.name=sgd", "fleet.workers=2"], "sgd is sequential: one worker"),
        (["algorithm.name=downpour", "algorithm.order=at_snapshot"], "Leave algorithm.order away"),
        (["algorithm.name=easgd", "algorithm.momentum=0.5"], "easgd has no momentum of its own"),
        (["none.yaml"], "No such file"),
        (["model=small_gpt"], "small_gpt"),
    ],
)
def test_bad_input_is_one_message_with_its_remedy(words: list[str], said: str) -> None:
    message = refused(*words)
    assert said in message
    assert message.startswith("bad input: ")


def test_a_parquet_file_without_the_columns_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        pq.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / f"{split}.parquet")
    message = refused(f"data={tmp_path}")
    assert "image" in message
    assert "text" in message


def test_an_address_that_does_not_answer_is_named() -> None:
    message = refused("address=127.0.0.1:1")
    assert "no Ray cluster answers there" in message
    assert "ray status" in message


def test_a_dashboards_url_is_no_address_to_train_at(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refused("address=http://head:8265")
    assert "address = 'http://head:8265': it is the URL of a dashboard" in message
    assert "head:6379" in message
    assert "ray-easgd submit" in message
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert "RAY_ADDRESS = 'http://head:8265'" in refused()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "unset RAY_ADDRESS" in refused()


@pytest.mark.parametrize(
    ("words", "has_gpus", "said"),
    [
        (["fleet.gpus_per_worker=1"], False, r"no node .* has a GPU.*gpus_per_worker=0"),
        (["fleet.gpus_per_worker=0"], False, r"0 workers of 1 CPU\. Lower fleet.cpus_per_worker"),
        (["fleet.gpus_per_worker=2"], True, r"0 workers of 1 CPU and 2 GPU\. Lower"),
    ],
)
def test_a_fleet_without_room_is_told_what_would_help(
    words: list[str], has_gpus: bool, said: str
) -> None:
    from actors.cluster import no_room

    error = no_room(Config.load(None, ["fleet.workers=2", *words]), 0, has_gpus=has_gpus)
    assert re.search(said, str(error))


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fleet.workers=1000"], "can never hold more than"),
        (["fleet.workers=3", "fleet.gpus_per_worker=1"], "can never hold more than 2 workers"),
        (["fleet.gpus_per_worker=0", "run.storage=/dev/null/x"], "/dev/null/x"),
    ],
)
def test_what_only_the_cluster_can_tell_is_refused_before_anything_runs(
    cluster: None, words: list[str], said: str
) -> None:
    import ray

    before = ray.util.list_named_actors()
    assert said in refused(*words)
    assert ray.util.list_named_actors() == before


def test_the_machine_is_not_asked_for_more_workers_than_sense() -> None:
    from actors.embedded import choose_num_cpus
    from ray_easgd.config import Config
    from ray_easgd.errors import BadCluster

    with pytest.raises(BadCluster, match=r"too few for 9999 workers.*address="):
        choose_num_cpus(Config.build({"fleet": {"workers": 9999}}))


def test_methods_are_listed() -> None:
    listed = json.loads(run("methods", "--json").stdout)["methods"]
    assert {"easgd", "eamsgd", "downpour", "sgd", "msgd"} <= {m["name"] for m in listed}
    told = {line.split()[0]: line for line in run("methods").stdout.splitlines()}
    assert "conserves" in told["name"]
    assert re.search(r"nobody +sum +True", told["easgd"])
    assert re.search(r"nobody +pushes +True", told["downpour"])


def test_keys_are_listed_with_their_meaning() -> None:
    assert "fleet.gpus_per_worker" in run("keys").stdout
    told = json.loads(run("keys", "--json").stdout.splitlines()[-1])["keys"]
    assert {row["key"]: row["default"] for row in told}["batch_size"] == Config().batch_size


def test_show_names_a_folder_that_is_no_run(tmp_path: Path) -> None:
    result = run("show", str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr


@pytest.mark.chaos
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_driver(tmp_path: Path, ending: signal.Signals) -> None:
    """SIGINT goes to the whole group, as from a terminal; it also keeps the center."""
    words = ["train", "stop.seconds=600", "run.name=r", f"run.storage={tmp_path}"]
    command = [sys.executable, "-m", "ray_easgd.cli", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "training" in line:
                break
        everybody = []
        for pid in family(process.pid):
            with suppress(ProcessLookupError):  # who only starts another
                everybody.append(os.pidfd_open(pid))
        os.killpg(process.pid, ending)
        rest = process.stderr.read()
    for one in everybody:
        assert has_ended(one, within_s=60)
        os.close(one)
    if ending == signal.SIGINT:
        assert process.returncode == 130, rest
        assert "interrupted" in rest
        assert list((tmp_path / "r" / "checkpoints").glob("*/manifest.json"))
        assert run("show", str(tmp_path / "r"), "--json").exit_code == 0
