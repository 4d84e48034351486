"""Measurements of the exchange, as ratios against a yardstick of the same run."""
