"""What each kind does before and after its model runs; this code runs in worker processes alone."""
