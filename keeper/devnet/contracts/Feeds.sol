// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

interface Source {
    function decimals() external view returns (uint8);
    function latestAnswer() external view returns (int256);
    function latestTimestamp() external view returns (uint256);
}

/// A price feed whose owner sets the answer; it looks and sounds like a push oracle's aggregator.
/// It also serves as a sequencer's uptime feed (answer 0 is up, 1 is down).
contract Feed {
    address public owner;
    uint8 public immutable decimals;
    string public description;
    int256 public latestAnswer;
    uint256 public latestTimestamp;
    uint80 public latestRound;

    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);
    event NewRound(uint256 indexed roundId, address indexed startedBy, uint256 startedAt);

    constructor(string memory description_, uint8 decimals_, int256 answer) {
        owner = msg.sender;
        description = description_;
        decimals = decimals_;
        _set(answer, block.timestamp);
    }

    function setOwner(address owner_) external {
        require(msg.sender == owner, "Feed: owner");
        owner = owner_;
    }

    /// Zero and negative answers are allowed on purpose.
    function setAnswer(int256 answer) external {
        require(msg.sender == owner, "Feed: owner");
        _set(answer, block.timestamp);
    }

    /// The same with a time of the owner's choice, to make an answer look stale.
    function setAnswerAt(int256 answer, uint256 updatedAt) external {
        require(msg.sender == owner, "Feed: owner");
        _set(answer, updatedAt);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (latestRound, latestAnswer, latestTimestamp, latestTimestamp, latestRound);
    }

    function _set(int256 answer, uint256 updatedAt) private {
        latestRound += 1;
        latestAnswer = answer;
        latestTimestamp = updatedAt;
        emit NewRound(latestRound, msg.sender, updatedAt);
        emit AnswerUpdated(answer, latestRound, updatedAt);
    }
}

/// A base feed times a ratio (wad), as liquid-staking tokens are priced. It emits nothing when the base moves.
contract RatioFeed {
    Source public immutable BASE_TO_USD_AGGREGATOR;
    address public immutable owner;
    uint256 public ratio;

    event RatioUpdated(uint256 ratio);

    constructor(Source base_, uint256 ratio_) {
        BASE_TO_USD_AGGREGATOR = base_;
        owner = msg.sender;
        ratio = ratio_;
    }

    function setRatio(uint256 ratio_) external {
        require(msg.sender == owner, "RatioFeed: owner");
        ratio = ratio_;
        emit RatioUpdated(ratio_);
    }

    function decimals() external view returns (uint8) {
        return BASE_TO_USD_AGGREGATOR.decimals();
    }

    function latestAnswer() external view returns (int256) {
        return (BASE_TO_USD_AGGREGATOR.latestAnswer() * int256(ratio)) / 1e18;
    }

    function latestTimestamp() external view returns (uint256) {
        return BASE_TO_USD_AGGREGATOR.latestTimestamp();
    }
}

/// The lesser of a base feed and a cap, as stablecoins are priced. It emits nothing when the base moves.
contract CappedFeed {
    Source public immutable ASSET_TO_USD_AGGREGATOR;
    address public immutable owner;
    int256 public cap;

    event CapUpdated(int256 cap);

    constructor(Source base_, int256 cap_) {
        ASSET_TO_USD_AGGREGATOR = base_;
        owner = msg.sender;
        cap = cap_;
    }

    function setCap(int256 cap_) external {
        require(msg.sender == owner, "CappedFeed: owner");
        cap = cap_;
        emit CapUpdated(cap_);
    }

    function decimals() external view returns (uint8) {
        return ASSET_TO_USD_AGGREGATOR.decimals();
    }

    function latestAnswer() external view returns (int256) {
        int256 answer = ASSET_TO_USD_AGGREGATOR.latestAnswer();
        return answer < cap ? answer : cap;
    }

    function latestTimestamp() external view returns (uint256) {
        return ASSET_TO_USD_AGGREGATOR.latestTimestamp();
    }
}
