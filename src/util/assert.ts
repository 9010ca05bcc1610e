/** Programmer errors: a broken assumption of our own code. Never caught, never reachable from user input. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}
