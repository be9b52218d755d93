"""Pytest fixtures that give tests a swarm: of in-memory nodes, or of real node processes on loopback."""
