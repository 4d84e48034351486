"""A run in a few numbers: from its result, else from what it had measured when it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_easgd.report.numbers import Numbers

if TYPE_CHECKING:
    from ray_easgd.run_folder import RunFolder

FAILURES = {"failed", "error"}  # kinds of event that end a run


def summary(folder: RunFolder) -> dict[str, Any]:
    """``status``, ``error``, what ``train`` prints as JSON, and the number of events by kind.

    ``status`` is what the result says, else "finished", "failed" or "unfinished" (still going, or
    killed). A number nobody measured is None.
    """
    numbers, events = Numbers(folder.read_metrics()), folder.read_events()
    result = folder.read_result()
    error = _error(result, events)
    return {
        "name": folder.name,
        "path": folder.path,
        "status": "failed" if error else "unfinished" if result is None else "finished",
        "error": error,
        **_configured(folder.read_config(), numbers),
        **_measured(numbers),
        **(result or {}),
        "events": _by_kind(events),
    }


def _error(result: dict[str, Any] | None, events: list[dict[str, Any]]) -> str | None:
    if result and result.get("error"):
        return str(result["error"])
    if result:
        return None
    messages = (e["message"] for e in reversed(events) if e["kind"] in FAILURES)
    return next(messages, None)


def _configured(text: str, numbers: Numbers) -> dict[str, Any]:
    import yaml

    config = yaml.safe_load(text) if text else None
    algorithm = config.get("algorithm", {}) if isinstance(config, dict) else {}
    name = algorithm.get("name") if isinstance(algorithm, dict) else algorithm
    return {"algorithm": name, "num_workers": len(numbers.workers()) or None}


def _measured(numbers: Numbers) -> dict[str, Any]:
    wall_s, samples = numbers.reached()
    return {
        "wall_s": wall_s or None,
        "samples": samples or None,
        "samples_per_s": samples / wall_s if wall_s else None,
        "train_loss": numbers.last("loss"),
        "val_accuracy": numbers.last("val_accuracy"),
        "test_accuracy": numbers.last("test_accuracy"),
        "best_test_accuracy": numbers.highest("test_accuracy"),
    }


def _by_kind(events: list[dict[str, Any]]) -> dict[str, int]:
    kinds = [event["kind"] for event in events]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}
