# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title Executor
@license MIT
@notice Liquidates borrowers of Aave v3 markets in one transaction: borrow, liquidate, swap, repay, keep the profit.
@dev Roles: the owner says who may operate and what may be called, and withdraws to one fixed recipient. An operator may only
     execute; whatever it asks for, no balance that this contract had before can shrink, but a debt asset's by `most_loss`.
     Nothing is trusted but what the owner has allowed: markets, lenders, pools, pairs and routers. No delegatecall.
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
    def token0() -> address: view


interface PairV2:
    def swap(amount0_out: uint256, amount1_out: uint256, to: address, params: Bytes[1]): nonpayable


# What an address may be called as; the owner allows any of them together.
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
    venue_kind: Venue
    venue: address
    token_in: address
    token_out: address
    amount: uint256  # in; `POOL_V3_EXACT_OUT`: out. max_value(uint256): all that came in of it
    limit: uint256  # least out; `POOL_V3_EXACT_OUT`: most in. `PAIR_V2`: exactly this goes out
    zero_for_one: bool
    calldata: Bytes[MOST_CALLDATA]  # `ROUTER` only


MOST_LIQUIDATIONS: constant(uint256) = 8
MOST_SWAPS: constant(uint256) = 10
MOST_CALLDATA: constant(uint256) = 2048
MOST_BYTES: constant(uint256) = 32768
LOWEST_PRICE: constant(uint160) = 4295128740
HIGHEST_PRICE: constant(uint160) = 1461446703485210103287273052203988822378723970341
ALL: constant(uint256) = max_value(uint256)

OWNER: public(immutable(address))
RECIPIENT: public(immutable(address))
operators: public(HashMap[address, bool])
allowed: public(HashMap[address, Role])
most_loss: public(HashMap[address, uint256])  # of a debt asset, by one transaction; spending the inventory counts as a loss

# Who may call back, and only while we wait for it. Transient: empty outside of our own transactions.
_lender: transient(address)
_repaid: transient(bool)
_payee: transient(address)
_payment_token: transient(address)
_payment_most: transient(uint256)


event OperatorSet:
    operator: indexed(address)
    allowed: bool


event Allowed:
    target: indexed(address)
    roles: Role


event MostLossSet:
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
    """
    assert msg.sender == OWNER, "owner"
    self.allowed[target] = roles
    log Allowed(target=target, roles=roles)


@external
def set_most_loss(token: address, amount: uint256):
    """
    @notice What one transaction may cost of a debt asset that this contract holds. Nothing, unless the owner says so.
    """
    assert msg.sender == OWNER, "owner"
    self.most_loss[token] = amount
    log MostLossSet(token=token, amount=amount)


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
    assert extcall IERC20(token).transfer(RECIPIENT, sent, default_return_value=True), "transfer"
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
    last_block: uint256,
    least_gain: int256,
    liquidations: DynArray[Liquidation, MOST_LIQUIDATIONS],
    swaps: DynArray[Swap, MOST_SWAPS],
):
    """
    @notice Liquidate borrowers of one market that owe one asset; or revert, all of it.
    @dev Borrowers whose debt is no longer the planned one are left out; when none is left nothing is borrowed. `least_gain`: what
         the balance of the debt asset must have grown by at the end, in raw units; below zero, what it may shrink by.
    """
    assert self.operators[msg.sender], "operator"
    assert block.number <= last_block, "expired"
    assert Role.MARKET in self.allowed[market], "market"
    if least_gain < 0:
        assert convert(-least_gain, uint256) <= self.most_loss[debt_asset], "loss"

    left: DynArray[Liquidation, MOST_LIQUIDATIONS] = []
    needed: uint256 = 0
    for each: Liquidation in liquidations:
        if staticcall DebtToken(each.debt_token).scaledBalanceOf(each.borrower) == each.scaled_debt:
            left.append(each)
            needed += each.debt_to_cover
    assert len(left) != 0, "lost"

    before: uint256 = staticcall IERC20(debt_asset).balanceOf(self)
    if source == Source.INVENTORY:
        self._approve(debt_asset, market, needed)
        self._liquidate_and_swap(market, debt_asset, before, left, swaps)
        self._approve(debt_asset, market, 0)
    else:
        self._lender = lender
        self._repaid = False
        if source == Source.MARKET:
            assert lender == market, "lender"
            extcall Market(lender).flashLoanSimple(
                self, debt_asset, needed, abi_encode(market, debt_asset, needed, before, left, swaps), 0
            )
        elif source == Source.MORPHO:
            assert Role.MORPHO in self.allowed[lender], "lender"
            extcall Morpho(lender).flashLoan(
                debt_asset, needed, abi_encode(market, debt_asset, needed, before, left, swaps)
            )
        else:
            assert Role.POOL_V3 in self.allowed[lender], "lender"
            extcall PoolV3(lender).flash(
                self,
                needed if lends_token0 else 0,
                0 if lends_token0 else needed,
                abi_encode(market, debt_asset, needed, before, left, swaps),
            )
        assert self._repaid, "callback"
    after: uint256 = staticcall IERC20(debt_asset).balanceOf(self)
    assert convert(after, int256) - convert(before, int256) >= least_gain, "gain"


# -- who lends calls back ----------------------------------------------------------------------------------------------


@external
def executeOperation(
    asset: address, amount: uint256, premium: uint256, initiator: address, params: Bytes[MOST_BYTES]
) -> bool:
    """
    @notice Aave's flash loan. The pool pulls amount and premium when this returns.
    """
    assert initiator == self, "initiator"
    market: address = empty(address)
    debt_asset: address = empty(address)
    needed: uint256 = 0
    before: uint256 = 0
    liquidations: DynArray[Liquidation, MOST_LIQUIDATIONS] = []
    swaps: DynArray[Swap, MOST_SWAPS] = []
    self._called_back()
    market, debt_asset, needed, before, liquidations, swaps = abi_decode(
        params,
        (
            address,
            address,
            uint256,
            uint256,
            DynArray[Liquidation, MOST_LIQUIDATIONS],
            DynArray[Swap, MOST_SWAPS],
        ),
    )
    # One allowance for what the market pulls twice: first as repayments, then as the loan.
    self._approve(debt_asset, market, needed + amount + premium)
    self._liquidate_and_swap(market, debt_asset, before, liquidations, swaps)
    self._approve(debt_asset, market, amount + premium)
    return True


@external
def onMorphoFlashLoan(assets: uint256, params: Bytes[MOST_BYTES]):
    """
    @notice Morpho's flash loan. It pulls the assets when this returns.
    """
    lender: address = self._called_back()
    debt_asset: address = self._use_loan(params)
    self._approve(debt_asset, lender, assets)


@external
def uniswapV3FlashCallback(fee0: uint256, fee1: uint256, params: Bytes[MOST_BYTES]):
    """
    @notice A pool's flash loan. It looks at its balances when this returns.
    """
    lender: address = self._called_back()
    debt_asset: address = empty(address)
    needed: uint256 = 0
    debt_asset, needed = self._use_loan_of(params)
    self._send(debt_asset, lender, needed + fee0 + fee1)


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
def _called_back() -> address:
    """
    @dev By the lender that we asked, once, and for us: nobody else can make it call while `_lender` is set.
    """
    lender: address = self._lender
    assert msg.sender == lender and lender != empty(address), "lender"
    self._lender = empty(address)
    self._repaid = True
    return lender


@internal
def _use_loan(params: Bytes[MOST_BYTES]) -> address:
    return self._use_loan_of(params)[0]


@internal
def _use_loan_of(params: Bytes[MOST_BYTES]) -> (address, uint256):
    market: address = empty(address)
    debt_asset: address = empty(address)
    needed: uint256 = 0
    before: uint256 = 0
    liquidations: DynArray[Liquidation, MOST_LIQUIDATIONS] = []
    swaps: DynArray[Swap, MOST_SWAPS] = []
    market, debt_asset, needed, before, liquidations, swaps = abi_decode(
        params,
        (
            address,
            address,
            uint256,
            uint256,
            DynArray[Liquidation, MOST_LIQUIDATIONS],
            DynArray[Swap, MOST_SWAPS],
        ),
    )
    self._approve(debt_asset, market, needed)
    self._liquidate_and_swap(market, debt_asset, before, liquidations, swaps)
    self._approve(debt_asset, market, 0)
    return debt_asset, needed


@internal
def _liquidate_and_swap(
    market: address,
    debt_asset: address,
    debt_before: uint256,
    liquidations: DynArray[Liquidation, MOST_LIQUIDATIONS],
    swaps: DynArray[Swap, MOST_SWAPS],
):
    held: DynArray[uint256, MOST_SWAPS] = []
    for swap: Swap in swaps:
        held.append(debt_before if swap.token_in == debt_asset else staticcall IERC20(swap.token_in).balanceOf(self))
    for each: Liquidation in liquidations:
        extcall Market(market).liquidationCall(
            each.collateral, debt_asset, each.borrower, each.debt_to_cover, each.receive_a_token
        )
        if each.target_wad != 0:
            assert (staticcall Market(market).getUserAccountData(each.borrower))[5] >= each.target_wad, "health"
    for place: uint256 in range(len(swaps), bound=MOST_SWAPS):
        self._swap(swaps[place], held[place])


@internal
def _swap(swap: Swap, held: uint256):
    came_in: uint256 = staticcall IERC20(swap.token_in).balanceOf(self) - held
    if came_in == 0:
        return  # its borrower was left out
    if swap.venue_kind == Venue.POOL_V3 or swap.venue_kind == Venue.POOL_V3_EXACT_OUT:
        assert Role.POOL_V3 in self.allowed[swap.venue], "venue"
        exact_out: bool = swap.venue_kind == Venue.POOL_V3_EXACT_OUT
        amount: int256 = 0
        most: uint256 = min(came_in, swap.amount)
        if exact_out:
            most = min(came_in, swap.limit)
            amount = -convert(swap.amount, int256)
        else:
            amount = convert(most, int256)
        self._payee = swap.venue
        self._payment_token = swap.token_in
        self._payment_most = most
        delta0: int256 = 0
        delta1: int256 = 0
        delta0, delta1 = extcall PoolV3(swap.venue).swap(
            self, swap.zero_for_one, amount, LOWEST_PRICE if swap.zero_for_one else HIGHEST_PRICE, b""
        )
        self._payee = empty(address)
        received: uint256 = convert(-delta1 if swap.zero_for_one else -delta0, uint256)
        assert received >= (swap.amount if exact_out else swap.limit), "slippage"
    elif swap.venue_kind == Venue.PAIR_V2:
        assert Role.PAIR_V2 in self.allowed[swap.venue], "venue"
        self._send(swap.token_in, swap.venue, min(came_in, swap.amount))
        extcall PairV2(swap.venue).swap(
            0 if swap.zero_for_one else swap.limit, swap.limit if swap.zero_for_one else 0, self, b""
        )
    else:
        assert Role.ROUTER in self.allowed[swap.venue], "venue"
        got: uint256 = staticcall IERC20(swap.token_out).balanceOf(self)
        self._approve(swap.token_in, swap.venue, min(came_in, swap.amount))
        raw_call(swap.venue, swap.calldata)
        self._approve(swap.token_in, swap.venue, 0)
        assert staticcall IERC20(swap.token_out).balanceOf(self) - got >= swap.limit, "slippage"


@internal
def _approve(token: address, spender: address, amount: uint256):
    """
    @dev Only where it is not that already: some tokens refuse to change an allowance that is not zero, and it costs less.
    """
    current: uint256 = staticcall IERC20(token).allowance(self, spender)
    if current == amount:
        return
    if current != 0 and amount != 0:
        assert extcall IERC20(token).approve(spender, 0, default_return_value=True), "approve"
    assert extcall IERC20(token).approve(spender, amount, default_return_value=True), "approve"


@internal
def _send(token: address, to: address, amount: uint256):
    assert extcall IERC20(token).transfer(to, amount, default_return_value=True), "transfer"
