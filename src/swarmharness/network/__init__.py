"""How nodes reach each other: the ports `Transport` and `Dht`, their libp2p adapters and their in-memory twins."""
