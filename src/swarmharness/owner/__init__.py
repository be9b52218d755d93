"""Owner first: when a machine may serve others, by its owner's limits, schedule and pauses."""
