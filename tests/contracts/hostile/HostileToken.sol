// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

/// Put in the place of a devnet token, whose storage it reads as that laid it out, it misbehaves as it is told.
contract HostileToken {
    string public name;
    string public symbol;
    uint8 public decimals;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    bool private silent;
    bool private strict;
    uint256 private feeBps;
    mapping(bytes4 => address) private deceived;
    address private hookFrom;
    address private hookTo;
    address private hookTarget;
    bytes private hookCall;
    uint256 public hookCalls;
    bool public hookDone;
    bytes public hookAnswer;

    /// Answer with nothing.
    function beSilent() external {
        silent = true;
    }

    /// Refuse to change an allowance that is not zero to another one that is not zero.
    function beStrict() external {
        strict = true;
    }

    /// Keep a part of what is moved.
    function takeFee(uint256 bps) external {
        feeBps = bps;
    }

    /// Answer false to `victim` calling `selector`, whatever was done.
    function deceive(bytes4 selector, address victim) external {
        deceived[selector] = victim;
    }

    /// Once, when `from` pays `to` (zero: whoever), call `target` so, and go on whatever comes of it.
    function hook(address from, address to, address target, bytes calldata call) external {
        (hookFrom, hookTo, hookTarget, hookCall) = (from, to, target, call);
    }

    function mint(address to, uint256 value) external returns (bool) {
        totalSupply += value;
        balanceOf[to] += value;
        return true;
    }

    function approve(address spender, uint256 value) external {
        require(!strict || value == 0 || allowance[msg.sender][spender] == 0, "Token: allowance is not zero");
        allowance[msg.sender][spender] = value;
        _answer();
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
        _answer();
    }

    function transferFrom(address from, address to, uint256 value) external {
        require(allowance[from][msg.sender] >= value, "Token: allowance");
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
        _answer();
    }

    function _move(address from, address to, uint256 value) private {
        require(balanceOf[from] >= value, "Token: balance");
        balanceOf[from] -= value;
        balanceOf[to] += value - (value * feeBps) / 10_000;
        address target = hookTarget;
        if (target == address(0)) return;
        if (hookFrom != address(0) && hookFrom != from) return;
        if (hookTo != address(0) && hookTo != to) return;
        hookTarget = address(0);
        hookCalls += 1;
        (hookDone, hookAnswer) = target.call(hookCall);
    }

    function _answer() private view {
        if (silent) {
            assembly {
                return(0, 0)
            }
        }
        bool answer = deceived[msg.sig] != msg.sender;
        assembly {
            mstore(0, answer)
            return(0, 32)
        }
    }
}
