"""A local anvil with the real Aave v3 contracts and real borrowers on it: for the demo, rehearsals and tests.

Nothing of this room runs in `keeper run`, except that it may *find* an anvil that is already there. What it needs
comes from the npm registry into a cache folder outside the checkout; the contracts are never redistributed.
"""
