"""How an executor, and an order to it, look to people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.table import Table

from keeper.app.executor import role_words
from keeper.cli.render import checksum, checksum_tree, table_console
from keeper.core.units import Address, to_hex

if TYPE_CHECKING:
    from keeper.app.executor import Ordered, Shown

_NATIVE_DECIMALS = 18


def show_order(ordered: Ordered) -> None:
    words = " ".join(str(checksum_tree(word)) for word in ordered.words.split())
    lines = [f"{ordered.chain}: {words}"]
    if ordered.transaction is None:
        lines.append(f"gas: {ordered.gas_limit:,}, at most {_exact(ordered.most_wei, _NATIVE_DECIMALS)} native coin")
        lines.append('nothing was sent: --live, with mode = "live" in the configuration, sends it')
    else:
        lines.append(f"mined: {to_hex(ordered.transaction)} in block {ordered.block_number:,}")
        lines.append(f"cost: {_exact(ordered.cost_wei or 0, _NATIVE_DECIMALS)} native coin")
    if ordered.executor is not None and ordered.code_hash is not None:
        lines.append(f"address: {checksum(ordered.executor)}")
        lines.append(f"code hash: {to_hex(ordered.code_hash)}, as this keeper's executor has it")
        lines.append(f'write into chains.{ordered.chain}: executor = "{checksum(ordered.executor)}"')
    sys.stdout.write("\n".join(lines) + "\n")


def show_state(shown: Shown) -> None:
    state, owner = shown.state, checksum(shown.state.identity.owner)
    if shown.expected_owner not in (None, state.identity.owner):
        owner += ": neither the signer nor executor_owner"
    rows = [
        ("address", checksum(state.identity.address)),
        ("owner", owner),
        ("recipient", checksum(state.identity.recipient)),
        ("code hash", f"{to_hex(state.identity.code_hash)}, as this keeper's executor has it"),
        ("block", f"{state.block.number:,}"),
    ]
    rows += [("operator", checksum(each)) for each in sorted(state.operators)] or [("operator", "nobody")]
    rows += [("allowed", f"{_named(shown, each)} as {role_words(role)}") for each, role in sorted(state.roles.items())]
    rows += [
        ("may be lost", _amount(shown, token, amount_raw)) for token, amount_raw in sorted(state.loss_left_raw.items())
    ]
    held = {token: amount_raw for token, amount_raw in state.balances_raw.items() if amount_raw}
    rows += [("holds", _amount(shown, token, amount_raw)) for token, amount_raw in held.items()] or [
        ("holds", "nothing")
    ]
    silent = [token for token, amount_raw in state.balances_raw.items() if amount_raw is None]
    rows += [("holds", f"{_named(shown, token)} does not say") for token in silent]
    table = Table(title=f"{shown.chain}: the executor", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    table_console().print(table)


def _named(shown: Shown, address: Address) -> str:
    name = shown.names.get(address)
    return f"{name} {checksum(address)}" if name is not None else checksum(address)


def _amount(shown: Shown, token: Address, amount_raw: int) -> str:
    decimals = shown.decimals.get(token)
    name = shown.names.get(token, checksum(token))
    return f"{amount_raw} raw units of {name}" if decimals is None else f"{_exact(amount_raw, decimals)} {name}"


def _exact(amount_raw: int, decimals: int) -> str:
    whole, places = divmod(amount_raw, 10**decimals)
    return f"{whole:,}" + (f".{places:0{decimals}d}".rstrip("0") if places else "")
