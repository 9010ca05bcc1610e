/** Options that take one value, given twice: every one of every command is refused, and lists and flags are not. */
import type { Argv, CommandModule, Options } from "yargs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { COMMANDS, runCli } from "../../../src/cli/cli.js";

interface CommandOption {
  /** Words and positionals, as on a command line. */
  readonly words: readonly string[];
  readonly name: string;
  readonly option: Options;
}

/** All options of a command and of those below it, by letting its builder write them down. */
function optionsOf({ command, builder }: CommandModule, above: readonly string[] = []): CommandOption[] {
  const parts = (Array.isArray(command) ? String(command[0]) : String(command)).split(" ");
  const words = [...above, ...parts.filter((part) => !part.startsWith("[")).map((part) => (part.startsWith("<") ? "demo" : part))];
  const found: CommandOption[] = [];
  const write = (options: Readonly<Record<string, Options>>) => found.push(...Object.entries(options).map(([name, option]) => ({ words, name, option })));
  const recorder: unknown = new Proxy({}, {
    get: (_, method) => (...given: readonly unknown[]) => {
      if (method === "option") write({ [String(given[0])]: given[1] as Options });
      if (method === "options") write(given[0] as Record<string, Options>);
      if (method === "command") found.push(...optionsOf(given[0] as CommandModule, words));
      return recorder;
    },
  });
  if (typeof builder === "function") void builder(recorder as Argv);
  return found;
}

const all = COMMANDS.flatMap((command) => optionsOf(command));
const isList = ({ option }: CommandOption) => option.array === true || option.type === "array";
const single = all.filter((entry) => !isList(entry) && entry.option.type !== "boolean");

let printed = "";

beforeEach(() => {
  printed = "";
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    printed += String(text);
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

test("the options of all commands are found", () => {
  const names = new Set(single.map(({ words, name }) => `${words.join(" ")} --${name}`));
  for (const name of ["run --seed", "data get demo --min-samples", "data split demo --method", "model quantize demo demo demo --num-threads"]) expect(names).toContain(name);
  expect(all.filter(isList).map(({ name }) => name)).toEqual(expect.arrayContaining(["set", "map", "strategies"]));
});

describe("given twice", () => {
  test.each(single.map(({ words, name }) => [[...words, `--${name}`, "1", `--${name}`, "2"]]))("%j is refused before anything is done", async (line) => {
    expect(await runCli(line)).toBe(2);
    expect(printed).toContain("expected one value, received 2 (1, 2)");
  });

  test("flags and lists are not", async () => {
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    expect(await runCli(["config", "validate", "--deterministic", "--deterministic", "--set", "seed=1", "--set", "seed=2", "--strategies", "fedavg", "--strategies", "fedprox"])).toBe(0);
    expect(printed).toBe("");
  });
});
