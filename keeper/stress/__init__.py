"""What would be, at other prices: a pure look at a snapshot of one market's borrowers."""
