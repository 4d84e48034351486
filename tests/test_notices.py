"""Notices of the clouds that a machine goes, from stand-ins of their metadata services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from ray_easgd.cli import main
from ray_easgd.notices import CLOUDS, Aws, Azure, Gcp, Notice, Watch, detect, service_for
from tests.metadata_service import (
    ACTION,
    EVENTS,
    INSTANCE,
    REBALANCE,
    Stand,
    azure_events,
    standing,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=90)


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as made:
        yield made


def preempt(**changed: object) -> dict[str, object]:
    event: dict[str, object] = {
        "EventId": "1",
        "EventType": "Preempt",
        "ResourceType": "VirtualMachine",
        "Resources": ["fleet_0"],
        "EventStatus": "Scheduled",
        "NotBefore": "Sun, 01 Mar 2026 12:01:30 GMT",
    }
    return event | changed


def action(**said: str) -> str:
    return json.dumps(said)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_most_of_the_time_there_is_no_notice(stand: Stand, cloud: str) -> None:
    getattr(stand, cloud)()
    service = service_for(cloud, stand.url)
    assert service.look(NOW) is None
    assert service.look(NOW) is None


def test_aws_names_the_time_at_which_it_takes_the_machine(stand: Stand) -> None:
    stand.aws().answers[ACTION] = action(action="terminate", time="2026-03-01T12:01:30Z")
    notice = Aws(stand.url).look(NOW)
    assert notice == Notice(cloud="AWS", reason="spot interruption: terminate", gone_at=SOON)
    assert notice is not None
    assert notice.left_s(NOW) == 90


def test_an_action_at_an_unreadable_time_is_still_a_notice(stand: Stand) -> None:
    stand.aws().answers[ACTION] = action(action="stop", time="in a while")
    notice = Aws(stand.url).look(NOW)
    assert notice is not None
    assert notice.left_s(NOW) == 120


def test_a_rebalance_recommendation_is_advisory(stand: Stand) -> None:
    stand.aws().answers[REBALANCE] = action(noticeTime="2026-03-01T12:00:00Z")
    notice = Aws(stand.url).look(NOW)
    assert notice is not None
    assert notice.advisory


def test_awss_token_is_asked_for_once_and_again_when_it_has_expired(stand: Stand) -> None:
    aws = Aws(stand.aws().url)
    assert aws.look(NOW) is None
    assert aws.look(NOW) is None
    assert stand.asked.count("PUT /latest/api/token") == 1
    stand.token = "another"  # the old one is refused with 401 from here on
    stand.answers[ACTION] = action(action="terminate", time="2026-03-01T12:01:30Z")
    assert aws.look(NOW) is not None
    assert stand.asked.count("PUT /latest/api/token") == 2


@pytest.mark.parametrize(
    ("key", "said", "left_s"),
    [
        ("preempted", "TRUE", 30),
        ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE", 60),
        ("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE", None),
    ],
)
def test_gcp_says_that_but_not_when(stand: Stand, key: str, said: str, left_s: float) -> None:
    stand.gcp().answers[f"{INSTANCE}/{key}"] = said
    notice = Gcp(stand.url).look(NOW)
    assert (notice and notice.left_s(NOW)) == left_s


@pytest.mark.parametrize("kind", ["Preempt", "Terminate", "Reboot", "Redeploy"])
def test_azure_says_which_machines_it_takes(stand: Stand, kind: str) -> None:
    event = preempt(EventType=kind, Resources=["fleet_1", "fleet_0"])
    stand.azure().answers[EVENTS] = azure_events(event)
    assert Azure(stand.url).look(NOW) == Notice(cloud="Azure", reason=kind, gone_at=SOON)


@pytest.mark.parametrize("changed", [{"Resources": ["fleet_1"]}, {"EventType": "Freeze"}])
def test_azures_other_events_are_none_of_ours(stand: Stand, changed: dict[str, Any]) -> None:
    stand.azure().answers[EVENTS] = azure_events(preempt(**changed))
    assert Azure(stand.url).look(NOW) is None


@pytest.mark.parametrize(("status", "left_s"), [("Started", 1), ("Scheduled", 30)])
def test_an_event_without_a_time_leaves_little(stand: Stand, status: str, left_s: float) -> None:
    stand.azure().answers[EVENTS] = azure_events(preempt(NotBefore="", EventStatus=status))
    notice = Azure(stand.url).look(NOW)
    assert notice is not None
    assert notice.left_s(NOW) == left_s


def test_of_several_events_the_first_to_come_counts(stand: Stand) -> None:
    later = preempt(EventType="Reboot", NotBefore="Sun, 01 Mar 2026 13:00:00 GMT")
    stand.azure().answers[EVENTS] = azure_events(later, preempt())
    notice = Azure(stand.url).look(NOW)
    assert notice is not None
    assert notice.reason == "Preempt"


MALFORMED = [
    ("aws", ACTION, "<html>"),
    ("aws", ACTION, "[]"),
    ("aws", ACTION, "{}"),
    ("gcp", f"{INSTANCE}/preempted", "<html>"),
    ("azure", EVENTS, "<html>"),
    ("azure", EVENTS, "{}"),
    ("azure", EVENTS, '{"Events": [{}]}'),
    ("azure", EVENTS, '{"Events": ["Preempt"]}'),
]


@pytest.mark.parametrize(("cloud", "path", "body"), MALFORMED)
def test_an_answer_that_is_none_is_told_of_once_and_survived(
    stand: Stand, cloud: str, path: str, body: str
) -> None:
    getattr(stand, cloud)()
    told: list[str] = []
    watch = Watch(CLOUDS[cloud](stand.url), told.append)
    right = stand.answers.pop(path, None)
    stand.answers[path] = body
    assert watch.look(NOW) is None
    assert watch.look(NOW) is None
    assert watch.trouble
    (line,) = told
    assert "gives no answer" in line
    stand.answers.pop(path)
    if right is not None:
        stand.answers[path] = right
    assert watch.look(NOW) is None
    assert watch.trouble is None
    assert told[1:] == [f"{watch.cloud}'s metadata service answers again."]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_service_that_is_gone_is_told_of_once(cloud: str) -> None:
    told: list[str] = []
    with standing() as stand:
        getattr(stand, cloud)()
        watch = Watch(CLOUDS[cloud](stand.url), told.append)
        assert watch.look(NOW) is None
    assert watch.look(NOW) is None
    assert watch.look(NOW) is None
    assert len(told) == 1


def test_a_recommendation_is_told_of_once_and_a_notice_after_it_counts(stand: Stand) -> None:
    told: list[str] = []
    watch = Watch(Aws(stand.aws().url), told.append)
    stand.answers[REBALANCE] = action(noticeTime="2026-03-01T12:00:00Z")
    assert watch.look(NOW) is None
    assert watch.look(NOW) is None
    (line,) = told
    assert "may reclaim this machine soon" in line
    stand.answers[ACTION] = action(action="terminate", time="2026-03-01T12:01:30Z")
    assert watch.look(NOW) is not None


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_is_told_from_the_others(stand: Stand, cloud: str) -> None:
    getattr(stand, cloud)()
    found = detect(stand.url)
    assert found is not None
    assert isinstance(found, CLOUDS[cloud])  # type: ignore[arg-type]


def test_outside_of_a_cloud_there_is_nothing_to_watch(stand: Stand) -> None:
    assert detect(stand.url) is None
    done = CliRunner().invoke(main, ["watch-notices", "--metadata-url", stand.url])
    assert done.exit_code == 2
    assert f"no cloud's metadata service answers at {stand.url}" in done.output


def test_a_metadata_url_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(main, ["watch-notices", "--metadata-url", "169.254.169.254"])
    assert done.exit_code == 2
    assert "not an http URL" in done.output


def test_no_proxy_speaks_for_the_metadata_service(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # discards what it is sent
    monkeypatch.delenv("no_proxy", raising=False)
    assert Aws(stand.aws().url).look(NOW) is None
