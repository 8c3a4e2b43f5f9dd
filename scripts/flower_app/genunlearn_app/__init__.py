"""The two halves of the application that ``pyproject.toml`` names."""

from genunlearn.runs.network.federated.app import client, server

__all__ = ["client", "server"]
