"""The executor's guards, in the order of its source, each with the test that fails without it."""

from __future__ import annotations

from keeper.core.swap import StepKind
from tests.contracts.guards import Guard
from tests.contracts.world import OWNER, STRANGER

NOBODY = bytes(20)


def _owner_only(function: str) -> Guard:
    given = {"function": function, "sender": STRANGER}
    line = 'assert msg.sender == OWNER, "owner"'
    return Guard(function, line, "", "test_roles.test_what_the_owner_does_nobody_else_does", given)


GUARDS: tuple[Guard, ...] = (
    Guard(
        "__init__",
        'assert owner != empty(address) and recipient != empty(address), "address"',
        "",
        "test_roles.test_there_is_an_owner_and_a_recipient",
        {"roles": (OWNER, NOBODY)},
    ),
    *(_owner_only(function) for function in ("set_operator", "allow", "set_loss_left", "withdraw")),
    Guard(
        "allow",
        'assert roles == Role.ROUTER or Role.ROUTER not in roles, "router"',
        "",
        "test_roles.test_a_router_is_nothing_else",
    ),
    Guard("withdraw", "@nonreentrant", "", "test_hostile_tokens.test_nothing_is_withdrawn_while_we_execute"),
    Guard(
        "withdraw",
        "self._send(token, RECIPIENT, sent)",
        "self._send(token, msg.sender, sent)",
        "test_flows.test_the_owner_withdraws_all_or_some_to_the_recipient",
    ),
    Guard("execute", "@nonreentrant", "", "test_hostile_tokens.test_nothing_is_executed_while_we_execute"),
    Guard(
        "execute",
        'assert self.operators[msg.sender], "operator"',
        "",
        "test_roles.test_only_operators_execute",
        {"sender": STRANGER},
    ),
    Guard(
        "execute",
        'assert block.timestamp <= latest_s, "expired"',
        "",
        "test_roles.test_after_its_last_moment_nothing_happens",
    ),
    Guard(
        "execute",
        'assert Role.MARKET in self.allowed[market], "market"',
        "",
        "test_roles.test_a_market_that_is_not_allowed_is_not_called",
    ),
    Guard(
        "execute",
        "if staticcall DebtToken(each.debt_token).scaledBalanceOf(each.borrower) == each.scaled_debt:",
        "if True:",
        "test_flows.test_a_lost_race_is_cheap",
    ),
    Guard("execute", 'assert needed != 0, "lost"', "", "test_flows.test_a_lost_race_is_cheap"),
    Guard("execute", 'assert lender == market, "lender"', "", "test_roles.test_a_market_lends_for_itself_only"),
    Guard(
        "execute",
        'assert Role.MORPHO in self.allowed[lender], "lender"',
        "",
        "test_roles.test_a_lender_that_is_not_allowed_is_not_asked",
        {"source": "morpho"},
    ),
    Guard(
        "execute",
        'assert Role.POOL_V3 in self.allowed[lender], "lender"',
        "",
        "test_roles.test_a_lender_that_is_not_allowed_is_not_asked",
        {"source": "pool"},
    ),
    Guard(
        "execute",
        'assert self._lender == empty(address), "callback"',
        "",
        "test_hostile_venues.test_a_lender_that_does_not_lend",
    ),
    Guard(
        "execute",
        "self._forbid(debt_asset, lender)",
        "pass",
        "test_hostile_venues.test_what_a_lender_did_not_take_back_it_cannot_take_later",
    ),
    Guard(
        "execute",
        "self._forbid(debt_asset, market)",
        "pass",
        "test_hostile_venues.test_a_lender_that_calls_back_as_another_one_would",
    ),
    Guard(
        "execute",
        'assert gain >= least_gain, "gain"',
        "",
        "test_roles.test_the_least_gain_is_what_is_left_to_the_unit",
    ),
    Guard(
        "execute",
        'assert loss <= loss_left, "loss"',
        "loss = min(loss, loss_left)",
        "test_roles.test_operators_lose_no_more_than_they_are_left_all_together",
    ),
    Guard(
        "execute",
        "self.loss_left[debt_asset] = loss_left - loss",
        "pass",
        "test_roles.test_operators_lose_no_more_than_they_are_left_all_together",
    ),
    Guard(
        "executeOperation",
        'assert initiator == self, "initiator"',
        "",
        "test_hostile_tokens.test_the_token_takes_a_loan_for_us_while_we_wait_for_ours",
    ),
    Guard(
        "executeOperation",
        "self._called_back(keccak256(params))",
        "",
        "test_hostile_venues.test_a_venue_that_calls_back_as_a_lender",
        {"function": "executeOperation", "kind": StepKind.ROUTER},
    ),
    Guard(
        "onMorphoFlashLoan",
        "self._called_back(keccak256(params))",
        "",
        "test_hostile_tokens.test_a_loan_of_morpho_that_somebody_passes_on",
    ),
    Guard(
        "uniswapV3FlashCallback",
        "self._called_back(keccak256(params))",
        "",
        "test_hostile_tokens.test_a_loan_of_a_pool_that_somebody_passes_on",
    ),
    Guard(
        "uniswapV3SwapCallback",
        'assert msg.sender == self._payee, "payee"',
        "",
        "test_hostile_tokens.test_the_token_wants_to_be_paid_in_the_place_of_the_pool",
    ),
    Guard(
        "uniswapV3SwapCallback", "self._payee = empty(address)", "", "test_hostile_venues.test_a_pool_that_asks_twice"
    ),
    Guard(
        "uniswapV3SwapCallback",
        'assert owed <= self._payment_most, "payment"',
        "",
        "test_hostile_venues.test_a_pool_that_asks_for_more_than_came_in",
    ),
    Guard(
        "_called_back",
        'assert msg.sender == self._lender, "lender"',
        "",
        "test_hostile_tokens.test_the_token_calls_back_in_the_place_of_the_lender",
    ),
    Guard(
        "_called_back",
        'assert params_hash == self._params_hash, "params"',
        "",
        "test_hostile_venues.test_a_lender_that_hands_back_orders_of_its_own",
    ),
    Guard(
        "_called_back",
        "self._lender = empty(address)",
        "",
        "test_hostile_venues.test_a_lender_that_calls_back_twice",
    ),
    Guard(
        "_liquidate_and_swap",
        'assert (staticcall Market(market).getUserAccountData(each.borrower))[5] >= each.target_wad, "health"',
        "pass",
        "test_flows.test_health_must_reach_the_target_if_one_is_given",
    ),
    Guard(
        "_liquidate_and_swap",
        "came_in: uint256 = staticcall IERC20(swap.token_in).balanceOf(self) - held[place]",
        "came_in: uint256 = staticcall IERC20(swap.token_in).balanceOf(self)",
        "test_roles.test_what_was_there_before_is_not_sold",
    ),
    Guard(
        "_liquidate_and_swap",
        "self._route(swap, min(came_in, swap.amount), slice(calldatas, start, swap.calldata_size))",
        "self._route(swap, swap.amount, slice(calldatas, start, swap.calldata_size))",
        "test_hostile_venues.test_a_router_that_takes_more_than_came_in",
    ),
    Guard(
        "_swap",
        "least = swap.limit * paid // swap.amount",
        "least = 0",
        "test_flows.test_of_less_than_planned_the_least_is_in_proportion",
    ),
    Guard(
        "_swap",
        'assert Role.PAIR_V2 in self.allowed[swap.venue], "venue"',
        "",
        "test_roles.test_a_venue_that_is_not_allowed_gets_nothing",
        {"kind": StepKind.PAIR_V2},
    ),
    Guard(
        "_swap",
        'assert Role.POOL_V3 in self.allowed[swap.venue], "venue"',
        "",
        "test_roles.test_a_venue_that_is_not_allowed_gets_nothing",
        {"kind": StepKind.POOL_V3},
    ),
    Guard(
        "_swap",
        "paid = min(came_in, swap.limit)",
        "paid = swap.limit",
        "test_hostile_venues.test_an_exact_output_that_would_cost_more_than_came_in",
    ),
    Guard(
        "_swap",
        'assert convert(-delta1 if swap.zero_for_one else -delta0, uint256) >= least, "slippage"',
        "",
        "test_hostile_venues.test_a_price_worse_than_the_limit",
        {"kind": StepKind.POOL_V3},
    ),
    Guard(
        "_route",
        'assert Role.ROUTER in self.allowed[swap.venue], "venue"',
        "",
        "test_roles.test_a_venue_that_is_not_allowed_gets_nothing",
        {"kind": StepKind.ROUTER},
    ),
    Guard(
        "_route",
        "self._forbid(swap.token_in, swap.venue)",
        "",
        "test_hostile_venues.test_what_a_router_did_not_take_it_cannot_take_later",
    ),
    Guard(
        "_route",
        'assert staticcall IERC20(swap.token_out).balanceOf(self) - before >= swap.limit, "slippage"',
        "",
        "test_hostile_venues.test_a_price_worse_than_the_limit",
        {"kind": StepKind.ROUTER},
    ),
    Guard(
        "_approve",
        'assert extcall IERC20(token).approve(spender, amount, default_return_value=True), "approve"',
        "extcall IERC20(token).approve(spender, amount, default_return_value=True)",
        "test_hostile_tokens.test_a_token_that_answers_false_is_believed",
        {"refused": "approve", "token": "usdc"},
    ),
    Guard(
        "_send",
        'assert extcall IERC20(token).transfer(to, amount, default_return_value=True), "transfer"',
        "extcall IERC20(token).transfer(to, amount, default_return_value=True)",
        "test_hostile_tokens.test_a_withdrawal_that_a_token_denies_is_none",
    ),
)
