"""The demonstration: its corpus of real texts, and a scripted swarm of real processes."""
