"""`keeper pause`: nothing is sent until `keeper resume`."""

from __future__ import annotations

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath
from keeper.cli.switching import ChainName, Why, chain_id_of, open_switch, put_up


def pause(
    why: Why = "by `keeper pause`",
    chain: ChainName = None,
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
) -> None:
    """Send nothing from now on: neither a running keeper nor one that is started later. Watching and explaining go on."""
    from keeper.core.pauses import BY_PERSON, Pause, Scope

    with open_switch(store, config) as (switch, reader):
        put_up(switch, reader, Pause(Scope(chain_id_of(reader, chain)), BY_PERSON, why))
