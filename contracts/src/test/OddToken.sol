// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Tokens as there are some, for tests: what a transfer says is not what it does.
contract OddToken {
    /// 0 moves the money and returns nothing, 1 returns false and moves nothing, 2 has blocked everybody.
    uint256 private _kind;
    mapping(address => uint256) public balanceOf;

    constructor(uint256 kind) {
        _kind = kind;
    }

    function become(uint256 kind) external {
        _kind = kind;
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external {
        require(_kind != 2, "blocked");
        if (_kind == 1) {
            assembly {
                mstore(0, 0)
                return(0, 32)
            }
        }
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }
}
