"""The table that says which relays orders are offered to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from keeper.settings.fields import TABLE, RpcUrl, as_list


class Relays(BaseModel):
    """Orders go to private relays instead of the public mempool."""

    model_config = TABLE

    urls: Annotated[list[RpcUrl], BeforeValidator(as_list), Field(min_length=1)]
    """Each is offered every order. Secrets, like all URLs."""
    method: Literal["bundle", "private"] = "bundle"
    """`eth_sendBundle` for each next block, or `eth_sendPrivateTransaction` once."""
    keystore: Path
    """The key under which the relays know us: never a signer's. An encrypted V3 keystore, mode 0600."""
    password_file: Path | None = None
    for_blocks: int | None = Field(None, ge=1, le=50)
    """Offered for so many blocks; default what a plan must hold for, less one where it is published afterwards."""
    fallback: Literal["never", "public"] = "never"
    """What becomes of an order that was not mined by then: given up, or published."""

    def blocks_of(self, inclusion_blocks: int) -> int:
        """For how many blocks orders are offered whose plans hold for `inclusion_blocks`. Raises `ValueError` where one could
        be mined after the window that it was planned for."""
        most = inclusion_blocks - (1 if self.fallback == "public" else 0)
        if most < 1:
            raise ValueError('relays.fallback = "public" needs inclusion_blocks of 2 at least')
        if self.for_blocks is not None and self.for_blocks > most:
            raise ValueError(
                f"relays.for_blocks is {self.for_blocks}, but orders are planned for inclusion_blocks = {inclusion_blocks}"
                f" and may be offered for {most} at most"
            )
        return self.for_blocks or most
