// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/// @title Payment streams
/// @notice A sender locks a deposit that vests to a recipient by the second.
///
///   vested(now) = min((min(now, stopTime) - startTime) * ratePerSecond, deposit)
///
/// The token is an ERC-20, or the chain's own when it is the zero address. Function names, arguments and the
/// layout of `streams` are those that existing clients call. Two of their properties are kept on purpose:
/// `terminate` zeroes the recipient and nothing else that is read, and a top-up after a lapse moves
/// `stopTime` on from now while vesting still counts from `startTime`, so the gap vests too, up to the deposit.
contract StreamPayment is ReentrancyGuard {
    using SafeERC20 for IERC20;

    struct Stream {
        address token;
        address sender;
        address recipient;
        uint128 startTime;
        uint128 stopTime;
        uint128 ratePerSecond;
        uint256 deposit;
        uint256 withdrawn;
        bool halted;
    }

    /// @notice Every stream by its id; the first is 1.
    mapping(uint256 => Stream) public streams;

    /// @notice The id of the newest stream, as the deployed contract answers; 0 before the first.
    uint256 public nextStreamId;

    /// @notice Who may halt a stream.
    address public immutable oracle;

    /// @notice Native money that its receiver refused, by receiver; see `claim`.
    mapping(address => uint256) public claims;

    event StreamCreated(
        uint256 indexed streamId,
        address indexed sender,
        address indexed recipient,
        address token,
        uint256 deposit,
        uint256 ratePerSecond,
        uint256 startTime,
        uint256 stopTime
    );
    event ToppedUp(uint256 indexed streamId, uint256 amount, uint256 deposit, uint256 stopTime);
    event Withdrawn(uint256 indexed streamId, address indexed recipient, uint256 amount);
    event Terminated(uint256 indexed streamId, uint256 paid, uint256 refunded);
    event Halted(uint256 indexed streamId, uint256 stopTime);

    constructor(address oracle_) {
        oracle = oracle_;
    }

    /// @notice Locks `deposit` for `recipient` at `ratePerSecond`, from now on.
    function createStream(address token, address recipient, uint256 deposit, uint128 ratePerSecond)
        external
        payable
        nonReentrant
        returns (uint256 streamId)
    {
        require(recipient != address(0), "recipient=0");
        require(deposit > 0, "deposit=0");
        require(ratePerSecond > 0, "rate=0");
        streamId = ++nextStreamId;
        uint128 start = uint128(block.timestamp);
        uint128 stop = start + _seconds(deposit, ratePerSecond);
        streams[streamId] =
            Stream(token, msg.sender, recipient, start, stop, ratePerSecond, deposit, 0, false);
        _take(token, deposit);
        emit StreamCreated(streamId, msg.sender, recipient, token, deposit, ratePerSecond, start, stop);
    }

    /// @notice Adds `amount` to the deposit; anyone may. After a lapse the stream goes on from now.
    function topUp(uint256 streamId, uint256 amount) external payable nonReentrant {
        Stream storage stream = _open(streamId);
        require(!stream.halted, "halted");
        require(amount > 0, "amount=0");
        uint128 from = stream.stopTime > block.timestamp ? stream.stopTime : uint128(block.timestamp);
        stream.deposit += amount;
        stream.stopTime = from + _seconds(amount, stream.ratePerSecond);
        _take(stream.token, amount);
        emit ToppedUp(streamId, amount, stream.deposit, stream.stopTime);
    }

    /// @notice Pays the recipient what has vested.
    function withdraw(uint256 streamId) external nonReentrant {
        Stream storage stream = _open(streamId);
        require(msg.sender == stream.recipient, "not recipient");
        uint256 amount = _vested(stream) - stream.withdrawn;
        require(amount > 0, "nothing vested");
        stream.withdrawn += amount;
        emit Withdrawn(streamId, stream.recipient, amount);
        _give(stream.token, stream.recipient, amount);
    }

    /// @notice Ends the stream: the recipient gets what has vested, the sender the rest.
    function terminate(uint256 streamId) external nonReentrant {
        Stream storage stream = _open(streamId);
        require(msg.sender == stream.sender || msg.sender == stream.recipient, "not a party");
        uint256 vested = _vested(stream);
        uint256 paid = vested - stream.withdrawn;
        uint256 refunded = stream.deposit - vested;
        address recipient = stream.recipient;
        stream.withdrawn = vested;
        stream.recipient = address(0);
        emit Terminated(streamId, paid, refunded);
        _giveOrOwe(stream.token, recipient, paid);
        _giveOrOwe(stream.token, stream.sender, refunded);
    }

    /// @notice Freezes vesting, for a dispute. What has vested can still be withdrawn, and the rest comes back
    /// by `terminate`.
    function haltStream(uint256 streamId) external {
        require(msg.sender == oracle, "not oracle");
        Stream storage stream = _open(streamId);
        require(!stream.halted, "halted");
        stream.halted = true;
        if (stream.stopTime > block.timestamp) stream.stopTime = uint128(block.timestamp);
        emit Halted(streamId, stream.stopTime);
    }

    /// @notice Pays out native money that its receiver refused before.
    function claim() external nonReentrant {
        uint256 amount = claims[msg.sender];
        require(amount > 0, "nothing owed");
        claims[msg.sender] = 0;
        _give(address(0), msg.sender, amount);
    }

    /// @notice What has vested to the recipient so far, withdrawn or not.
    function vestedAmount(uint256 streamId) external view returns (uint256) {
        return _vested(streams[streamId]);
    }

    function _open(uint256 streamId) private view returns (Stream storage stream) {
        stream = streams[streamId];
        require(stream.recipient != address(0), "no such stream");
    }

    function _vested(Stream storage stream) private view returns (uint256) {
        uint256 until = block.timestamp < stream.stopTime ? block.timestamp : stream.stopTime;
        uint256 earned = (until - stream.startTime) * stream.ratePerSecond;
        return earned < stream.deposit ? earned : stream.deposit;
    }

    function _seconds(uint256 amount, uint128 ratePerSecond) private pure returns (uint128) {
        uint256 time = amount / ratePerSecond;
        // A million years: keeps every later sum far inside 128 bits.
        require(time < 31_557_600_000_000, "too long");
        return uint128(time);
    }

    function _take(address token, uint256 amount) private {
        if (token == address(0)) {
            require(msg.value == amount, "value != amount");
            return;
        }
        require(msg.value == 0, "value with token");
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        // A token that keeps a fee would let one stream pay with another's money.
        require(IERC20(token).balanceOf(address(this)) - before == amount, "token takes a fee");
    }

    function _give(address token, address to, uint256 amount) private {
        if (token == address(0)) {
            (bool done,) = to.call{value: amount}("");
            require(done, "receiver refused");
        } else {
            IERC20(token).safeTransfer(to, amount);
        }
    }

    /// Neither party may keep the other from its share by refusing its own.
    function _giveOrOwe(address token, address to, uint256 amount) private {
        if (amount == 0) return;
        if (token != address(0)) {
            IERC20(token).safeTransfer(to, amount);
            return;
        }
        (bool done,) = to.call{value: amount}("");
        if (!done) claims[to] += amount;
    }
}
