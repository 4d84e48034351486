"""One Ray cluster and one pool of worker processes for the whole session: both cost seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.s3_service import Store, storing

if TYPE_CHECKING:
    from ray.actor import ActorProxy

    from actors.center import Center
    from actors.worker import Worker


settings.register_profile("house", deadline=None)  # no test is about wall-clock time
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Decoded data of the tests stays out of the user's cache."""
    os.environ["RAY_EASGD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A local Ray with 16 CPU slots and two GPUs that it only believes in."""
    import ray

    from actors.embedded import start_ray
    from actors.nursery import nursery

    with nursery():
        start_ray(16, num_gpus=2)
        yield
        ray.shutdown()


@dataclass
class Pool:
    """Processes that have their imports done, used by one test after another."""

    center: ActorProxy[Center]
    workers: list[ActorProxy[Worker]]

    def lose(self, child: str) -> None:
        """As the driver does once that child's process is gone."""
        import ray

        status: Any = ray.get(self.center.status.remote())
        ray.get(self.center.lose.remote(child, status.lives_of(child)))


@pytest.fixture(scope="session")
def pool(cluster: None) -> Pool:
    from actors.center import start_center
    from actors.worker import start_worker
    from ray_easgd.algorithms.contract import Add
    from ray_easgd.hub import HubOptions

    center = start_center("pool", HubOptions(center_step=Add()))
    names = [f"pool-{k}" for k in range(4)]
    return Pool(center, [start_worker(n, run="pool", num_cpus=0, num_gpus=0) for n in names])


@pytest.fixture
def storage(tmp_path: Path) -> dict[str, Any]:
    """The configuration's ``run`` section for a folder of this test's own."""
    return {"storage": str(tmp_path), "name": "r"}


@pytest.fixture
def real_data() -> Path:
    """The real data sets; skips, saying so, where RAY_EASGD_DATA is unset."""
    from ray_easgd.environment import data_root

    root = data_root()
    if root is None:
        pytest.skip("RAY_EASGD_DATA is unset: real data sets are not here")
    return root


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 of our own, with credentials and endpoint in the environment, as users have them."""
    with storing() as made:
        made.buckets.add("bucket")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", made.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{made.endpoint}")
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        yield made
