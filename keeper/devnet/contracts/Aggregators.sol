// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

import {Source} from "./Feeds.sol";

interface Rounds is Source {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// An aggregator that transmitters write to. Readers do not know it: they read its proxy.
contract Aggregator {
    uint8 public constant decimals = 8;
    address public owner;
    int256 public latestAnswer;
    uint256 public latestTimestamp;
    uint80 public latestRound;
    address[] private writers;

    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    constructor(int256 answer, address[] memory writers_) {
        owner = msg.sender;
        writers = writers_;
        _set(answer);
    }

    function transmitters() external view returns (address[] memory) {
        return writers;
    }

    function transmit(int256 answer) external {
        bool known;
        for (uint256 i = 0; i < writers.length; i++) known = known || writers[i] == msg.sender;
        require(known, "Aggregator: transmitter");
        _set(answer);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (latestRound, latestAnswer, latestTimestamp, latestTimestamp, latestRound);
    }

    function _set(int256 answer) private {
        latestRound += 1;
        latestAnswer = answer;
        latestTimestamp = block.timestamp;
        emit AnswerUpdated(answer, latestRound, block.timestamp);
    }
}

/// A transmitter that is a contract: whoever may use it sends through it.
contract Forwarder {
    address public immutable owner = msg.sender;

    function forward(address to, bytes calldata body) external {
        require(msg.sender == owner, "Forwarder: owner");
        (bool ok,) = to.call(body);
        require(ok, "Forwarder: refused");
    }
}

/// What readers know: it stays while the aggregator behind it changes.
contract AggregatorProxy {
    address public immutable owner = msg.sender;
    Rounds public aggregator;

    constructor(Rounds aggregator_) {
        aggregator = aggregator_;
    }

    function setAggregator(Rounds aggregator_) external {
        require(msg.sender == owner, "AggregatorProxy: owner");
        aggregator = aggregator_;
    }

    function decimals() external view returns (uint8) {
        return aggregator.decimals();
    }

    function latestAnswer() external view returns (int256) {
        return aggregator.latestAnswer();
    }

    function latestTimestamp() external view returns (uint256) {
        return aggregator.latestTimestamp();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return aggregator.latestRoundData();
    }
}

/// A price adapter whose ratio to its base feed grows with every second: a discount that runs off, a yield that vests.
contract GrowingFeed {
    Source public immutable BASE_TO_USD_AGGREGATOR;
    uint256 public immutable start = block.timestamp;
    uint256 public immutable ratio;
    int256 public immutable perSecond;

    constructor(Source base, uint256 ratio_, int256 perSecond_) {
        BASE_TO_USD_AGGREGATOR = base;
        ratio = ratio_;
        perSecond = perSecond_;
    }

    function decimals() external view returns (uint8) {
        return BASE_TO_USD_AGGREGATOR.decimals();
    }

    function latestAnswer() external view returns (int256) {
        int256 now_ = int256(ratio) + perSecond * int256(block.timestamp - start);
        return (BASE_TO_USD_AGGREGATOR.latestAnswer() * now_) / 1e18;
    }

    function latestTimestamp() external view returns (uint256) {
        return BASE_TO_USD_AGGREGATOR.latestTimestamp();
    }
}
