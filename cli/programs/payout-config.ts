import { readFileSync } from 'node:fs';
import { KiriError } from '../../protocol/kiri-error.ts';
import { checkPayoutTerms } from '../../sync/clearing/core/payout-terms.ts';
import type { PayoutTerms } from '../../sync/clearing/core/payout-terms.ts';
import type { PayoutAccount } from '../../sync/clearing/core/payout.ts';
import { ZENGIN_PROFILE } from '../../sync/clearing/core/zengin-file.ts';
import type { ZenginAccount } from '../../sync/clearing/core/zengin-file.ts';
import { zenginText } from '../../sync/clearing/core/zengin-text.ts';
import { Config } from './config.ts';

/** Merchants of one payees file at most. */
const PAYEES_MAX = 100_000;

/** A name in the bank's characters; one that has none is refused, never guessed. */
function bankText(config: Config, key: string, isOptional = false): string {
  if (isOptional && !config.has(key)) return '';
  const text = config.text(key);
  const written = zenginText(text);
  if (written !== undefined) return written;
  throw new KiriError('CONFIG_INVALID', `${key} ${text}: not in the characters of a bank (kana)`);
}

/** A bank of one digit would be filled up with zeros, and be another bank. */
function digits(config: Config, key: string, form: RegExp): string {
  const text = config.text(key);
  if (form.test(text)) return text;
  throw new KiriError('CONFIG_INVALID', `${key} ${text} has not the digits that a bank wants`);
}

function accountOf(config: Config): ZenginAccount {
  const kind = config.has('kind') ? config.text('kind') : '1';
  if (kind !== '1' && kind !== '2' && kind !== '4' && kind !== '9') {
    throw new KiriError('CONFIG_INVALID', `account kind ${kind} is none of 1, 2, 4, 9`);
  }
  return {
    bank: digits(config, 'bank', /^\d{4}$/),
    bankName: bankText(config, 'bankName', true),
    branch: digits(config, 'branch', /^\d{3}$/),
    branchName: bankText(config, 'branchName', true),
    kind,
    number: digits(config, 'number', /^\d{1,7}$/),
  };
}

/** Bank details come from here alone: what a receipt or credential says decides no account that money goes to. */
function payeesOf(path: string): Map<string, PayoutAccount> {
  let entries: unknown;
  try {
    entries = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new KiriError('CONFIG_INVALID', `${path} is no readable JSON`, { cause });
  }
  const list = new Config({ payees: entries }, path).parts('payees');
  if (list.length > PAYEES_MAX) {
    throw new KiriError('CONFIG_INVALID', `${path} names more than ${PAYEES_MAX} merchants`);
  }
  const payees = new Map<string, PayoutAccount>();
  for (const part of list) {
    const merchant = part.text('merchant');
    if (payees.has(merchant)) {
      throw new KiriError('CONFIG_INVALID', `${path}: merchant ${merchant} stands twice`);
    }
    payees.set(merchant, {
      account: accountOf(part),
      name: bankText(part, 'name'),
      reference: bankText(part, 'reference', true),
    });
  }
  return payees;
}

/**
 * `payouts` of a clearing's configuration: one entry per acquirer, each with the bank account that pays and a `payees`
 * file. @throws KiriError CONFIG_INVALID, also where a payee could not be written into a file
 */
export function payoutsOf(config: Config): Map<string, PayoutTerms> {
  const payouts = new Map<string, PayoutTerms>();
  if (!config.has('payouts')) return payouts;
  for (const part of config.parts('payouts')) {
    const terms: PayoutTerms = {
      acquirer: part.text('acquirer'),
      profile: { ...ZENGIN_PROFILE, lineEnd: part.flag('crlf') ? 'crlf' : 'none' },
      clientCode: part.text('clientCode'),
      clientName: bankText(part, 'clientName'),
      account: accountOf(part.part('account')),
      minimumYen: BigInt(part.count('minimumYen', 1)),
      payees: payeesOf(part.path('payees')),
    };
    checkPayoutTerms(terms);
    if (payouts.has(terms.acquirer)) {
      throw new KiriError('CONFIG_INVALID', `payouts: acquirer ${terms.acquirer} stands twice`);
    }
    payouts.set(terms.acquirer, terms);
  }
  return payouts;
}
