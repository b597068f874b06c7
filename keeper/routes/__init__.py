"""From collateral to debt asset: one file per kind of venue. Pools are computed exactly from what the pinned batch reads."""
