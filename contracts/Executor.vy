# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title Executor
@license MIT
@notice Liquidates borrowers of Aave v3 markets in one transaction: borrow, liquidate, swap, repay, keep the profit.
@dev Roles: the owner says who may operate and what may be called, and withdraws to one fixed recipient. An operator may only
     execute; whatever it asks for, no balance that this contract had before can shrink, but a debt asset's by what is left of
     its `loss_left`. Nobody is called with money but whom the owner has allowed: markets, lenders, pools, pairs and routers.
     Nothing is left behind: no allowance outlasts a transaction. No delegatecall.
"""

from ethereum.ercs import IERC20


interface Market:
    def liquidationCall(
        collateral: address, debt: address, borrower: address, debt_to_cover: uint256, receive_a_token: bool
    ): nonpayable
    def flashLoanSimple(
        receiver: address, asset: address, amount: uint256, params: Bytes[MOST_BYTES], referral: uint16
    ): nonpayable
    def getUserAccountData(
        borrower: address
    ) -> (uint256, uint256, uint256, uint256, uint256, uint256): view


interface DebtToken:
    def scaledBalanceOf(borrower: address) -> uint256: view


interface Morpho:
    def flashLoan(token: address, assets: uint256, params: Bytes[MOST_BYTES]): nonpayable


interface PoolV3:
    def flash(recipient: address, amount0: uint256, amount1: uint256, params: Bytes[MOST_BYTES]): nonpayable
    def swap(
        recipient: address, zero_for_one: bool, amount: int256, price_limit: uint160, params: Bytes[1]
    ) -> (int256, int256): nonpayable


interface PairV2:
    def swap(amount0_out: uint256, amount1_out: uint256, to: address, params: Bytes[1]): nonpayable


# What an address may be called as. The owner allows any of them together, but a router is nothing else.
flag Role:
    MARKET  # an Aave v3 pool: liquidations, and its own flash loans
    MORPHO  # Morpho Blue: free flash loans
    POOL_V3  # a Uniswap v3 pool: swaps and flash loans
    PAIR_V2  # a Uniswap v2 pair: swaps
    ROUTER  # called with the operator's own calldata, and an exact allowance


flag Source:
    INVENTORY
    MARKET
    MORPHO
    POOL_V3


flag Venue:
    POOL_V3
    POOL_V3_EXACT_OUT
    PAIR_V2
    ROUTER


struct Liquidation:
    collateral: address
    borrower: address
    debt_token: address
    scaled_debt: uint256  # as planned; if the borrower's is another one, somebody was first
    debt_to_cover: uint256
    receive_a_token: bool
    target_wad: uint256  # health factor that must be reached; 0: not looked at


struct Swap:
    kind: Venue
    venue: address
    token_in: address
    token_out: address
    amount: uint256  # most in; `POOL_V3_EXACT_OUT`: out. max_value(uint256): all that came in of it
    limit: uint256  # least out for `amount`, for less in proportion; `PAIR_V2`: exactly that; `POOL_V3_EXACT_OUT`: most in
    zero_for_one: bool
    calldata_size: uint256  # `ROUTER`: so many bytes of `calldatas`, after those of the routers before it


MOST_LIQUIDATIONS: constant(uint256) = 8
MOST_SWAPS: constant(uint256) = 8
MOST_CALLDATA: constant(uint256) = 6144
MOST_BYTES: constant(uint256) = 11264  # what a lender hands back: all of the above, encoded
LOWEST_PRICE: constant(uint160) = 4295128740
HIGHEST_PRICE: constant(uint160) = 1461446703485210103287273052203988822378723970341
ALL: constant(uint256) = max_value(uint256)

OWNER: public(immutable(address))
RECIPIENT: public(immutable(address))
operators: public(HashMap[address, bool])
allowed: public(HashMap[address, Role])
loss_left: public(HashMap[address, uint256])  # of a debt asset, by all transactions; spending the inventory counts as a loss

# Who may call back, with what, and only while we wait for it. Transient: empty outside of our own transactions.
_lender: transient(address)
_params_hash: transient(bytes32)
_payee: transient(address)
_payment_token: transient(address)
_payment_most: transient(uint256)


event OperatorSet:
    operator: indexed(address)
    allowed: bool


event Allowed:
    target: indexed(address)
    roles: Role


event LossLeftSet:
    token: indexed(address)
    amount: uint256


event Withdrawn:
    token: indexed(address)
    amount: uint256


@deploy
def __init__(owner: address, recipient: address):
    assert owner != empty(address) and recipient != empty(address), "address"
    OWNER = owner
    RECIPIENT = recipient


# -- the owner ---------------------------------------------------------------------------------------------------------


@external
def set_operator(operator: address, may: bool):
    assert msg.sender == OWNER, "owner"
    self.operators[operator] = may
    log OperatorSet(operator=operator, allowed=may)


@external
def allow(target: address, roles: Role):
    """
    @notice What `target` may be called as, from now on; no role at all forbids it.
    @dev A router does what the operator's calldata says: on a market that could be a withdrawal of what this contract supplied.
    """
    assert msg.sender == OWNER, "owner"
    assert roles == Role.ROUTER or Role.ROUTER not in roles, "router"
    self.allowed[target] = roles
    log Allowed(target=target, roles=roles)


@external
def set_loss_left(token: address, amount: uint256):
    """
    @notice What operators may lose, from now on, of a debt asset that this contract holds. Nothing, unless the owner says so.
    """
    assert msg.sender == OWNER, "owner"
    self.loss_left[token] = amount
    log LossLeftSet(token=token, amount=amount)


@external
@nonreentrant
def withdraw(token: address, amount: uint256):
    """
    @notice Send tokens to the recipient. `max_value(uint256)`: all there are.
    """
    assert msg.sender == OWNER, "owner"
    sent: uint256 = amount
    if amount == ALL:
        sent = staticcall IERC20(token).balanceOf(self)
    self._send(token, RECIPIENT, sent)
    log Withdrawn(token=token, amount=sent)


# -- the operator ------------------------------------------------------------------------------------------------------


@external
@nonreentrant
def execute(
    market: address,
    debt_asset: address,
    source: Source,
    lender: address,
    lends_token0: bool,
    latest_s: uint256,
    least_gain: int256,
    liquidations: DynArray[Liquidation, MOST_LIQUIDATIONS],
    swaps: DynArray[Swap, MOST_SWAPS],
    calldatas: Bytes[MOST_CALLDATA],
):
    """
    @notice Liquidate borrowers of one market that owe one asset; or revert, all of it.
    @dev Borrowers whose debt is no longer the planned one are left out; when none is left nothing is borrowed. `latest_s`: the
         last timestamp at which it may be mined. `least_gain`: what the balance of the debt asset must have grown by at the
         end, in raw units; below zero, what it may shrink by. `lender`, but for the inventory: who lends.
    """
    assert self.operators[msg.sender], "operator"
    assert block.timestamp <= latest_s, "expired"
    assert Role.MARKET in self.allowed[market], "market"

    left: DynArray[Liquidation, MOST_LIQUIDATIONS] = []
    needed: uint256 = 0
    for each: Liquidation in liquidations:
        if staticcall DebtToken(each.debt_token).scaledBalanceOf(each.borrower) == each.scaled_debt:
            left.append(each)
            needed += each.debt_to_cover
    assert needed != 0, "lost"

    before: uint256 = staticcall IERC20(debt_asset).balanceOf(self)
    params: Bytes[MOST_BYTES] = abi_encode(market, debt_asset, needed, left, swaps, calldatas)
    if source == Source.INVENTORY:
        self._liquidate_and_swap(params, 0)
    else:
        self._lender = lender
        self._params_hash = keccak256(params)
        if source == Source.MARKET:
            assert lender == market, "lender"
            extcall Market(lender).flashLoanSimple(self, debt_asset, needed, params, 0)
        elif source == Source.MORPHO:
            assert Role.MORPHO in self.allowed[lender], "lender"
            extcall Morpho(lender).flashLoan(debt_asset, needed, params)
        else:
            assert Role.POOL_V3 in self.allowed[lender], "lender"
            extcall PoolV3(lender).flash(
                self, needed if lends_token0 else 0, 0 if lends_token0 else needed, params
            )
        assert self._lender == empty(address), "callback"
        if lender != market:
            self._forbid(debt_asset, lender)
    self._forbid(debt_asset, market)

    gain: int256 = convert(staticcall IERC20(debt_asset).balanceOf(self), int256) - convert(before, int256)
    assert gain >= least_gain, "gain"
    if gain < 0:
        loss: uint256 = convert(-gain, uint256)
        loss_left: uint256 = self.loss_left[debt_asset]
        assert loss <= loss_left, "loss"
        self.loss_left[debt_asset] = loss_left - loss


# -- who lends calls back ----------------------------------------------------------------------------------------------


@external
def executeOperation(
    asset: address, amount: uint256, premium: uint256, initiator: address, params: Bytes[MOST_BYTES]
) -> bool:
    """
    @notice Aave's flash loan. The pool pulls amount and premium when this returns.
    """
    assert initiator == self, "initiator"
    self._called_back(keccak256(params))
    self._liquidate_and_swap(params, amount + premium)
    return True


@external
def onMorphoFlashLoan(assets: uint256, params: Bytes[MOST_BYTES]):
    """
    @notice Morpho's flash loan. It pulls the assets when this returns.
    """
    self._called_back(keccak256(params))
    debt_asset: address = empty(address)
    needed: uint256 = 0
    debt_asset, needed = self._liquidate_and_swap(params, 0)
    self._approve(debt_asset, msg.sender, needed)


@external
def uniswapV3FlashCallback(fee0: uint256, fee1: uint256, params: Bytes[MOST_BYTES]):
    """
    @notice A pool's flash loan. It looks at its balances when this returns.
    """
    self._called_back(keccak256(params))
    debt_asset: address = empty(address)
    needed: uint256 = 0
    debt_asset, needed = self._liquidate_and_swap(params, 0)
    self._send(debt_asset, msg.sender, needed + fee0 + fee1)


@external
def uniswapV3SwapCallback(delta0: int256, delta1: int256, params: Bytes[1]):
    """
    @notice A pool asks for what it is owed for a swap of ours.
    """
    assert msg.sender == self._payee, "payee"
    self._payee = empty(address)
    owed: uint256 = convert(delta0 if delta0 > 0 else delta1, uint256)
    assert owed <= self._payment_most, "payment"
    self._send(self._payment_token, msg.sender, owed)


# -- inside ------------------------------------------------------------------------------------------------------------


@internal
def _called_back(params_hash: bytes32):
    """
    @dev By the lender that we asked, once, with what we gave it.
    """
    assert msg.sender == self._lender, "lender"
    assert params_hash == self._params_hash, "params"
    self._lender = empty(address)


@internal
def _liquidate_and_swap(params: Bytes[MOST_BYTES], pulled_after: uint256) -> (address, uint256):
    """
    @dev `pulled_after`: what the market pulls besides the repayments, once they are done. Returns the debt asset and the loan.
    """
    market: address = empty(address)
    debt_asset: address = empty(address)
    needed: uint256 = 0
    liquidations: DynArray[Liquidation, MOST_LIQUIDATIONS] = []
    swaps: DynArray[Swap, MOST_SWAPS] = []
    calldatas: Bytes[MOST_CALLDATA] = b""
    market, debt_asset, needed, liquidations, swaps, calldatas = abi_decode(
        params,
        (
            address,
            address,
            uint256,
            DynArray[Liquidation, MOST_LIQUIDATIONS],
            DynArray[Swap, MOST_SWAPS],
            Bytes[MOST_CALLDATA],
        ),
    )
    held: DynArray[uint256, MOST_SWAPS] = []
    for swap: Swap in swaps:
        held.append(staticcall IERC20(swap.token_in).balanceOf(self))
    self._approve(debt_asset, market, needed + pulled_after)
    for each: Liquidation in liquidations:
        extcall Market(market).liquidationCall(
            each.collateral, debt_asset, each.borrower, each.debt_to_cover, each.receive_a_token
        )
        if each.target_wad != 0:
            assert (staticcall Market(market).getUserAccountData(each.borrower))[5] >= each.target_wad, "health"
    place: uint256 = 0
    start: uint256 = 0
    for swap: Swap in swaps:
        came_in: uint256 = staticcall IERC20(swap.token_in).balanceOf(self) - held[place]
        if came_in != 0:  # else its borrowers were left out
            if swap.kind == Venue.ROUTER:
                self._route(swap, min(came_in, swap.amount), slice(calldatas, start, swap.calldata_size))
            else:
                self._swap(swap, came_in)
        place += 1
        start += swap.calldata_size
    return debt_asset, needed


@internal
def _swap(swap: Swap, came_in: uint256):
    paid: uint256 = min(came_in, swap.amount)
    least: uint256 = swap.limit
    if paid != swap.amount and swap.amount != ALL:
        least = swap.limit * paid // swap.amount
    if swap.kind == Venue.PAIR_V2:
        assert Role.PAIR_V2 in self.allowed[swap.venue], "venue"
        self._send(swap.token_in, swap.venue, paid)
        extcall PairV2(swap.venue).swap(0 if swap.zero_for_one else least, least if swap.zero_for_one else 0, self, b"")
        return
    assert Role.POOL_V3 in self.allowed[swap.venue], "venue"
    amount: int256 = 0
    if swap.kind == Venue.POOL_V3_EXACT_OUT:
        paid = min(came_in, swap.limit)
        least = swap.amount
        amount = -convert(swap.amount, int256)
    else:
        amount = convert(paid, int256)
    self._payee = swap.venue
    self._payment_token = swap.token_in
    self._payment_most = paid
    delta0: int256 = 0
    delta1: int256 = 0
    delta0, delta1 = extcall PoolV3(swap.venue).swap(
        self, swap.zero_for_one, amount, LOWEST_PRICE if swap.zero_for_one else HIGHEST_PRICE, b""
    )
    self._payee = empty(address)
    assert convert(-delta1 if swap.zero_for_one else -delta0, uint256) >= least, "slippage"


@internal
def _route(swap: Swap, paid: uint256, calldata: Bytes[MOST_CALLDATA]):
    assert Role.ROUTER in self.allowed[swap.venue], "venue"
    before: uint256 = staticcall IERC20(swap.token_out).balanceOf(self)
    self._approve(swap.token_in, swap.venue, paid)
    raw_call(swap.venue, calldata)
    self._forbid(swap.token_in, swap.venue)
    assert staticcall IERC20(swap.token_out).balanceOf(self) - before >= swap.limit, "slippage"


@internal
def _approve(token: address, spender: address, amount: uint256):
    """
    @dev Whoever may take something was forbidden it afterwards, so nothing is allowed before: some tokens insist on that.
    """
    assert extcall IERC20(token).approve(spender, amount, default_return_value=True), "approve"


@internal
def _forbid(token: address, spender: address):
    if staticcall IERC20(token).allowance(self, spender) != 0:
        self._approve(token, spender, 0)


@internal
def _send(token: address, to: address, amount: uint256):
    assert extcall IERC20(token).transfer(to, amount, default_return_value=True), "transfer"
