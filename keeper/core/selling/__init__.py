"""What becomes of seized collateral: routes and their limits, what is left of it, which size and plan to take."""
