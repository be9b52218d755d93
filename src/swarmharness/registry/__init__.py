"""SwarmRegistry: who is out there, and what each node says it can do."""
