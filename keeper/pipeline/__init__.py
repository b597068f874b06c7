"""One chain's loop: the stages and their hand-offs. Knows ports, not concretes."""
