// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// A token that anyone may make; with a fee in basis points for each transfer, for tests.
contract TestToken is ERC20 {
    uint256 private immutable _fee;

    constructor(uint256 fee) ERC20("Test", "TST") {
        _fee = fee;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// What a minter of test tokens gives to whoever calls it.
    function create() external {
        _mint(msg.sender, 1000 ether);
    }

    function _update(address from, address to, uint256 amount) internal override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : (amount * _fee) / 10_000;
        if (fee > 0) super._update(from, address(0), fee);
        super._update(from, to, amount - fee);
    }
}
