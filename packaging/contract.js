// Compiles the anchor contract with the pinned solc and writes its ABI and code where the client reads them;
// with --check it only compares. No compiler is downloaded: solc-js carries it.
import { readFileSync, writeFileSync } from 'node:fs';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { format } from 'prettier';
import solc from 'solc';

const FOLDER = new URL('../sync/ledger/anchor/evm/', import.meta.url);
const SOURCE = 'HeadAnchor.sol';
const OUTPUT = new URL('head-anchor.ts', FOLDER);

const input = {
  language: 'Solidity',
  sources: { [SOURCE]: { content: readFileSync(new URL(SOURCE, FOLDER), 'utf8') } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    // Consortium chains lag behind: nothing newer than London is used.
    evmVersion: 'london',
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: {
      '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] },
    },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const faults = (output.errors ?? []).filter(({ severity }) => severity !== 'info');
if (faults.length > 0)
  throw new Error(faults.map(({ formattedMessage }) => formattedMessage).join('\n'));

const { abi, evm } = output.contracts[SOURCE].HeadAnchor;
const runtime = evm.deployedBytecode.object;
const text = await format(
  `/** Made from HeadAnchor.sol by packaging/contract.js with solc ${solc.version().split('+')[0]}; not edited by hand. */
/** The contract's interface. */
export const HEAD_ANCHOR_ABI = ${JSON.stringify(abi)} as const;

/** Code that creates the contract; it takes no arguments. */
export const HEAD_ANCHOR_BYTECODE = '0x${evm.bytecode.object}';

/** Keccak-256 of the code that then stands at the contract's address. */
export const HEAD_ANCHOR_CODE_HASH = '0x${bytesToHex(keccak_256(hexToBytes(runtime)))}';
`,
  { parser: 'typescript', singleQuote: true, printWidth: 100 },
);
if (!process.argv.includes('--check')) writeFileSync(OUTPUT, text);
else if (readFileSync(OUTPUT, 'utf8') !== text) {
  process.stderr.write(`${OUTPUT.pathname} is not what ${SOURCE} compiles to\n`);
  process.exitCode = 1;
}
