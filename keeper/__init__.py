"""keeper: an on-chain liquidation keeper that restores borrowers with the least repayment."""

__version__ = "0.1.0"
