"""What strangers may try: a raw attacker on sockets, and what a node must do about it."""
