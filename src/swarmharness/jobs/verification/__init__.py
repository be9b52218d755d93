"""Results that are checked: draws the coin, asks a second peer, compares, judges, and settles what was right."""
