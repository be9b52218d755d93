"""How receipts and fork proofs reach those who need them: gossip, reconciliation, and one flood for proofs."""
