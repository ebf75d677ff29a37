"""A site and its hub: what an operator writes and runs for them."""
