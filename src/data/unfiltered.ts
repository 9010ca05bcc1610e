/** The file with the users that were left out of another one for having few samples, beside it. */

/** `a/b.json.gz` -> `a/b.unfiltered.json.gz`. */
export function unfilteredPath(path: string): string {
  return path.replace(/(\.jsonl?(\.gz)?)$/i, ".unfiltered$1");
}
