"""`keeper resume`: lift pauses, whoever or whatever set them."""

from __future__ import annotations

from keeper.cli.config import DEFAULT_CONFIG, ConfigPath
from keeper.cli.reading import StorePath
from keeper.cli.switching import ChainName, chain_id_of, open_switch, say


def resume(
    chain: ChainName = None,
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
) -> None:
    """Lift every pause, or those of one chain. A rail whose hour or day is still spent trips again at the next order."""
    from keeper.core.pauses import words

    with open_switch(store, config) as (switch, reader):
        chain_id = chain_id_of(reader, chain)
        before = switch.standing()
        switch.lift(chain_id, "keeper resume")
        left = {each.id: each for each in switch.standing()}
        lifted = [each for each in before if each.id not in left]
        for each in lifted:
            say(f"Lifted: {words(each.pause)} (since {each.since}).")
        for each in left.values():
            say(f"Still paused: {words(each.pause)} (since {each.since}).")
        if not before:
            say("Nothing was paused.")
        elif not left:
            say("A running keeper sends again from its next head on.")
