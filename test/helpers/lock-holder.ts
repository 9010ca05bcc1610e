/** A program that takes the lock of the folder in its first argument, says so, and holds it until it is ended. */
import { acquireRunLock } from "../../src/util/lock-file.js";

const folder = process.argv[2];
if (folder === undefined) throw new Error("usage: lock-holder FOLDER");
try {
  const lock = acquireRunLock(folder);
  console.log(`locked ${lock.abandonedBy?.pid ?? "fresh"}`);
  process.stdin.on("data", () => {
    process.exit(0);
  });
} catch (error) {
  console.log(error instanceof Error && "code" in error ? `refused ${String(error.code)}` : "failed");
  process.exit(1);
}
