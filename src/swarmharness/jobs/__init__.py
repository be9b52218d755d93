"""Jobs: a submission split into tasks, tried on peers, collected in order."""
