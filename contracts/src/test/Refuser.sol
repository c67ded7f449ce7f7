// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {StreamPayment} from "../StreamPayment.sol";

/// A recipient that refuses money until told otherwise, and that tries to enter again; for tests.
contract Refuser {
    StreamPayment private immutable _payment;
    bool public accepts;
    bool public reenters;

    constructor(StreamPayment payment) {
        _payment = payment;
    }

    function set(bool accepts_, bool reenters_) external {
        accepts = accepts_;
        reenters = reenters_;
    }

    function withdraw(uint256 streamId) external {
        _payment.withdraw(streamId);
    }

    function claim() external {
        _payment.claim();
    }

    receive() external payable {
        require(accepts, "refused");
        if (reenters) _payment.claim();
    }
}
