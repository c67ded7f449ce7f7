// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Hands every call to another contract, as upgradeable contracts do: its code has none of their functions.
contract Proxy {
    address private immutable _target;

    constructor(address target) {
        _target = target;
    }

    fallback() external payable {
        (bool done, bytes memory answer) = _target.delegatecall(msg.data);
        if (!done) revert();
        assembly {
            return(add(answer, 32), mload(answer))
        }
    }
}
