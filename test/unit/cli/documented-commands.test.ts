/** Every command line that the documentation shows is one that the program takes: command, positionals, options and their choices. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import yargs from "yargs";
import type { Argv, CommandModule } from "yargs";
import { COMMANDS } from "../../../src/cli/cli.js";

const FILES = ["README.md", ...readdirSync("docs").map((name) => join("docs", name)), ...readdirSync("experiments", { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith("README.md")).map((name) => join("experiments", name))];

/** Lines of code blocks that call the program, without what a shell makes of them. */
function shownCommands(file: string): string[][] {
  // A fence opens a block, the next one closes it.
  const parts = readFileSync(file, "utf8").split(/^```/mu);
  const blocks = parts.filter((part, index) => index % 2 === 1 && /^(?:sh|bash)?\n/u.test(part)).map((text) => text.replaceAll("\\\n", " "));
  return blocks
    .flatMap((text) => text.split("\n"))
    .map((line) => line.replace(/\s#.*$/u, ""))
    .flatMap((line) => line.split(/;|&&|\||>/u))
    .flatMap((part) => {
      const [, words] = /\bfedllm-native(?:\s+(.*))?$/u.exec(part.trim()) ?? [];
      return words === undefined || part.includes("npm install") ? [] : [[...words.matchAll(/"[^"]*"|'[^']*'|\S+/gu)].map(([word]) => word.replaceAll(/^["']|["']$/gu, ""))];
    });
}

const shown = FILES.flatMap((file) => shownCommands(file).map((words) => [file, words] as const));

/** The command with nothing to do, and so are those below it. */
function withoutWork(command: CommandModule): CommandModule {
  const { builder } = command;
  return { ...command, handler: () => undefined, ...(typeof builder === "function" ? { builder: (parser: Argv) => builder(stripping(parser)) } : {}) } as CommandModule;
}

/** A parser whose further commands lose their work too. */
function stripping(parser: Argv): Argv {
  const proxy: Argv = new Proxy(parser, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        const taken = name === "command" ? given.map((command) => (Array.isArray(command) ? (command as CommandModule[]).map(withoutWork) : withoutWork(command as CommandModule))) : given;
        const result: unknown = Reflect.apply(value, target, taken);
        return result === target ? proxy : result;
      };
    },
  });
  return proxy;
}

interface Documented {
  readonly words: string;
  readonly examples: readonly string[];
}

/** Commands without commands below them, and what their help shows as examples. */
function examplesOf({ command, builder }: CommandModule, above: readonly string[] = []): Documented[] {
  const words = [...above, String(Array.isArray(command) ? command[0] : command)];
  const examples: string[] = [];
  const below: Documented[] = [];
  const recorder: unknown = new Proxy({}, {
    get: (_, method) => (...given: readonly unknown[]) => {
      if (method === "example") examples.push(String(given[0]));
      if (method === "command") below.push(...examplesOf(given[0] as CommandModule, words));
      return recorder;
    },
  });
  if (typeof builder === "function") void builder(recorder as Argv);
  return below.length > 0 ? below : [{ words: words.join(" "), examples }];
}

const documented = COMMANDS.flatMap((command) => examplesOf(command));

test.each(documented)("the help of $words has examples", ({ examples }) => {
  expect(examples).not.toEqual([]);
});

const shownInHelp = documented.flatMap(({ examples }) => examples.map((line) => [...line.replace(/\s[<>|].*$/u, "").replace(/^.*\$0/u, "").matchAll(/"[^"]*"|\S+/gu)].map(([word]) => word.replaceAll('"', ""))));

test("there are many", () => {
  expect(shown.length).toBeGreaterThan(60);
});

async function parses(words: readonly string[]): Promise<unknown> {
  const parser = yargs([...words]).command(COMMANDS.map(withoutWork)).demandCommand(1).strict().exitProcess(false)
    .option("debug", { type: "boolean" })
    .parserConfiguration({ "boolean-negation": false, "dot-notation": false })
    .fail((message: string | null, error: Error | undefined) => {
      throw new Error(`${words.join(" ")}: ${message ?? error?.message ?? ""}`);
    });
  return parser.parseAsync();
}

test.each(shown)("%s: %j", async (_file, words) => {
  await expect(parses(words)).resolves.toBeDefined();
});

test.each(shownInHelp.map((words) => [words]))("the example of the help: %j", async (words) => {
  await expect(parses(words)).resolves.toBeDefined();
});

test.each([["run", "--no-such-option"], ["data", "import"], ["model", "quantise", "a", "b"], ["eval", "show"], ["runs", "show", "a", "--json=maybe", "b"]])("not just anything: %s %s", async (...words) => {
  await expect(parses(words)).rejects.toThrow();
});
