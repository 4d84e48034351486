"""The files in docker/: a misspelt key, flag, instruction or argument in any of them is found."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from typing import Any

import pytest

from actors.embedded import OUR_CLUSTERS
from ray_easgd.cli import main
from ray_easgd.config import Config
from tests.cluster_files import DOCKER, FILES, ROOT, commands, load, misspellings, problems, refused
from tests.dockerfile import Dockerfile

LAUNCHERS = ["launcher/aws.yaml", "launcher/gcp.yaml"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")
AWAITED = "no command 'dashboard'"
"""Of a command that compose.yaml runs and that is not here yet; any other word is a mistake."""


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_good_and_none_of_its_keys_can_be_misspelt(name: str) -> None:
    document = load(name)
    assert not problems(name, document)
    overlooked = [way for way, changed in misspellings(document) if not problems(name, changed)]
    assert not overlooked


def test_every_file_in_the_folder_is_one_that_is_checked() -> None:
    files = {path.relative_to(DOCKER).as_posix() for path in DOCKER.rglob("*") if path.is_file()}
    assert files - FILES.keys() == {"Dockerfile", "Dockerfile.dockerignore", "README.md"}


@pytest.mark.parametrize("name", ["compose.yaml", *LAUNCHERS])
def test_what_a_file_runs_is_what_ray_and_we_understand(name: str) -> None:
    from ray.scripts.scripts import cli

    document = load(name)
    rays, ours = list(commands(document, "ray")), list(commands(document, "ray-easgd"))
    assert len(rays) >= 3
    assert ours
    complaints = [refused(cli, words) for words in rays] + [refused(main, words) for words in ours]
    assert not [each for each in complaints if each not in {None, AWAITED}]
    for words in rays:
        flags = [at for at, word in enumerate(words) if word.startswith("--")]
        for at in flags:
            misspelt = [*words[:at], f"--x{words[at][2:]}", *words[at + 1 :]]
            assert refused(cli, misspelt)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launchers_command_is_a_line_that_bash_reads(name: str) -> None:
    document = load(name)
    lines = list(chain(*(value for key, value in document.items() if key.endswith("commands"))))
    assert len(lines) == 14
    for line in lines:
        subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_every_machine_of_a_launcher_watches_for_its_clouds_notices(name: str) -> None:
    document = load(name)
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        (watcher,) = commands(document[key], "ray-easgd")
        assert watcher == ["watch-notices", "--cloud", document["provider"]["type"]]
    types = document["available_node_types"]
    market = {name: each["labels"]["ray.io/market-type"] for name, each in types.items()}
    assert market == {"head": "on-demand", "on-demand": "on-demand", "spot": "spot"}
    spot, on_demand = (types[each]["node_config"] for each in ("spot", "on-demand"))
    assert len(spot) == len(on_demand) + 1  # and nothing else tells them apart


def test_the_job_and_the_cluster_on_kubernetes_are_of_one_cluster() -> None:
    job, cluster = load("kuberay/rayjob.yaml"), load("kuberay/raycluster.yaml")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


def pods() -> dict[str, dict[str, Any]]:
    spec = load("kuberay/raycluster.yaml")["spec"]
    groups = {"head": spec["headGroupSpec"]}
    groups |= {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return groups


@pytest.mark.parametrize("group", ["head", "on-demand", "spot"])
def test_a_pod_has_time_to_drain_and_room_to_share_memory(group: str) -> None:
    from ray._private import ray_constants

    pod = pods()[group]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    drain_s = environment.pop("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S")
    assert hasattr(ray_constants, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S")
    assert float(drain_s) < pod["terminationGracePeriodSeconds"]
    assert environment.items() <= OUR_CLUSTERS.items()
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == "/dev/shm"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["emptyDir"]["medium"] == "Memory"


def test_spot_pods_go_to_spot_nodes_and_no_others_do() -> None:
    groups = pods()
    selector = groups["spot"]["template"]["spec"]["nodeSelector"]
    (toleration,) = groups["spot"]["template"]["spec"]["tolerations"]
    assert selector == {toleration["key"]: toleration["value"]}
    assert groups["spot"]["labels"] == {"ray.io/market-type": "spot"}
    for name in ("head", "on-demand"):
        assert not {"nodeSelector", "tolerations"} & groups[name]["template"]["spec"].keys()
        assert groups[name]["labels"] == {"ray.io/market-type": "on-demand"}


def test_a_job_on_kubernetes_goes_on_where_it_was_after_its_head_is_lost() -> None:
    spec = load("kuberay/rayjob.yaml")["spec"]
    assert spec["backoffLimit"] >= 1
    (words,) = commands(spec["entrypoint"], "python")
    assert words[:2] == ["-m", "jobs.train"]
    _, _, config, *keys = words
    resolved = Config.load(str(ROOT / config), keys)
    assert resolved.run.name == spec["metadata"]["run"]
    assert "://" in resolved.run.storage


def test_what_compose_mounts_is_there_and_what_it_serves_is_found() -> None:
    document = load("compose.yaml")
    services = document["services"]
    for service in services.values():
        for source, _, _ in (f"{each}::".split(":", 2) for each in service.get("volumes", [])):
            if source.startswith("./"):
                assert (DOCKER / source).is_file()
            elif not source.startswith("$"):
                assert source in document["volumes"]
    (found,) = load("prometheus.yaml")["scrape_configs"][0]["dns_sd_configs"]
    assert set(found["names"]) <= services.keys()
    for name in found["names"]:
        assert f"--metrics-export-port={found['port']}" in services[name]["command"]
    (source,) = load("grafana/datasource.yaml")["datasources"]
    assert source["url"] == services["head"]["environment"]["RAY_PROMETHEUS_HOST"]


def dockerfile(text: str) -> Dockerfile:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").split()
    return Dockerfile(context=ROOT, ignored=ignored).read(text)


def test_the_dockerfile_is_good_and_names_no_host() -> None:
    read = dockerfile(DOCKERFILE)
    assert not read.problems
    assert read.user.isdecimal()
    assert int(read.user) > 0
    assert read.arguments == {"BASE_IMAGE": "python:3.11-slim", "INDEX": "", "TORCH_BACKEND": ""}
    assert not re.search(r"\w\.(com|io|org|net)\b|://", DOCKERFILE)


WORDS = [r"^[A-Z]+(?= )", r"(?<=ARG )\w+", r"(?<=\$\{)\w+", r"(?<=--)(?:from|chown)(?==)"]
WORDS += [r"(?<=--from=)\w+", r"(?<=AS )\w+", r"(?<=COPY )[a-z]\w+"]


@pytest.mark.parametrize("pattern", WORDS)
def test_a_misspelt_word_of_the_dockerfile_is_found(pattern: str) -> None:
    matches = list(re.finditer(pattern, DOCKERFILE, re.MULTILINE))
    assert matches
    for match in matches:
        misspelt = f"{DOCKERFILE[: match.end()]}X{DOCKERFILE[match.end() :]}"
        assert dockerfile(misspelt).problems, misspelt[match.start() :].splitlines()[0]


def test_the_dockerfile_and_compose_know_the_same_arguments() -> None:
    defaults = dockerfile(DOCKERFILE).arguments.items()
    arguments = load("compose.yaml")["services"]["head"]["build"]["args"]
    assert arguments == {name: f"${{{name}:-{default}}}" for name, default in defaults}
