// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// Tokens as there are some, for tests: what a transfer says is not what it does.
contract OddToken {
    event Transfer(address indexed from, address indexed to, uint256 amount);

    /// 0 moves the money and returns nothing, 1 returns false and moves nothing, 2 has blocked everybody, 3 keeps 5 % and
    /// tells so, 4 keeps 5 % and tells of all of it, and then of what it took from the receiver, 5 moves it without a word.
    uint256 private _kind;
    mapping(address => uint256) public balanceOf;
    mapping(address => bool) public isBlocked;
    uint8 public decimals = 18;

    constructor(uint256 kind) {
        _kind = kind;
    }

    function become(uint256 kind) external {
        _kind = kind;
    }

    function setDecimals(uint8 decimals_) external {
        decimals = decimals_;
    }

    function setBlocked(address who, bool blocked) external {
        isBlocked[who] = blocked;
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    /// Needs nobody's leave.
    function transferFrom(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private {
        require(_kind != 2 && !isBlocked[from] && !isBlocked[to], "blocked");
        if (_kind == 1) {
            assembly {
                mstore(0, 0)
                return(0, 32)
            }
        }
        uint256 fee = _kind == 3 || _kind == 4 ? amount / 20 : 0;
        balanceOf[from] -= amount;
        balanceOf[to] += amount - fee;
        balanceOf[address(this)] += fee;
        if (_kind == 5) return;
        emit Transfer(from, to, _kind == 4 ? amount : amount - fee);
        if (fee > 0) emit Transfer(_kind == 4 ? to : from, address(this), fee);
    }
}
