"""Aave v3, releases 3.0.0 to 3.7. `SOURCES.md` names the contract behind each port."""
