/** Made from HeadAnchor.sol by packaging/contract.js with solc 0.8.37; not edited by hand. */
/** The contract's interface. */
export const HEAD_ANCHOR_ABI = [
  {
    inputs: [
      { internalType: 'uint256', name: 'lastSize', type: 'uint256' },
      { internalType: 'uint256', name: 'givenSize', type: 'uint256' },
    ],
    name: 'SizeNotLarger',
    type: 'error',
  },
  {
    anonymous: false,
    inputs: [
      { indexed: true, internalType: 'address', name: 'sender', type: 'address' },
      { indexed: true, internalType: 'bytes32', name: 'origin', type: 'bytes32' },
      { indexed: false, internalType: 'uint256', name: 'oldSize', type: 'uint256' },
      { indexed: false, internalType: 'bytes32', name: 'oldRoot', type: 'bytes32' },
      { indexed: false, internalType: 'uint256', name: 'newSize', type: 'uint256' },
      { indexed: false, internalType: 'bytes32', name: 'newRoot', type: 'bytes32' },
    ],
    name: 'HeadAnchored',
    type: 'event',
  },
  {
    inputs: [
      { internalType: 'bytes32', name: 'origin', type: 'bytes32' },
      { internalType: 'uint256', name: 'size', type: 'uint256' },
      { internalType: 'bytes32', name: 'root', type: 'bytes32' },
    ],
    name: 'anchor',
    outputs: [],
    stateMutability: 'nonpayable',
    type: 'function',
  },
  {
    inputs: [
      { internalType: 'address', name: 'sender', type: 'address' },
      { internalType: 'bytes32', name: 'origin', type: 'bytes32' },
    ],
    name: 'heads',
    outputs: [
      { internalType: 'uint256', name: 'size', type: 'uint256' },
      { internalType: 'bytes32', name: 'root', type: 'bytes32' },
    ],
    stateMutability: 'view',
    type: 'function',
  },
] as const;

/** Code that creates the contract; it takes no arguments. */
export const HEAD_ANCHOR_BYTECODE =
  '0x6080604052348015600f57600080fd5b506101a78061001f6000396000f3fe608060405234801561001057600080fd5b50600436106100365760003560e01c80634dc409c21461003b578063e3b3359414610050575b600080fd5b61004e610049366004610143565b610098565b005b61007f61005e36600461016f565b60006020818152928152604080822090935290815220805460019091015482565b6040805192835260208301919091520160405180910390f35b336000908152602081815260408083208684529091529020805460018201548185116100e557604051636c2ce21560e11b8152600481018390526024810186905260440160405180910390fd5b84835560018301849055604080518381526020810183905290810186905260608101859052869033907f58360e05df92c23b42181bcf9db2665fbc800717ef96bde305cb8ee6bded8c359060800160405180910390a3505050505050565b60008060006060848603121561015857600080fd5b505081359360208301359350604090920135919050565b6000806040838503121561018257600080fd5b82356001600160a01b038116811461019957600080fd5b94602093909301359350505056';

/** Keccak-256 of the code that then stands at the contract's address. */
export const HEAD_ANCHOR_CODE_HASH =
  '0xa43edd5d273472d6ce4a6a7742ca254350b385fb99c813e28e5063c041853e60';
