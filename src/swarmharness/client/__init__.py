"""The Python API: a program's view of a swarm, through a node; it serves nobody and holds no swarm state itself.

`swarmharness.connect` (trio) and `swarmharness.connect_sync` (scripts, notebooks) are the two doors; docs/python.md
shows both. Nothing here is loaded before one of them is used.
"""
