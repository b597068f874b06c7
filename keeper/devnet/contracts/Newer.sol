// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

/// Stands behind a proxy in front of the implementation it replaces, and does what that does, with another number in one
/// place. Its initializer does nothing, since the storage is already set up.
contract Newer {
    address private immutable before;
    bytes4 private immutable named;
    uint256 private immutable answer;
    bytes4 private immutable initializer;

    constructor(address before_, bytes4 named_, uint256 answer_, bytes4 initializer_) {
        before = before_;
        named = named_;
        answer = answer_;
        initializer = initializer_;
    }

    fallback(bytes calldata input) external payable returns (bytes memory) {
        if (msg.sig == initializer) return "";
        if (msg.sig == named) return abi.encode(answer);
        (bool success, bytes memory output) = before.delegatecall(input);
        if (!success) {
            assembly {
                revert(add(output, 32), mload(output))
            }
        }
        return output;
    }
}
