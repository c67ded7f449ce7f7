// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// A stand-in with the functions of the newer payment contract, as golem-streaming-abi 0.1.2 has them: for
/// tests of what can be read there. It moves no money and checks no signature, and what it calls its streams is
/// made up: the ABI does not tell.
contract StreamPaymentTwo {
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

    mapping(uint256 => Stream) private _streams;
    mapping(uint256 => bool) private _terminated;
    uint256 public nextStreamId = 1;
    uint128 public constant GRACE_PERIOD_SECONDS = 3600;
    address public immutable glmToken;

    // The true one has eleven more members, which no reader of streams needs.
    event StreamCreated(uint256 indexed streamId, address indexed sender, address indexed recipient);
    event ToppedUp(
        uint256 indexed streamId,
        uint256 providerAmount,
        uint256 donationAmount,
        uint256 totalAmount,
        uint128 newStopTime
    );
    event Terminated(uint256 indexed streamId, uint256 senderRefund, uint256 providerPayout, uint256 donationPayout);

    constructor(address glmToken_) {
        glmToken = glmToken_;
    }

    function createStream(
        address recipient,
        uint256 providerDeposit,
        uint128 providerRatePerSecond,
        uint16 donationBps,
        bytes32 leaseId,
        bytes32 termsHash,
        uint128,
        bytes calldata
    ) external returns (uint256 streamId) {
        streamId = nextStreamId++;
        uint128 start = uint128(block.timestamp);
        uint128 stop = start + uint128(providerDeposit / providerRatePerSecond);
        Stream storage stream = _streams[streamId];
        stream.token = glmToken;
        stream.sender = msg.sender;
        stream.recipient = recipient;
        stream.startTime = start;
        stream.stopTime = stop;
        stream.providerRatePerSecond = providerRatePerSecond;
        stream.providerDeposit = providerDeposit;
        stream.donationBps = donationBps;
        stream.donationDeposit = (providerDeposit * donationBps) / 10_000;
        stream.leaseId = leaseId;
        stream.termsHash = termsHash;
        emit StreamCreated(streamId, msg.sender, recipient);
    }

    function topUp(uint256 streamId, uint256 providerAmount) external {
        Stream storage stream = _streams[streamId];
        stream.providerDeposit += providerAmount;
        stream.stopTime += uint128(providerAmount / stream.providerRatePerSecond);
        emit ToppedUp(streamId, providerAmount, 0, providerAmount, stream.stopTime);
    }

    /// The same fourteen words as the true one's, which no compiler without an intermediate language gives one by one.
    function streams(uint256 streamId) external view returns (Stream memory) {
        return _streams[streamId];
    }

    /// Leaves no trace in what `streams` tells: the worst that could be.
    function terminate(uint256 streamId) external {
        _terminated[streamId] = true;
        emit Terminated(streamId, 0, 0, 0);
    }

    function streamState(uint256 streamId) external view returns (string memory) {
        require(_streams[streamId].sender != address(0), "no such stream");
        if (_terminated[streamId]) return "terminated";
        return block.timestamp < _streams[streamId].stopTime ? "active" : "grace";
    }
}
