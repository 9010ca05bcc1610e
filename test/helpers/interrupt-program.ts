/** A program that never stops by itself and tells what the interrupt listener tells it. */
import { listenForInterrupt } from "../../src/cli/interrupt.js";

const { signal } = listenForInterrupt({
  onFirst: () => {
    process.stdout.write("first\n");
  },
  onSecond: () => {
    process.stdout.write("second\n");
  },
});
signal.addEventListener("abort", () => {
  process.stdout.write(`aborted: ${String(signal.reason)}\n`);
});
setInterval(() => undefined, 1000);
process.stdout.write("ready\n");
