import { UsageError, type Command } from './command.ts';

type Run = (argv: readonly string[]) => Promise<number>;

const CONFIG = 'Options: --config FILE (JSON; paths in it count from the file)';

async function loadSync(): Promise<Run> {
  const [{ runLedger }, { runIntake }, { runClearing }, { runRollUp }] = await Promise.all([
    import('./programs/ledger.ts'),
    import('./programs/intake.ts'),
    import('./programs/clearing.ts'),
    import('./programs/rollup.ts'),
  ]);
  return async ([part, ...rest]) => {
    if (part === 'ledger') return runLedger(rest);
    if (part === 'intake') return runIntake(rest);
    if (part === 'clearing') return runClearing(rest);
    if (part === 'rollup') return runRollUp(rest);
    throw new UsageError('kiri sync wants ledger, intake, clearing or rollup');
  };
}

/** Every `kiri` command by name. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  gateway: {
    summary: 'run a fog gateway: MQTT broker and approver',
    usage: `Usage: kiri gateway --config FILE\n${CONFIG}`,
    load: async () => (await import('./programs/gateway.ts')).runGateway,
  },
  witness: {
    summary: 'run a witness that cosigns checkpoints',
    usage: `Usage: kiri witness --config FILE\n${CONFIG}`,
    load: async () => (await import('./programs/witness.ts')).runWitness,
  },
  mirror: {
    summary: 'run a mirror that copies logs, checks them and cosigns what it holds',
    usage: `Usage: kiri mirror --config FILE\n${CONFIG}`,
    load: async () => (await import('./programs/mirror.ts')).runMirror,
  },
  hub: {
    summary: 'run a hub: one upload of a checkpoint reaches every witness',
    usage: `Usage: kiri hub --config FILE\n${CONFIG}`,
    load: async () => (await import('./programs/hub.ts')).runHub,
  },
  relay: {
    summary:
      'run the centre of gateways behind NAT: they connect outward, their logs are read here',
    usage: `Usage: kiri relay --config FILE\n${CONFIG}`,
    load: async () => (await import('./programs/relay.ts')).runRelay,
  },
  sync: {
    summary: 'run the ledger beside a gateway, or intake, clearing or the roll-up at the centre',
    usage:
      `Usage: kiri sync ledger|intake|clearing|rollup --config FILE\n${CONFIG}\n` +
      '       kiri sync rollup --config FILE --deploy NAME\n' +
      '  --deploy NAME  create the contract of the EVM anchor NAME and print its address',
    load: loadSync,
  },
  ledger: {
    summary: 'check a log folder, prove receipts, give a lost log back, erase keys, retire shards',
    usage:
      'Usage: kiri ledger restore --from MIRROR --to FOLDER --policy FILE\n' +
      '         (--gateway FOLDER --approver-key FILE | --new-journal) [--origin NAME] [--json]\n' +
      '       kiri ledger fsck FOLDER --policy FILE [--issuer-key FILE] [--json]\n' +
      '       kiri ledger prove RECEIPT… --log FOLDER|URL --policy FILE [--to FOLDER] [--json]\n' +
      '         [--issuer-key FILE] [--rollup FOLDER|URL [--anchor NAME]]\n' +
      '       kiri ledger keys LOG --key FILE --policy FILE [--issuer-key FILE] [--line HEX]...\n' +
      '         [--json]\n' +
      '       kiri ledger erase --folder FOLDER --request FILE --issuer-key FILE\n' +
      '         --holder-key FILE [--holds FILE] [--json]\n' +
      '       kiri ledger retire FOLDER --policy FILE [--issuer-key FILE] [--retention FILE]\n' +
      '         [--holds FILE] [--dry-run] [--json]\n' +
      '       kiri ledger scan FOLDER --trust DIR... [--json]\n' +
      '  --from MIRROR     a mirror: its address or its folder\n' +
      '  --to FOLDER       the log folder to be made; refused where it holds a log\n' +
      '                    (prove: where proofs are written, default beside each Receipt)\n' +
      '  --log FOLDER|URL  the log, or any copy of it, that holds the Receipts\n' +
      '  --rollup PLACE    the roll-up log: writes L3 proofs, up to what an anchor holds\n' +
      '  --anchor NAME     only through this anchor of it (default: the earliest evidence)\n' +
      '  --policy FILE     the policy that the checkpoint must meet\n' +
      '  --gateway FOLDER  the journals that the log follows, to find where it goes on\n' +
      '  --approver-key F  the public key (COSE_Key) of that gateway\n' +
      '  --issuer-key F    public key of the issuer (COSE_Key): who may order an erasure\n' +
      "  --key FILE        the issuer's private P-256 key that opens content keys (PEM)\n" +
      '  --line HEX        only keys that hold payments of this line\n' +
      '  --holder-key F    private key of the holder that erases here\n' +
      '  --holds FILE      legal holds, one a line: ORIGIN [PERIOD|*] [KID|*]; state/holds counts too\n' +
      '  --retention FILE  retire, in a mirror: how long it keeps contents, where its copy states nothing\n' +
      '  --dry-run         retire: tells what would be deleted\n' +
      '  --trust DIR       documents, keys, receipts: nothing that they say may stand in the log\n' +
      '  --new-journal     the journals were lost too: the log goes on with the first new record\n' +
      '  --origin NAME     the log, where the policy names several\n' +
      '  --json            print the result as JSON',
    load: async () => (await import('./programs/ledger-tools.ts')).runLedgerTools,
  },
  party: {
    summary: 'read what a liable party paid, from the log itself',
    usage:
      'Usage: kiri party receipts --log LOG --key FILE --policy FILE [--issuer-key FILE]\n' +
      '         [--out DIR] [--json]\n' +
      '  --log LOG      a log: its folder or its address\n' +
      "  --key FILE     the party's private P-256 key for key agreement (PEM, mode 0600)\n" +
      '  --policy FILE  the policy that the checkpoint must meet, or the book of its versions\n' +
      '  --issuer-key F where --policy is a book of policies\n' +
      '  --out DIR      writes each Payment, Offer and Receipt there as COSE bytes as sent\n' +
      '  --json         one JSON object a line',
    load: async () => (await import('./programs/party-tools.ts')).runPartyTools,
  },
  issuer: {
    summary: "sign the issuer's documents; take settlement files and answer them",
    usage:
      'Usage: kiri issuer mandate --key FILE --for COSEKEY --like MANDATE --status-index N --out FILE\n' +
      '                           [--origin PREFIX] [--valid-days N] [--json]\n' +
      '       kiri issuer close-approver --key FILE --approver COSEKEY --through SEQUENCE\n' +
      '                           --reason TEXT --out FILE [--json]\n' +
      '       kiri issuer erasure-request --key FILE --origin NAME --period YYYY-MM --kid HEX...\n' +
      '                           --holder NAME=COSEKEY... --reason request|retention|order --out FILE\n' +
      '       kiri issuer policy --key FILE --text FILE --book FILE [--in-force-from SECONDS] [--json]\n' +
      '       kiri issuer ingest FILE --trust DIR DESK [--accounts FILE] [--evidence DIR] [--json]\n' +
      '       kiri issuer chargeback --arn ARN --reason CODE [--amount MAJOR] DESK\n' +
      '                           [--cycle first|arbitration] [--text TEXT] [--json]\n' +
      '       kiri issuer retrieval --arn ARN --reason CODE DESK [--text TEXT] [--json]\n' +
      '       kiri issuer fee --reference REF --reason CODE --amount MAJOR --currency CODE DESK\n' +
      '                           [--direction charge|pay] [--arn ARN] [--clearing ID] [--text TEXT] [--json]\n' +
      '       kiri issuer fee --reference REF --direction return DESK [--json]\n' +
      '         DESK is --key FILE --member ID --state DIR --out DIR\n' +
      '  FILE               a settlement file, its manifest and lines file beside it; with card numbers\n' +
      "                     also its vault's statement (.vault)\n" +
      "  --trust DIR        the issuer's public key, the clearing's credential, keys of vaults in vaults/\n" +
      "  --member ID        11 digits: the issuer in its own files' ids\n" +
      '  --state DIR        what the desk took and answered; one process at a time\n' +
      '  --out DIR          (desk) the folder that the clearing reads the answers from\n' +
      '  --accounts FILE    known accounts, one a line: REFERENCE open|closed (default: all are open)\n' +
      '  --evidence DIR     (default: ../evidence beside the folder of FILE; without one no line is proven)\n' +
      '  --arn ARN          a line that the desk took\n' +
      '  --reason CODE      four digits of the list in docs/clearing.md (close-approver: text)\n' +
      '  --amount MAJOR     such as 12.50; default: all that can still be charged back\n' +
      '  --cycle WHICH      arbitration: after the line was presented again (default first)\n' +
      '  --text TEXT        for people, upper case\n' +
      '  --reference REF    1 to 20 capital letters and digits, of one fee and its return\n' +
      '  --clearing ID      whom the fee goes to, where files of several clearings were taken\n' +
      '       kiri issuer statements --key FILE --documents DIR --clearing FILE --accounts FILE\n' +
      '                           --state DIR --out DIR [--closes DIR] [--json]\n' +
      '       kiri issuer decline --state DIR (--party ID | --line ID | --from FILE) [--reason TEXT]\n' +
      '       kiri issuer recover --state DIR (--party ID | --line ID) [--json]\n' +
      '       kiri issuer status-list --key FILE --documents DIR --state DIR --out FILE\n' +
      '                           [--from FILE] [--json]\n' +
      '       kiri issuer publish (--list FILE | --statements DIR) (--to URL --token-file FILE)... [--json]\n' +
      '  --party ID         32 hex digits, a liable party with all its lines; --line ID: one line\n' +
      '  --from FILE        (decline) the answer of `reconcile`, whose declined parties are taken\n' +
      '                     (status-list) the list that gateways hold, when it was signed elsewhere\n' +
      "  --to URL           a gateway's admin interface; --token-file: its token, one for each\n" +
      '       kiri issuer report exposure --issuer-key FILE --documents DIR --store STORE\n' +
      '                           [--store-password-file FILE] [--neighbours alone|share] [--json]\n' +
      '       kiri issuer report differences --issuer-key FILE --documents DIR --clearing FILE\n' +
      '                           --accounts FILE --rule local|centre [--told DIR] [--devices FILE] [--json]\n' +
      '  --rule WHICH       whose books count for balances while both differ; contradictions: centre\n' +
      "  --told DIR         (report) gateways' signed spent totals and devices' Closes, as COSE\n" +
      '  --devices FILE     what devices show, one a line: {"line":"HEX","counter":N,"totalMicro":"N"}\n' +
      "  --issuer-key FILE  (report) the issuer's public key (COSE_Key)\n" +
      "  --store STORE      (report) the clearing's SQLite file or postgres:// address\n" +
      '  --neighbours HOW   share: neighbours tell each other what they accepted (default alone)\n' +
      "  --key FILE         the issuer's private key\n" +
      '  --documents DIR    all credentials, bindings and allowances, also those made here before\n' +
      "  --clearing FILE    the clearing's credential\n" +
      '  --accounts FILE    (statements) line accounts, as `kiri clearing line-accounts` writes them\n' +
      '  --closes DIR       Closes that devices signed: they release what their allowances held\n' +
      '  --kid HEX          a content key, as `kiri ledger keys` tells it\n' +
      '  --holder NAME=F    who has to erase it and confirm, with its public key (COSE_Key)\n' +
      '  --for COSEKEY      public key of the gateway that gets the mandate\n' +
      '  --like MANDATE     an earlier mandate, whose limits and place the new one repeats\n' +
      '  --status-index N   its own place in the status list, never used before\n' +
      "  --origin PREFIX    what its log's origins begin with (default: as before)\n" +
      '  --valid-days N     how long it holds (default 365)\n' +
      '  --approver COSEKEY public key of the gateway that approves no more\n' +
      '  --through SEQUENCE the last of its sequences that is paid without question\n' +
      '  --reason TEXT      for people: "board dead"\n' +
      '  --text FILE        who makes a log final (C2SP tlog-policy); becomes the next version of\n' +
      '  --book FILE        the policy book, which is made where there is none\n' +
      '  --in-force-from S  seconds since 1970 (default: now)\n' +
      '  --out FILE         the new document; an existing file is never written over',
    load: async () => (await import('./programs/issuer-tools.ts')).runIssuerTools,
  },
  operator: {
    summary: 'make the keys of a gateway, log, witness or mirror; enrol a log',
    usage:
      'Usage: kiri operator keygen --key FILE --public FILE [--alg Ed25519|P-256] [--json]\n' +
      '       kiri operator vkey --public FILE --name NAME --for log|witness [--json]\n' +
      '       kiri operator enrol-log --key FILE --public FILE --origin PREFIX [--url URL] --out FILE [--json]\n' +
      '  --key FILE       the new private key, mode 0600; an existing file is never written over\n' +
      "                   (enrol-log: the gateway's private key, which the mandate is for)\n" +
      '  --public FILE    its public half as COSE_Key (enrol-log: public key of the log)\n' +
      '  --name NAME      the origin of the log, or the name of the witness or mirror\n' +
      '  --origin PREFIX  the origin of the log, or what the origins of its shards begin with\n' +
      '  --url URL        where the log is served; mirrors want it\n' +
      '  --out FILE       the enrolment, which a log writer sends to witnesses and mirrors\n' +
      '  vkey prints the key as policies and configurations name it (C2SP signed-note)',
    load: async () => (await import('./programs/operator-tools.ts')).runOperatorTools,
  },
  status: {
    summary: 'show levels of logs and receipts, backlog, rate, and who is late',
    usage:
      'Usage: kiri status [--gateway URL [--hash PAYMENT]] [--ledger URL]... [--folder DIR]...\n' +
      '                   [--sequence N] [--json]\n' +
      '       kiri status --receipt FILE --log FOLDER|URL --policy FILE [--approver-key FILE]\n' +
      '                   [--earlier CHECKPOINT] [--issuer-key FILE] [--json]\n' +
      "  --gateway URL       a gateway's HTTP interface; --hash asks it for one Payment\n" +
      "  --ledger URL        a log writer's HTTP interface\n" +
      '  --folder DIR        a log folder: what its writer noted last\n' +
      '  --sequence N        the level of this answer in the first log\n' +
      '  --receipt FILE      looks for one Receipt in a log that is read whole\n' +
      '  --approver-key F    the public key (COSE_Key) that signed it\n' +
      '  --earlier FILE      an older final checkpoint of that log: the line was up then\n' +
      '  --issuer-key FILE   where --policy is a book of policies\n' +
      '  --json              print the status as JSON',
    load: async () => (await import('./programs/status.ts')).runStatus,
  },
  devices: {
    summary: 'run payers and payees',
    usage: `Usage: kiri devices --config FILE\n${CONFIG}`,
    load: async () => (await import('./programs/devices.ts')).runDevices,
  },
  sim: {
    summary: 'run the virtual world: the real cores under seeded faults and attacks',
    usage:
      'Usage: kiri sim [--seeds N] [--first F] [--seed S] [--ledger EVENT] [--events N]\n' +
      '                [--jobs N] [--json]\n' +
      '  --seeds N       so many worlds (default 100), --first F from this seed on (default 1)\n' +
      '  --seed S        one world alone\n' +
      '  --ledger EVENT  what befalls the log in every world (default: drawn from the seed): weather, fork,\n' +
      '                  older-copy, lost-disk, lost-disk-and-journals, lost-witness, restarted-witness,\n' +
      '                  erased-payload, dead-mirror, two-dead-witnesses\n' +
      '  --jobs N        threads (default: one per core); the result does not depend on it\n' +
      '  --events N      lines of the story to show where an invariant broke (default 40)\n' +
      '  --json          print the result as JSON',
    load: async () => (await import('./sim.ts')).runSim,
  },
  verify: {
    summary: 'check artefacts offline: a whole output folder or single files',
    usage:
      'Usage: kiri verify PATH... [--trust DIR] [--json]\n' +
      '       kiri verify PRE-FILE --final FILE [--trust DIR] [--json]\n' +
      '  PATH         an output folder, a receipt, proof, log folder, evidence or settlement file\n' +
      '  --trust DIR  public keys, policy and documents to check against (default: found beside PATH)\n' +
      '  --final FILE the file that a vault made of the pre-file: differs only in DE2, and is the one it stated\n' +
      '  --json       print the report as JSON',
    load: async () => (await import('./verify/verify.ts')).runVerify,
  },
  clearing: {
    summary: "look into a clearing's store and evidence, archive a period",
    usage:
      'Usage: kiri clearing search --store STORE [--from DATE] [--to DATE] [--merchant ID] [--party HEX]\n' +
      '                            [--min AMOUNT] [--max AMOUNT] [--json]\n' +
      '       kiri clearing reconciliation --store STORE --out FILE.csv [--json]\n' +
      '       kiri clearing archive --store STORE --folder DIR --key FILE --from DATE --to DATE --out FOLDER\n' +
      '                            [--trust DIR] [--ledger DIR] [--receipts DIR] [--answers DIR] [--json]\n' +
      '       kiri clearing evidence-html FILE... [--out DIR]\n' +
      '       kiri clearing line-accounts --store STORE --key FILE --out FILE [--closes DIR] [--json]\n' +
      '       kiri clearing cost --store STORE [--out DIR] [--json]\n' +
      '       kiri clearing segments --store STORE [--json]\n' +
      '       kiri clearing seal --store STORE [--after-days N] [--json]\n' +
      "  --store STORE   the clearing's SQLite file or postgres:// address; it may go on working meanwhile\n" +
      '  --store-password-file FILE  for a server, mode 0600 (else PGPASSWORD)\n' +
      '  --from, --to    first and last day, YYYY-MM-DD in Japan time\n' +
      '  --merchant ID   the merchant, --party HEX the liable party\n' +
      '  --min, --max    what was charged, in major units such as 120 or 3.85\n' +
      '  --out FILE.csv  lines of all files, balances, merchants and totals as one table (RFC 4180)\n' +
      "  --out DIR       (cost) the clearing's output folder: counts bytes of files and evidence too\n" +
      '  --json          one JSON object a line\n' +
      '  segments        sealed receipts by month, counted anew; exit code 1 where one is not what was sealed\n' +
      '  seal            puts settled receipts of past months away; no clearing may run on the store meanwhile\n' +
      '  --after-days N  hand-in horizon, at least 30 (default): later bookings stay\n' +
      "  --key FILE      the clearing's private key; signs FILE.manifest beside the accounts\n" +
      '  --closes DIR    gets the Closes that devices handed in, for `kiri issuer statements --closes`\n' +
      '  FILE            evidence of an aggregate; becomes DIR/<aggregate>.html (default: here)',
    load: async () => (await import('./programs/clearing-tools.ts')).runClearingTool,
  },
  'vault-test': {
    summary:
      "the partner's vault with test card numbers: fills pre-files, tokenises what comes back",
    usage:
      'Usage: kiri vault-test fill FILE.pre.ipm --key FILE --clearing-key FILE --out DIR [--json]\n' +
      '       kiri vault-test tokenise FILE.ipm --profile NAME --key FILE --out DIR [--json]\n' +
      "  --key FILE           the vault's own key; signs what it states about each file\n" +
      "  --clearing-key FILE  the clearing's public key (COSE_Key); the manifest beside the file must be its own\n" +
      '  --profile NAME       of the file that came in, such as kiri-ipm-member\n' +
      '  --out DIR            gets the other form of the file and its .vault statement\n' +
      'For tests: knows published test card numbers only, and refuses files of production.',
    load: async () => (await import('./programs/vault-test.ts')).runVaultTest,
  },
  'scan-pan': {
    summary: 'look for card numbers in files of any kind',
    usage:
      'Usage: kiri scan-pan PATH... [--store URL]\n' +
      '  PATH         a file, or a folder with everything in it; links are not followed\n' +
      "  --store URL  a clearing's store on a server; --store-password-file FILE as for clearing search\n" +
      'Prints file, offset and length of each find, never its digits. Exit code 1 if there is one.',
    load: async () => (await import('./programs/scan-pan.ts')).runScanPan,
  },
  demo: {
    summary: 'the main job, end to end, on built-in or recorded traffic',
    usage:
      'Usage: kiri demo [--trace FILE] [--rates FILE] [--speed N] [--policy demo|full]\n' +
      '                 [--out DIR] [--json] [--keep]\n' +
      '  --trace FILE  recorded vehicle passages or charging sessions (CSV)\n' +
      '  --rates FILE  toll by time of day for passages (CSV)\n' +
      '  --speed N     replay N times as fast as recorded; 0 = as fast as it goes (default)\n' +
      '  --policy NAME who makes a receipt final: demo = one witness (default);\n' +
      '                full = 3 of 4 witnesses and a mirror, one witness stopped, the log lost and restored\n' +
      '  --out DIR     where the artefacts go (default out)\n' +
      '  --json        print the summary as JSON and nothing else\n' +
      "  --keep        keep the programs' own state in DIR.state",
    load: async () => (await import('./demo/demo.ts')).runDemo,
  },
};
