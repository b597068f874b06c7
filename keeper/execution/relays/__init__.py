"""Orders that nobody sees before they are mined: offered to private relays instead of the public mempool."""
