"""Calls of the executor contract as bytes, and its answers and refusals in words. See contracts/Executor.vy."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from keeper.core.block import Call, Log
from keeper.core.errors import MalformedResponse
from keeper.core.executor import ExecutorPlan, ExecutorRole, LiquidationStep, Loan, LoanSource
from keeper.core.swap import StepKind, SwapStep
from keeper.core.units import UINT256_MAX, Address, to_hex

EXECUTE = bytes.fromhex("dd393dfd")
SET_OPERATOR = bytes.fromhex("0fe42159")
ALLOW = bytes.fromhex("6c6f31f2")
SET_LOSS_LEFT = bytes.fromhex("eb667c3a")
WITHDRAW = bytes.fromhex("f3fef3a3")
OWNER = bytes.fromhex("117803e3")
RECIPIENT = bytes.fromhex("0d9019e1")
OPERATORS = bytes.fromhex("13e7c9d8")
ALLOWED = bytes.fromhex("d63a8e11")
LOSS_LEFT = bytes.fromhex("bc298ce9")
OPERATOR_SET_TOPIC = bytes.fromhex("1a594081ae893ab78e67d9b9e843547318164322d32c65369d78a96172d9dc8f")
ALLOWED_TOPIC = bytes.fromhex("9f6a9982e68048113ec7fb2b76a7ee454217214be376ad9da8393eb4ef774d4b")
LOSS_LEFT_SET_TOPIC = bytes.fromhex("d9e54d8ec09f7cf86c1f09e27c9a449d7dcbc7573d0c4f09b87fc9c35890f21f")
WITHDRAWN_TOPIC = bytes.fromhex("7084f5476618d8e60b11ef0d7d3f06914655adb8793e28ff7f018d4c76d505d5")
OWNER_SELECTORS = frozenset({SET_OPERATOR, ALLOW, SET_LOSS_LEFT, WITHDRAW})
"""What only the owner may call."""

_FLASH_TOPIC = bytes.fromhex("bdbdb71d7860376ba52b25a5028beea23581364a40522f6bcfb86bb1f2dca633")
"""Flash(address,address,uint256,uint256,uint256,uint256), of a Uniswap v3 pool."""

EXECUTE_TYPES = (
    "address",
    "address",
    "uint256",
    "address",
    "bool",
    "uint256",
    "int256",
    "(address,address,address,uint256,uint256,bool,uint256)[]",
    "(uint256,address,address,address,uint256,uint256,bool,uint256)[]",
    "bytes",
)
_NOBODY = Address(bytes(20))
_VENUES = {
    StepKind.POOL_V3: 1,
    StepKind.POOL_V3_EXACT_OUT: 2,
    StepKind.PAIR_V2: 4,
    StepKind.ROUTER: 8,
}
_KINDS = {number: kind for kind, number in _VENUES.items()}
_ERROR_STRING = bytes.fromhex("08c379a0")
REFUSALS = {
    "owner": "only the executor's owner may do that",
    "operator": "the sender is none of the executor's operators",
    "expired": "it came after its last moment",
    "market": "the market is not on the executor's list",
    "lender": "the lender is not on the executor's list, or somebody called back who was not asked",
    "lost": "the borrowers' debts changed: somebody was first",
    "callback": "the lender did not lend",
    "gain": "less was gained than the least",
    "loss": "more would be lost than the owner leaves operators to lose",
    "initiator": "a flash loan that somebody else took",
    "params": "the lender handed back something else than it was given",
    "payee": "a pool that was not asked, or was paid already, wants to be paid",
    "payment": "a pool asks for more than it was offered",
    "health": "the borrower's health stays below the target",
    "venue": "a venue is not on the executor's list",
    "slippage": "a swap gives less than its limit",
    "approve": "a token refuses an allowance",
    "transfer": "a token refuses a transfer",
    "router": "a router cannot have another role",
    "address": "the owner or the recipient is missing",
}
"""The contract's reasons, each in words."""


def encode_execute(executor: Address, plan: ExecutorPlan) -> Call:
    """The operator's one call."""
    liquidations = [
        (
            each.collateral_asset,
            each.borrower,
            each.debt_token,
            each.debt_scaled,
            each.debt_to_cover_raw,
            each.receive_a_token,
            each.target_wad,
        )
        for each in plan.liquidations
    ]
    swaps = [
        (
            _VENUES[each.kind],
            each.venue,
            each.token_in,
            each.token_out,
            each.amount_raw,
            each.limit_raw,
            each.zero_for_one,
            len(each.calldata),
        )
        for each in plan.swaps
    ]
    values = (
        plan.market,
        plan.debt_asset,
        plan.loan.source,
        plan.loan.lender or _NOBODY,
        plan.loan.lends_token0,
        plan.latest_s,
        plan.least_gain_raw,
        liquidations,
        swaps,
        b"".join(each.calldata for each in plan.swaps),
    )
    return Call(executor, EXECUTE + encode(EXECUTE_TYPES, values))


def decode_execute(calldata: bytes) -> ExecutorPlan:
    """The way back, from the calldata of a transaction of ours. Raises `MalformedResponse` when it is no such call."""
    if calldata[:4] != EXECUTE:
        raise MalformedResponse(f"{to_hex(calldata[:4])} is no call of execute")
    try:
        market, debt_asset, source, lender, token0, latest_s, least_gain, liquidations, swaps, calldatas = decode(
            EXECUTE_TYPES, calldata[4:]
        )
        loan_source = LoanSource(source)
        kinds = [_KINDS[swap[0]] for swap in swaps]
    except (DecodingError, ValueError, KeyError):
        raise MalformedResponse("a call of execute does not decode") from None
    steps: list[SwapStep] = []
    start = 0
    for kind, (_, venue, token_in, token_out, amount, limit, zero_for_one, size) in zip(kinds, swaps, strict=True):
        between = to_address(venue), to_address(token_in), to_address(token_out)
        steps.append(SwapStep(kind, *between, amount, limit, zero_for_one, calldatas[start : start + size]))
        start += size
    return ExecutorPlan(
        market=to_address(market),
        debt_asset=to_address(debt_asset),
        liquidations=tuple(
            LiquidationStep(to_address(collateral), to_address(borrower), to_address(token), *rest)
            for collateral, borrower, token, *rest in liquidations
        ),
        swaps=tuple(steps),
        loan=Loan(loan_source, None if loan_source is LoanSource.INVENTORY else to_address(lender), token0),
        latest_s=latest_s,
        least_gain_raw=least_gain,
    )


def pool_fees(calldata: bytes, logs: Sequence[Log]) -> dict[Address, int]:
    """What a transaction of ours paid for a Uniswap v3 pool's loan, by its logs, in raw units by asset; empty when it took
    none. Raises `MalformedResponse`."""
    plan = decode_execute(calldata)
    if plan.loan.source is not LoanSource.POOL_V3:
        return {}
    found = [log for log in logs if log.address == plan.loan.lender and log.topics[:1] == (_FLASH_TOPIC,)]
    if len(found) != 1 or len(found[0].data) != 128:
        raise MalformedResponse("the receipt of a transaction with a pool's loan does not tell of one loan")
    paid0_raw, paid1_raw = int.from_bytes(found[0].data[64:96]), int.from_bytes(found[0].data[96:])
    return {plan.debt_asset: paid0_raw if plan.loan.lends_token0 else paid1_raw}


def encode_allow(executor: Address, target: Address, roles: ExecutorRole) -> Call:
    """The owner's: what `target` may be called as from now on; `ExecutorRole(0)` forbids it."""
    return Call(executor, ALLOW + encode(("address", "uint256"), (target, int(roles))))


def encode_set_operator(executor: Address, operator: Address, *, may: bool) -> Call:
    return Call(executor, SET_OPERATOR + encode(("address", "bool"), (operator, may)))


def encode_loss_left(executor: Address, token: Address) -> Call:
    """What operators may still lose of a token, in raw units."""
    return Call(executor, LOSS_LEFT + token.rjust(32, b"\0"))


def encode_set_loss_left(executor: Address, token: Address, amount_raw: int) -> Call:
    """The owner's: what operators may lose of a debt asset, all transactions together, from now on."""
    return Call(executor, SET_LOSS_LEFT + encode(("address", "uint256"), (token, amount_raw)))


def encode_withdraw(executor: Address, token: Address, amount_raw: int | None) -> Call:
    """The owner's: tokens to the fixed recipient; None: all there are."""
    amount_raw = UINT256_MAX if amount_raw is None else amount_raw
    return Call(executor, WITHDRAW + encode(("address", "uint256"), (token, amount_raw)))


def encode_constructor(owner: Address, recipient: Address) -> bytes:
    """What follows the creation code."""
    return encode(("address", "address"), (owner, recipient))


def explain_refusal(revert_data: bytes) -> str | None:
    """Why the executor itself refused, in words; None when the reason is none of its own (a market's, a token's, a pool's)."""
    return REFUSALS.get(_reason(revert_data) or "")


def says_lost(revert_data: bytes) -> bool:
    """Whether the executor found nobody left whose debt is the planned one."""
    return _reason(revert_data) == "lost"


def _reason(revert_data: bytes) -> str | None:
    if revert_data[:4] != _ERROR_STRING:
        return None
    try:
        (reason,) = decode(("string",), revert_data[4:])
    except (DecodingError, ValueError):
        return None
    return str(reason)


def decode_settings_logs(
    logs: Sequence[Log],
) -> tuple[dict[Address, bool], dict[Address, ExecutorRole], dict[Address, int]]:
    """Operators, roles by target, loss left by token, as the last of the contract's own logs tell (spending is not among
    them). Raises `MalformedResponse`."""
    operators: dict[Address, bool] = {}
    roles: dict[Address, ExecutorRole] = {}
    loss_left_raw: dict[Address, int] = {}
    for log in logs:
        if not log.topics or log.topics[0] not in (OPERATOR_SET_TOPIC, ALLOWED_TOPIC, LOSS_LEFT_SET_TOPIC):
            continue
        if len(log.topics) != 2 or len(log.data) != 32:
            raise MalformedResponse("a log of the executor is not what its contract writes")
        whom, word = Address(log.topics[1][12:]), int.from_bytes(log.data)
        if log.topics[0] == OPERATOR_SET_TOPIC:
            operators[whom] = bool(word)
        elif log.topics[0] == ALLOWED_TOPIC:
            roles[whom] = ExecutorRole(word)
        else:
            loss_left_raw[whom] = word
    return operators, roles, loss_left_raw


def to_address(text: str) -> Address:
    """As the codec gives addresses."""
    return Address(bytes.fromhex(text[2:]))
