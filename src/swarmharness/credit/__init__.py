"""SwarmCredit: who earned what, in receipts that both parties sign."""
