/** `doctor`: what is installed, what works, and what to do about what does not. Exit code 1 when something is missing. */
import { freemem, totalmem, cpus, availableParallelism } from "node:os";
import type { CommandModule } from "yargs";
import { FedllmError, isFedllmError } from "../../errors.js";
import { formatBytes, formatTable, printable } from "../../report/format.js";

interface Finding {
  readonly subject: string;
  readonly state: "ok" | "missing" | "info";
  readonly text: string;
  readonly advice?: string;
}

export const doctorCommand: CommandModule<object, { json: boolean }> = {
  command: "doctor",
  describe: "check this installation: versions, native addon, backends, devices, memory, SQLite",
  builder: (argv) => argv.example("$0 doctor", "what is installed and what is missing").option("json", { type: "boolean", default: false, describe: "print a JSON array" }),
  handler: async ({ json }) => {
    const findings = [...machineFindings(), ...(await nativeFindings()), await sqliteFinding()];
    if (json) process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`);
    else process.stdout.write(`${describeFindings(findings).join("\n")}\n`);
    const missing = findings.filter((finding) => finding.state === "missing");
    if (missing.length === 0) return;
    throw new FedllmError("NATIVE_UNAVAILABLE", `${missing.map((finding) => finding.subject).join(", ")}: see above`);
  },
};

function describeFindings(findings: readonly Finding[]): string[] {
  const signs = { ok: "ok", missing: "MISSING", info: "" };
  const advice = findings.filter((finding) => finding.advice !== undefined);
  return [
    ...formatTable(
      [{ title: "" }, { title: "" }, { title: "" }],
      findings.map(({ subject, state, text }) => [subject, signs[state], printable(text)]),
    ).slice(1),
    ...(advice.length === 0 ? [] : ["", "What to do:", ...advice.map(({ subject, advice: text }) => `  ${subject}: ${text ?? ""}`)]),
  ];
}

function machineFindings(): Finding[] {
  const [processor] = cpus();
  return [
    { subject: "Node", state: "ok", text: `${process.version} on ${process.platform}-${process.arch}` },
    { subject: "processor", state: "info", text: `${processor?.model ?? "unknown"}, ${String(availableParallelism())} threads usable` },
    { subject: "memory", state: "info", text: `${formatBytes(freemem())} free of ${formatBytes(totalmem())}` },
  ];
}

async function nativeFindings(): Promise<Finding[]> {
  const [{ collectNativeFacts }, { loadNative }] = await Promise.all([
    import("../../native/facts.js"),
    import("../../native/load.js"),
  ]);
  const facts = await collectNativeFacts();
  const findings: Finding[] = [
    { subject: "fedllm-native", state: "info", text: facts.packageVersion },
    facts.nodeLlamaCppVersion === undefined
      ? { subject: "node-llama-cpp", state: "missing", text: "not installed", advice: "npm install" }
      : { subject: "node-llama-cpp", state: "ok", text: facts.nodeLlamaCppVersion },
    ...facts.backends.map(({ backend, libraries, problem }): Finding => {
      const subject = `libraries for ${backend}`;
      if (libraries !== undefined) {
        return { subject, state: "ok", text: `${libraries.packageName} ${libraries.packageVersion}, llama.cpp ${libraries.release}` };
      }
      // Only the processor's build is needed; the others are a choice.
      const isNeeded = backend === "cpu" || backend === "metal";
      const text = problem ?? "not usable";
      return isNeeded ? { subject, state: "missing", text, advice: text } : { subject, state: "info", text: "not installed (optional)" };
    }),
  ];
  return [...findings, ...addonFindings(() => loadNative(), facts.addonCandidates, facts.buildTools)];
}

function addonFindings(
  load: () => { addonPath: string; release: string; devices: readonly { name: string; description: string; freeBytes: number; totalBytes: number }[] },
  candidates: readonly { source: string; path: string; exists: boolean }[],
  buildTools: Readonly<Record<string, string>>,
): Finding[] {
  const places = candidates.map(({ source, path, exists }): Finding => {
    return { subject: `addon in ${source}`, state: "info", text: `${path}${exists ? "" : " (none)"}` };
  });
  const tools: Finding = {
    subject: "build tools",
    state: "info",
    text: Object.values(buildTools).join("; ") || "none found",
  };
  try {
    const native = load();
    const devices = native.devices.map(({ name, description, freeBytes, totalBytes }): Finding => {
      return { subject: `device ${name}`, state: "ok", text: `${description}, ${formatBytes(freeBytes)} free of ${formatBytes(totalBytes)}` };
    });
    return [...places, { subject: "native addon", state: "ok", text: `${native.addonPath}, llama.cpp ${native.release}` }, ...devices, tools];
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const needed = ["cmake", "c++"].filter((tool) => buildTools[tool] === undefined);
    // What does not fit together says itself what to do.
    const advice = isFedllmError(error, "NATIVE_MISMATCH")
      ? text
      : needed.length === 0
        ? "fedllm-native native build"
        : `install ${needed.join(" and ")} (Debian: apt-get install -y cmake g++), then fedllm-native native build`;
    return [...places, { subject: "native addon", state: "missing", text, advice }, tools];
  }
}

async function sqliteFinding(): Promise<Finding> {
  const subject = "SQLite";
  try {
    const { default: Database } = await import("better-sqlite3");
    const { checkSqliteVersion } = await import("../../metrics/database.js");
    const database = new Database(":memory:");
    const version = database.prepare<[], string>("SELECT sqlite_version()").pluck().get() ?? "unknown";
    database.close();
    checkSqliteVersion(version);
    return { subject, state: "ok", text: version };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { subject, state: "missing", text, advice: "npm rebuild better-sqlite3 (the next run also tries to build it)" };
  }
}
