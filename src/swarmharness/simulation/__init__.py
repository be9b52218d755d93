"""A swarm in one process, of the real services on in-memory ports: for tests now, for whole simulations later."""
