/** Where evidence stands below a roll-up log's folder: `anchors/<size>/checkpoint` and `anchors/<size>/<name>`. */
import { parseDecimal } from './text.ts';

/** The folder, with its slash. */
export const ANCHORS_FOLDER = 'anchors/';
const NAME = /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/;
const CHECKPOINT = 'checkpoint';

/** A name that an anchor may have: it is a file's name. */
export const isAnchorName = (name: string): boolean => NAME.test(name) && name !== CHECKPOINT;

/** Paths of an anchored note and of one anchor's evidence for it. */
export const anchorFile = (
  size: number,
  name: string,
): { readonly checkpoint: string; readonly evidence: string } => ({
  checkpoint: `${ANCHORS_FOLDER}${size}/${CHECKPOINT}`,
  evidence: `${ANCHORS_FOLDER}${size}/${name}`,
});

/** Reads a path below the log's folder; `undefined` for one that {@link anchorFile} does not give. */
export const parseAnchorPath = (
  path: string,
): { readonly size: number; readonly name?: string } | undefined => {
  const [folder, sizeText, file, ...rest] = path.split('/');
  const size = parseDecimal(sizeText ?? '');
  if (`${folder}/` !== ANCHORS_FOLDER || size === undefined || file === undefined) return undefined;
  if (rest.length > 0) return undefined;
  if (file === CHECKPOINT) return { size };
  return isAnchorName(file) ? { size, name: file } : undefined;
};
