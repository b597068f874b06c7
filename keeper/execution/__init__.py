"""Simulate, send or rehearse the calls of an order, and read back what they did. Judges nothing."""
