"""A hub's vector in memory that its node's processes share, and exchanges in place.

``segment``: the memory. ``stripes``: its locks, taken by try. ``passes``: the compiled loops.
``desk``: a child's place at it. ``hall``: the hub's side.
"""
