/** The documents that a clearing goes by, as its configuration names them, and how a change of them comes into force. */
import type { Trust } from '../../identity/core/chain.ts';
import type { ClearingService } from '../../sync/clearing/clearing-service.ts';
import type { Programme } from '../../sync/clearing/core/aggregate.ts';
import { directoryOf } from '../../sync/clearing/core/directory.ts';
import { DocumentWatch } from '../../sync/clearing/document-watch.ts';
import type { RuleChanges } from '../../sync/clearing/pull-log.ts';
import type { RegistryChecker } from '../../sync/clearing/record-check.ts';
import type { Config } from './config.ts';

const SECOND_MS = 1_000;

/**
 * `documents` and `statusLists`: files and folders, looked at again every `documentsEverySeconds`.
 * @throws KiriError DOCUMENT_INVALID
 */
export const documentsOf = (config: Config, trust: Trust): Promise<DocumentWatch> =>
  DocumentWatch.open(
    {
      documents: config.paths('documents'),
      statusLists: config.has('statusLists') ? config.paths('statusLists') : [],
    },
    trust,
    { intervalMs: config.count('documentsEverySeconds', 10) * SECOND_MS },
  );

/** Puts what is new in force for checking and booking alike: a record is checked and booked under one state. */
export const changesOf = (
  documents: DocumentWatch,
  checker: Pick<RegistryChecker, 'follow'>,
  service: Pick<ClearingService, 'follow'>,
  programmes: ReadonlyMap<string, Programme>,
): RuleChanges => ({
  waits: () => documents.look(),
  take: () => {
    const taken = documents.take();
    if (!taken) return;
    checker.follow(taken.registry, taken.change);
    service.follow(directoryOf(taken.registry, programmes));
  },
});
