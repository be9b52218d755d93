"""The composition root: configuration, data directory, start, stop and the control socket of one node."""
