"""The contract's "no", by its own error name and by our reason.

Names are those of the custom errors (3.4 on); up to 3.3 the same errors are decimal codes, rendered by the same names.
"""

from __future__ import annotations

from keeper.core.lending import Refusal
from keeper.core.outcome import Reason, Skip

WITHOUT_DATA = "reverted without data"
"""How a revert with no return data is rendered: assembly checks and calls to nothing."""
PANIC_ARITHMETIC = "Panic(0x11)"
PANIC_DIVISION = "Panic(0x12)"


def refuse(reason: Reason, contract_error: str, detail: str = "") -> Refusal:
    return Refusal(Skip(reason, detail or contract_error), contract_error)


def refuse_otherwise(contract_error: str, detail: str = "") -> Refusal:
    """A revert that has no reason of its own: recorded by the contract's error."""
    text = f"{contract_error}: {detail}" if detail else contract_error
    return Refusal(Skip(Reason.SIMULATION_REVERTED, text), contract_error)
