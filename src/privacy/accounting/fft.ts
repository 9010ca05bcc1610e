/** The discrete Fourier transform of complex vectors whose length is a power of two, in place. */
import { assert } from "../../util/assert.js";

/** Real and imaginary parts, of equal length. */
export interface ComplexVector {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/**
 * x_k becomes sum_j x_j exp(-2 pi i j k / n); `inverse`: sum_j x_j exp(2 pi i j k / n) / n. Radix 2 after Cooley and Tukey, with the
 * roots of unity each computed on its own, so that the error grows with log n.
 */
export function transform({ re, im }: ComplexVector, inverse = false): void {
  const n = re.length;
  assert(n === im.length && n > 0 && Number.isInteger(Math.log2(n)), "the length is a power of two");
  reorder(re, im);
  const cosines = Float64Array.from({ length: n / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / n));
  const sines = Float64Array.from({ length: n / 2 }, (_, k) => (inverse ? 1 : -1) * Math.sin((2 * Math.PI * k) / n));
  for (let half = 1; half < n; half *= 2) {
    const stride = n / (2 * half);
    for (let start = 0; start < n; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const [a, b] = [start + k, start + k + half];
        const c = cosines[k * stride] ?? 0;
        const s = sines[k * stride] ?? 0;
        const xr = re[b] ?? 0;
        const xi = im[b] ?? 0;
        const yr = xr * c - xi * s;
        const yi = xr * s + xi * c;
        re[b] = (re[a] ?? 0) - yr;
        im[b] = (im[a] ?? 0) - yi;
        re[a] = (re[a] ?? 0) + yr;
        im[a] = (im[a] ?? 0) + yi;
      }
    }
  }
  if (!inverse) return;
  for (let i = 0; i < n; i++) {
    re[i] = (re[i] ?? 0) / n;
    im[i] = (im[i] ?? 0) / n;
  }
}

/** Each element to the place whose bits are its own, read backwards. */
function reorder(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; (j & bit) !== 0; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    const [a, b] = [re[i] ?? 0, im[i] ?? 0];
    re[i] = re[j] ?? 0;
    im[i] = im[j] ?? 0;
    re[j] = a;
    im[j] = b;
  }
}
