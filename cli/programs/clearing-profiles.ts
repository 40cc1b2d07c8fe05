import { nodeVerifier } from '../../identity/edge/node-signatures.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import type { ClearingOptions } from '../../sync/clearing/clearing-service.ts';
import { IPM_PROFILE_NAMES, ipmProfile } from '../../sync/clearing/core/ipm-profile.ts';
import type { IpmProfile, ProfileRule } from '../../sync/clearing/core/ipm-profile.ts';
import type { Config } from './config.ts';

/** @throws KiriError CONFIG_INVALID */
export function profileNamed(name: string): IpmProfile {
  const profile = ipmProfile(name);
  if (profile) return profile;
  const known = IPM_PROFILE_NAMES.join(', ');
  throw new KiriError('CONFIG_INVALID', `there is no profile ${name}; there are ${known}`);
}

/**
 * Which lines go out how: `profile` for all; `profiles`, a list of `profile` with `acquirer`, `programme` or both, for
 * some (the first that fits counts); `vaultKeys`, the public keys of the vaults whose statements are taken.
 */
export function profilesOf(
  config: Config,
): Pick<ClearingOptions, 'profile' | 'profiles' | 'vaults'> {
  const parts = config.has('profiles') ? config.parts('profiles') : [];
  const profiles = parts.map((part): ProfileRule => ({
    ...(part.has('acquirer') && { acquirer: part.text('acquirer') }),
    ...(part.has('programme') && { programme: part.text('programme') }),
    profile: profileNamed(part.text('profile')),
  }));
  const vaults = config.has('vaultKeys') ? config.publicKeys('vaultKeys') : [];
  return {
    profiles,
    vaults: { verifier: nodeVerifier(), vaults },
    ...(config.has('profile') && { profile: profileNamed(config.text('profile')) }),
  };
}
