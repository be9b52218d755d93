"""SwarmRouter: which peer gets a task, and why the others did not."""
