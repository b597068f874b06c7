"""`keeper kill`: a pause that also takes back what is on its way."""

from __future__ import annotations

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath
from keeper.cli.switching import ChainName, Why, chain_id_of, open_switch, put_up


def kill(
    why: Why = "by `keeper kill`",
    chain: ChainName = None,
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
) -> None:
    """Send nothing from now on, and cancel what is on its way: a running keeper replaces each transaction with one that does
    nothing. What is mined before that stays mined."""
    from keeper.core.pauses import KILL, Pause, Scope

    with open_switch(store, config) as (switch, reader):
        put_up(switch, reader, Pause(Scope(chain_id_of(reader, chain)), KILL, why))
