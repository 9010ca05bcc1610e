/** Seven vectors of which the last two are hostile, with what each rule makes of them, computed by hand or with 30 digits elsewhere. */
export const WORKED: readonly Float64Array[] = [
  [1, 2],
  [1.2, 1.8],
  [0.8, 2.2],
  [1.1, 2.1],
  [0.9, 1.9],
  [50, -50],
  [60, -40],
].map((point) => Float64Array.from(point));

/** The same in another order. */
export function permuted<T>(items: readonly T[], places: readonly number[]): T[] {
  return places.map((place) => items[place] as T);
}
