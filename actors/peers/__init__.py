"""The contenders of ``benchmark peers`` that run on Ray: our own methods, and Ray Train."""
