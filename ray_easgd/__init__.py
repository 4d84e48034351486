"""Elastic Averaging SGD on Ray: one PyTorch model, trained by workers that come and go."""
