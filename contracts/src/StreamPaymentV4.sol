// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";

/// @title Payment streams, version 4
/// @notice A sender locks a deposit in one token that vests to a provider by the second, at a price that the provider has
/// signed; a share on top of it may go to a donation recipient.
///
///   providerVested(now) = min((clamp(now, startTime, stopTime) - startTime) * rate, providerDeposit)
///   donationVested(now) = min(providerVested * donationBps / 10000, donationDeposit)
///
///   active ──► grace (30 s after stopTime, a top-up still leads back) ──► expired
///      └─────────┴─────────────── terminate ──────────────────────────────► terminated
///
/// Function names, arguments, events, revert strings and their order are those that existing clients of version 4 know. Two of
/// their properties are kept on purpose: `terminate` zeroes the recipient and nothing else that is read, and a top-up in the
/// grace moves `stopTime` on from now while vesting still counts from `startTime`, so the gap vests too.
contract StreamPaymentV4 is EIP712, ReentrancyGuard {
    using SafeERC20 for IERC20;

    struct Stream {
        address token;
        address sender;
        address recipient;
        uint128 startTime;
        uint128 stopTime;
        uint128 providerRatePerSecond;
        uint256 providerDeposit;
        uint256 providerWithdrawn;
        uint16 donationBps;
        address donationRecipient;
        uint256 donationDeposit;
        uint256 donationWithdrawn;
        bytes32 leaseId;
        bytes32 termsHash;
    }

    /// What a provider signs: the deposit and the rate exactly, neither who sends nor what is donated.
    bytes32 private constant _LEASE_QUOTE = keccak256(
        "LeaseQuote(address recipient,uint256 providerDeposit,uint128 providerRatePerSecond,bytes32 leaseId,bytes32 termsHash,uint128 quoteExpiresAt)"
    );

    uint256 private constant _BPS = 10_000;

    /// @notice Seconds after `stopTime` in which a top-up still counts.
    uint128 public constant GRACE_PERIOD_SECONDS = 30;

    /// @notice Largest donation, in hundredths of a percent of the provider's deposit.
    uint16 public constant MAX_DONATION_BPS = 1000;

    /// @notice The token of every stream.
    IERC20 public immutable glmToken;

    /// @notice Who gets the donations.
    address public immutable donationRecipient;

    /// @notice The id of the newest stream; 0 before the first.
    uint256 public nextStreamId;

    /// @notice Whether a stream was ever opened with this lease.
    mapping(bytes32 => bool) public usedLeaseIds;

    mapping(uint256 => Stream) private _streams;

    event StreamCreated(
        uint256 indexed streamId,
        address indexed sender,
        address indexed recipient,
        address token,
        uint256 providerDeposit,
        uint256 donationDeposit,
        uint256 totalDeposit,
        uint256 providerRatePerSecond,
        uint16 donationBps,
        address donationRecipient,
        uint256 startTime,
        uint256 stopTime,
        bytes32 leaseId,
        bytes32 termsHash
    );
    event Withdraw(
        uint256 indexed streamId,
        address indexed recipient,
        uint256 providerAmount,
        address indexed donationRecipient,
        uint256 donationAmount
    );
    event Terminated(uint256 indexed streamId, uint256 senderRefund, uint256 providerPayout, uint256 donationPayout);
    event ToppedUp(
        uint256 indexed streamId, uint256 providerAmount, uint256 donationAmount, uint256 totalAmount, uint128 newStopTime
    );

    constructor(address glmToken_, address donationRecipient_) EIP712("GolemStreamPayment", "4") {
        require(glmToken_ != address(0), "glm=0");
        require(donationRecipient_ != address(0), "donation recipient=0");
        glmToken = IERC20(glmToken_);
        donationRecipient = donationRecipient_;
    }

    /// @notice Locks `providerDeposit`, and `donationBps` of it on top, for `recipient`, whose signature of the quote this is.
    function createStream(
        address recipient,
        uint256 providerDeposit,
        uint128 providerRatePerSecond,
        uint16 donationBps,
        bytes32 leaseId,
        bytes32 termsHash,
        uint128 quoteExpiresAt,
        bytes calldata providerSignature
    ) external nonReentrant returns (uint256 streamId) {
        require(recipient != address(0), "recipient=0");
        require(providerDeposit > 0, "deposit=0");
        require(providerRatePerSecond > 0, "rate=0");
        require(donationBps <= MAX_DONATION_BPS, "donation too high");
        require(leaseId != bytes32(0), "lease=0");
        require(termsHash != bytes32(0), "terms=0");
        require(block.timestamp <= quoteExpiresAt, "quote expired");
        require(!usedLeaseIds[leaseId], "lease used");
        bytes32 quote = _hashTypedDataV4(
            keccak256(
                abi.encode(
                    _LEASE_QUOTE, recipient, providerDeposit, providerRatePerSecond, leaseId, termsHash, quoteExpiresAt
                )
            )
        );
        require(_signer(quote, providerSignature) == recipient, "bad provider signature");
        uint128 duration = _seconds(providerDeposit, providerRatePerSecond);
        require(duration > 0, "duration=0");

        usedLeaseIds[leaseId] = true;
        streamId = ++nextStreamId;
        Stream storage stream = _streams[streamId];
        stream.token = address(glmToken);
        stream.sender = msg.sender;
        stream.recipient = recipient;
        stream.startTime = uint128(block.timestamp);
        stream.stopTime = uint128(block.timestamp) + duration;
        stream.providerRatePerSecond = providerRatePerSecond;
        stream.providerDeposit = providerDeposit;
        stream.donationBps = donationBps;
        stream.donationRecipient = donationRecipient;
        stream.donationDeposit = _share(providerDeposit, donationBps);
        stream.leaseId = leaseId;
        stream.termsHash = termsHash;
        _take(providerDeposit + stream.donationDeposit);
        _tellCreated(streamId, stream);
    }

    /// @notice Adds `providerAmount`, and its donation on top; only the sender may, until the grace is over.
    function topUp(uint256 streamId, uint256 providerAmount) external nonReentrant {
        Stream storage stream = _open(streamId);
        require(msg.sender == stream.sender, "not sender");
        require(providerAmount > 0, "amount=0");
        require(block.timestamp < uint256(stream.stopTime) + GRACE_PERIOD_SECONDS, "stream expired");
        uint128 more = _seconds(providerAmount, stream.providerRatePerSecond);
        require(more > 0, "delta=0");
        uint256 donationAmount = _share(providerAmount, stream.donationBps);
        uint128 from = stream.stopTime > block.timestamp ? stream.stopTime : uint128(block.timestamp);
        stream.stopTime = from + more;
        stream.providerDeposit += providerAmount;
        stream.donationDeposit += donationAmount;
        uint256 total = providerAmount + donationAmount;
        _take(total);
        emit ToppedUp(streamId, providerAmount, donationAmount, total, stream.stopTime);
    }

    /// @notice Pays the provider and the donation recipient what has vested; either may ask.
    function withdraw(uint256 streamId) external nonReentrant {
        Stream storage stream = _open(streamId);
        require(msg.sender == stream.recipient || msg.sender == stream.donationRecipient, "not authorized");
        (uint256 providerVested, uint256 donationVested) = _vested(stream);
        uint256 providerAmount = providerVested - stream.providerWithdrawn;
        uint256 donationAmount = donationVested - stream.donationWithdrawn;
        require(providerAmount > 0 || donationAmount > 0, "nothing to withdraw");
        stream.providerWithdrawn = providerVested;
        stream.donationWithdrawn = donationVested;
        _give(stream.recipient, providerAmount, "transfer provider failed");
        _give(stream.donationRecipient, donationAmount, "transfer donation failed");
        emit Withdraw(streamId, stream.recipient, providerAmount, stream.donationRecipient, donationAmount);
    }

    /// @notice Ends the stream, at any time: what has vested is paid, and the sender gets the rest.
    function terminate(uint256 streamId) external nonReentrant {
        Stream storage stream = _open(streamId);
        address recipient = stream.recipient;
        require(msg.sender == stream.sender || msg.sender == recipient, "not authorized");
        (uint256 providerVested, uint256 donationVested) = _vested(stream);
        uint256 providerPayout = providerVested - stream.providerWithdrawn;
        uint256 donationPayout = donationVested - stream.donationWithdrawn;
        uint256 refund = stream.providerDeposit - providerVested + stream.donationDeposit - donationVested;
        stream.recipient = address(0);
        _give(recipient, providerPayout, "transfer provider failed");
        _give(stream.donationRecipient, donationPayout, "transfer donation failed");
        _give(stream.sender, refund, "transfer refund failed");
        emit Terminated(streamId, refund, providerPayout, donationPayout);
    }

    /// @notice Where a stream stands: `active`, `grace`, `expired`, or `terminated`, which one that never was is too.
    function streamState(uint256 streamId) external view returns (string memory) {
        Stream storage stream = _streams[streamId];
        if (stream.recipient == address(0)) return "terminated";
        if (block.timestamp < stream.stopTime) return "active";
        if (block.timestamp < uint256(stream.stopTime) + GRACE_PERIOD_SECONDS) return "grace";
        return "expired";
    }

    /// @notice A stream, as fourteen words: a struct without anything dynamic is the words of its members.
    function streams(uint256 streamId) external view returns (Stream memory) {
        return _streams[streamId];
    }

    function _open(uint256 streamId) private view returns (Stream storage stream) {
        stream = _streams[streamId];
        require(stream.recipient != address(0), "no-stream");
    }

    function _vested(Stream storage stream) private view returns (uint256 provider, uint256 donation) {
        uint256 until = block.timestamp < stream.stopTime ? block.timestamp : stream.stopTime;
        provider = (until - stream.startTime) * stream.providerRatePerSecond;
        if (provider > stream.providerDeposit) provider = stream.providerDeposit;
        donation = _share(provider, stream.donationBps);
        if (donation > stream.donationDeposit) donation = stream.donationDeposit;
    }

    function _share(uint256 amount, uint16 bps) private pure returns (uint256) {
        return (amount * bps) / _BPS;
    }

    function _seconds(uint256 amount, uint128 rate) private pure returns (uint128) {
        uint256 time = amount / rate;
        // A million years: keeps every later sum far inside 128 bits.
        require(time < 31_557_600_000_000, "too long");
        return uint128(time);
    }

    /// Signatures with a high s count too, as in the deployed contract: a lease is burned by the first.
    function _signer(bytes32 digest, bytes calldata signature) private pure returns (address) {
        require(signature.length == 65, "bad signature length");
        uint8 v = uint8(signature[64]);
        if (v < 27) v += 27;
        require(v == 27 || v == 28, "bad signature v");
        return ecrecover(digest, v, bytes32(signature[:32]), bytes32(signature[32:64]));
    }

    function _take(uint256 amount) private {
        require(glmToken.trySafeTransferFrom(msg.sender, address(this), amount), "transferFrom failed");
    }

    function _give(address to, uint256 amount, string memory problem) private {
        if (amount > 0) require(glmToken.trySafeTransfer(to, amount), problem);
    }

    function _tellCreated(uint256 streamId, Stream storage stream) private {
        emit StreamCreated(
            streamId,
            stream.sender,
            stream.recipient,
            stream.token,
            stream.providerDeposit,
            stream.donationDeposit,
            stream.providerDeposit + stream.donationDeposit,
            stream.providerRatePerSecond,
            stream.donationBps,
            stream.donationRecipient,
            stream.startTime,
            stream.stopTime,
            stream.leaseId,
            stream.termsHash
        );
    }
}
