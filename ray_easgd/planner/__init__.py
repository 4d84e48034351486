"""Before a run: whether it is stable, what it will cost, and which period and rate to take."""
