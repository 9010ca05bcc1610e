#!/usr/bin/env node
/** Entry of the `fedllm-native` command: runs the command line and sets the exit code. */
import { hideBin } from "yargs/helpers";
import { runCli } from "./cli.js";
import { endOnClosedPipe } from "./interrupt.js";

endOnClosedPipe();
process.exitCode = await runCli(hideBin(process.argv));
