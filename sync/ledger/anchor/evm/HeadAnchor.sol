// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Remembers the newest head of a log for everybody who anchors one. Heads are kept per sender: nobody can
/// block another's log by writing a huge size under its name.
contract HeadAnchor {
    struct Head {
        uint256 size;
        bytes32 root;
    }

    /// heads[sender][SHA-256 of the log's origin]; slot 0, which storage proofs rely on.
    mapping(address sender => mapping(bytes32 origin => Head head)) public heads;

    event HeadAnchored(
        address indexed sender,
        bytes32 indexed origin,
        uint256 oldSize,
        bytes32 oldRoot,
        uint256 newSize,
        bytes32 newRoot
    );

    /// A log only grows: the size must be larger than the last.
    error SizeNotLarger(uint256 lastSize, uint256 givenSize);

    function anchor(bytes32 origin, uint256 size, bytes32 root) external {
        Head storage head = heads[msg.sender][origin];
        uint256 oldSize = head.size;
        bytes32 oldRoot = head.root;
        if (size <= oldSize) revert SizeNotLarger(oldSize, size);
        head.size = size;
        head.root = root;
        emit HeadAnchored(msg.sender, origin, oldSize, oldRoot, size, root);
    }
}
