"""What a user submits to a cluster: entry points and their configurations. No logic."""
