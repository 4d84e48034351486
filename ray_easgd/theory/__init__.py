"""The thesis's closed forms, as functions of numpy arrays (docs/mathematics.md, 3 and 6).

    from ray_easgd import theory
    theory.easgd_roots(0.5, 1.0, 0.2, 4)           # (0.653.., -0.153..)
    theory.easgd_stationary(eta, 1.0, 0.9 / p, 0.9, 1.0, p)  # over arrays of eta and p

One file a chapter. Hyper-parameters broadcast against each other; where the result is a matrix, its
axes come last. Points that are not stable give infinity, and arguments that mean nothing (p < 1, a
negative variance, an unknown scheme) a ValueError with the argument, its value and its domain.
``sigma2`` is always the noise of *one* worker, ``sigma_p2`` that of the mean of p.
"""

from ray_easgd.theory.additive import (
    eamsgd_drift,
    easgd_as_momentum,
    easgd_opt_alpha,
    easgd_second_moment,
    msgd_drift,
    msgd_opt_delta,
    msgd_second_moment,
    msgd_stationary,
    sgd_stationary,
)
from ray_easgd.theory.double_well import (
    double_well_by_side,
    double_well_hessian,
    double_well_lambda_min,
)
from ray_easgd.theory.multiplicative import (
    eamsgd_mult,
    easgd_mult,
    easgd_mult_best_eta,
    easgd_mult_best_p,
    easgd_mult_limit,
    msgd_mult,
    sgd_mult_opt,
    sgd_mult_rate,
)
from ray_easgd.theory.round_robin import (
    admm_rr_map,
    downpour_rr_eta_max,
    easgd_rr_alpha_max,
    easgd_rr_map,
)
from ray_easgd.theory.spectra import spectral_radius, stable_up_to
from ray_easgd.theory.synchronous import (
    double_average_var,
    easgd_center_mean,
    easgd_center_var,
    easgd_limit_p,
    easgd_roots,
    easgd_stable_mean,
    easgd_stable_sync,
    easgd_stationary,
    strongly_convex_bound,
)
from ray_easgd.theory.tree import (
    tree_alpha_max,
    tree_laplacian,
    tree_level_map,
    tree_map,
    tree_root_variance,
)
from ray_easgd.theory.two_rate import SCHEMES, downpour_factor, easgd_period_map, two_rate_map

__all__ = [
    "SCHEMES",
    "admm_rr_map",
    "double_average_var",
    "double_well_by_side",
    "double_well_hessian",
    "double_well_lambda_min",
    "downpour_factor",
    "downpour_rr_eta_max",
    "eamsgd_drift",
    "eamsgd_mult",
    "easgd_as_momentum",
    "easgd_center_mean",
    "easgd_center_var",
    "easgd_limit_p",
    "easgd_mult",
    "easgd_mult_best_eta",
    "easgd_mult_best_p",
    "easgd_mult_limit",
    "easgd_opt_alpha",
    "easgd_period_map",
    "easgd_roots",
    "easgd_rr_alpha_max",
    "easgd_rr_map",
    "easgd_second_moment",
    "easgd_stable_mean",
    "easgd_stable_sync",
    "easgd_stationary",
    "msgd_drift",
    "msgd_mult",
    "msgd_opt_delta",
    "msgd_second_moment",
    "msgd_stationary",
    "sgd_mult_opt",
    "sgd_mult_rate",
    "sgd_stationary",
    "spectral_radius",
    "stable_up_to",
    "strongly_convex_bound",
    "tree_alpha_max",
    "tree_laplacian",
    "tree_level_map",
    "tree_map",
    "tree_root_variance",
    "two_rate_map",
]
