"""SwarmHarness: idle devices become one swarm for AI inference; importing this package loads nothing heavy."""

__version__ = "0.1.0"
