"""A run's report: one HTML page that needs nothing else, and the run in a few numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray_easgd.report.facts import summary

if TYPE_CHECKING:
    from ray_easgd.run_folder import RunFolder

__all__ = ["summary", "write_report"]


def write_report(folder: RunFolder) -> str:
    """Render ``report.html`` from what the folder holds by now, and return its path.

    A run that failed, measured nothing or is still going gets a page too, with what there is.
    """
    from ray_easgd.report.page import render

    return folder.write_page("report.html", render(folder))
