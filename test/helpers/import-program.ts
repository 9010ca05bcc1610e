/** Imports the files that are named, and prints how large the process became, in bytes, as the last line. */
import { importData } from "../../src/data/import/import.js";

const [out = "", ...files] = process.argv.slice(2);
const { written } = await importData({ files, map: new Map(), keep: [], out });
console.log(`${String(written.numSamples)} ${String(process.resourceUsage().maxRSS * 1024)}`);
