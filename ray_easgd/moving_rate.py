"""How strongly the elastic force pulls, as a function of how many share a hub."""

from __future__ import annotations

from ray_easgd.errors import BadConfig


def moving_rate(beta: float, children: int, *, has_parent: bool = False) -> float:
    """A hub's moving rate ``min(1/2, beta / (children + parent))``.

    ``beta / p`` for a flat center with p >= 2 workers (elastic symmetry, paper section 3), and
    ``beta / (d + 1)`` at an inner node of fan-out d. The cap keeps one worker stable; the center
    then moves at about half of SGD's pace. See docs/mathematics.md, 2.11.
    """
    return min(0.5, beta / max(1, children + has_parent))


def refuse_drift(
    rate: float, *, eta_h: float, period: int, num_workers: int, between_steps: bool = False
) -> None:
    """BadConfig where workers would drift apart, on a problem of known ``eta h``.

    Over a period their differences are multiplied by ``q^(tau-1) (q - alpha)``, ``q = 1 - eta h``,
    or between steps by ``q^tau (1 - alpha)`` (docs/mathematics.md, 3.4): at period 1 a rate
    ``alpha <= -eta h`` lets them grow, though the center may still look stable.
    """
    q = 1.0 - eta_h
    factor = q**period * (1.0 - rate) if between_steps else q ** (period - 1) * (q - rate)
    if rate < 0 and num_workers > 1 and factor >= 1.0:
        limit = 1.0 - q**-period if between_steps else q - q ** (1 - period)
        raise BadConfig(
            "algorithm.moving_rate",
            rate,
            f"workers would drift apart: their differences grow by {factor:.4g} a period "
            f"(at lr * curvature = {eta_h:g})",
            f"Take a rate above {limit:.4g}, or one worker.",
        )


def refuse_runaway(rate: float) -> None:
    """BadConfig for a negative rate at both ends of an exchange, on a convex problem.

    With ``beta = p alpha < 0`` the mean system is unstable whatever ``eta h`` (docs/mathematics.md,
    3.4).
    """
    if rate < 0:
        raise BadConfig(
            "algorithm.moving_rate",
            rate,
            "the center would run away: one rate at both ends makes beta = p * alpha negative",
            "Take algorithm.name=two_rate with a positive algorithm.center_rate, or a rate >= 0.",
        )
