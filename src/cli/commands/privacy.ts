/** `privacy calibrate|report|audit`: how much noise a target needs, what a run's releases cost, and a test of the mechanism from outside. */
import type { Argv, CommandModule, Options } from "yargs";
import { problemError } from "../../errors.js";

export const privacyCommand: CommandModule = {
  command: "privacy",
  describe: "noise for a target, what a run has cost, and an audit of the mechanism",
  builder: (argv: Argv) =>
    argv.command(calibrateCommand).command(reportCommand).command(auditCommand).demandCommand(1, "Which action: calibrate, report or audit?"),
  handler: () => undefined,
};

const json = { type: "boolean", default: false, describe: "print one JSON value" } as const satisfies Options;
const numbers = (describe: string, rest: Options = {}) => ({ type: "number", requiresArg: true, describe, ...rest }) as const;
const accountants = ["pld", "rdp"] as const;
const accountant = { choices: accountants, default: "pld" as const, describe: "pld: composed privacy loss; rdp: Renyi" };

interface CohortFlags {
  clients: number;
  "clients-per-round": number;
  rounds: number;
  delta: number | undefined;
  accountant: (typeof accountants)[number];
  json: boolean;
}

const cohortOptions = {
  clients: numbers("clients of the federation", { demandOption: true }),
  "clients-per-round": numbers("expected clients of a round", { demandOption: true }),
  rounds: numbers("rounds, each of which is a release", { demandOption: true }),
  delta: numbers("default: 1 / clients^1.1"),
  accountant,
  json,
};

const calibrateCommand: CommandModule<object, CohortFlags & { epsilon: number }> = {
  command: "calibrate",
  describe: "the least noise multiplier for an epsilon",
  builder: (argv) => argv.example("$0 privacy calibrate --epsilon 8 --clients 1000 --clients-per-round 100 --rounds 50", "the noise multiplier for an experiment").options({ epsilon: numbers("what all rounds together may cost", { demandOption: true }), ...cohortOptions }) as unknown as Argv<CohortFlags & { epsilon: number }>,
  handler: async (flags) => {
    const { sampleRate, delta } = checkCohort(flags);
    checkRange("--epsilon", flags.epsilon, 0, 1e6);
    const [{ calibrateNoise }, { epsilonOfEvents }, { formatEpsilon }] = await Promise.all([
      import("../../privacy/calibrate.js"),
      import("../../privacy/accounting/accountant.js"),
      import("../../privacy/claim.js"),
    ]);
    const noiseMultiplier = calibrateNoise({ epsilon: flags.epsilon, delta, sampleRate, numRounds: flags.rounds, accountant: flags.accountant });
    const events = [{ sampleRate, noiseMultiplier, count: flags.rounds }];
    const epsilon = epsilonOfEvents(events, delta, flags.accountant);
    const byRdp = epsilonOfEvents(events, delta, "rdp");
    if (flags.json) {
      process.stdout.write(`${JSON.stringify({ noiseMultiplier, sampleRate, numRounds: flags.rounds, delta, accountant: flags.accountant, epsilon, epsilonByRdp: byRdp })}\n`);
      return;
    }
    const lines = [
      `noise multiplier ${noiseMultiplier.toFixed(6)}: ${String(flags.rounds)} rounds with sample rate ${sampleRate.toPrecision(4)} cost epsilon ${formatEpsilon(epsilon)} for delta ${delta.toPrecision(3)}`,
      `by ${flags.accountant}, adding or removing one client; by rdp ${formatEpsilon(byRdp)}`,
      `privacy: { dp: user, noiseMultiplier: ${noiseMultiplier.toFixed(6)}, delta: ${String(delta)}, epsilon: ${String(flags.epsilon)} }`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

const reportCommand: CommandModule<object, { run: string; json: boolean }> = {
  command: "report <run>",
  describe: "what a run's releases have cost, and what is protected and what is not",
  builder: (argv) => argv.example("$0 privacy report runs/my-study", "epsilon spent, and the sentence that may be published").positional("run", { type: "string", demandOption: true, describe: "folder of the run, or its name in ./runs" }).options({ json }),
  handler: async ({ run, json: isJson }) => {
    const [{ findRun }, { readPrivacyReport }, { describeClaim }] = await Promise.all([
      import("../../run/run-folder.js"),
      import("../../run/privacy-report.js"),
      import("../../privacy/claim.js"),
    ]);
    const { ensureSqlite } = await import("../../metrics/ensure-sqlite.js");
    await ensureSqlite();
    const { arms, unprotected } = await readPrivacyReport(findRun(run));
    if (isJson) {
      process.stdout.write(`${JSON.stringify({ arms, unprotected }, null, 2)}\n`);
      return;
    }
    const parts = [...arms.map((arm) => describeClaim(arm).join("\n")), ...unprotected.map(({ arm, reason }) => `${arm}: no guarantee. ${reason}`)];
    process.stdout.write(`${parts.join("\n\n")}\n`);
  },
};

interface AuditFlags extends CohortFlags {
  noise: number;
  trials: number;
  confidence: number;
  "canary-length": number;
  "no-noise": boolean;
}

const auditCommand: CommandModule<object, AuditFlags> = {
  command: "audit",
  describe: "bound epsilon from below by experiment: fails when the mechanism gives away more than is claimed",
  builder: (argv) =>
    argv.example("$0 privacy audit --noise 1 --clients 10 --clients-per-round 5 --rounds 2", "a lower bound on epsilon by experiment").options({
      noise: numbers("noise multiplier", { demandOption: true }),
      ...cohortOptions,
      trials: numbers("runs with a canary client, and as many without", { default: 4000 }),
      confidence: numbers("probability with which the bound holds", { default: 0.95 }),
      "canary-length": numbers("length of the canary's update, in clipping norms", { default: 10 }),
      "no-noise": { type: "boolean", default: false, describe: "leave the noise out, to see that the audit finds it" },
    }) as unknown as Argv<AuditFlags>,
  handler: async (flags) => {
    const { delta } = checkCohort(flags);
    checkRange("--noise", flags.noise, 0, 1e5);
    checkRange("--confidence", flags.confidence, 0, 1);
    checkRange("--canary-length", flags["canary-length"], 0, 1e6);
    checkWhole("--trials", flags.trials);
    if (flags.trials < 20) throw problemError("CONFIG_INVALID", { subject: "--trials", expected: "at least 20", received: String(flags.trials) });
    const [{ runAudit }, { formatEpsilon }] = await Promise.all([import("../../run/privacy-audit.js"), import("../../privacy/claim.js")]);
    const { claimed, ...result } = await runAudit({
      numClients: flags.clients,
      cohortSize: Math.min(flags["clients-per-round"], flags.clients),
      numRounds: flags.rounds,
      noiseMultiplier: flags.noise,
      withoutNoise: flags["no-noise"],
      delta,
      accountant: flags.accountant,
      numTrials: flags.trials,
      confidence: flags.confidence,
      canaryLength: flags["canary-length"],
    });
    const holds = result.epsilonLowerBound <= claimed;
    if (flags.json) process.stdout.write(`${JSON.stringify({ ...result, epsilonClaimed: claimed, holds })}\n`);
    else {
      const lines = [
        `claimed: epsilon ${formatEpsilon(claimed)} for delta ${delta.toPrecision(3)}`,
        `found: at least ${result.epsilonLowerBound.toFixed(3)} with confidence ${String(flags.confidence)} (${String(result.truePositives)} of ${String(result.numCounted)} canaries found, ${String(result.falsePositives)} seen where none was)`,
        holds ? "the claim stands" : "THE CLAIM IS WRONG",
      ];
      process.stdout.write(`${lines.join("\n")}\n`);
    }
    if (holds) return;
    throw problemError("PRIVACY_VIOLATED", { subject: "audit", expected: `an epsilon of at most ${formatEpsilon(claimed)}`, received: `at least ${result.epsilonLowerBound.toFixed(3)}` });
  },
};

function checkCohort(flags: CohortFlags): { readonly sampleRate: number; readonly delta: number } {
  checkWhole("--clients", flags.clients);
  checkWhole("--rounds", flags.rounds);
  checkRange("--clients-per-round", flags["clients-per-round"], 0, Number.MAX_SAFE_INTEGER);
  const delta = flags.delta ?? flags.clients ** -1.1;
  // One client alone has no default.
  checkRange("--delta", delta, 0, 1);
  return { sampleRate: Math.min(1, flags["clients-per-round"] / flags.clients), delta };
}

function checkRange(subject: string, value: number, low: number, high: number): void {
  if (value > low && value < high) return;
  throw problemError("CONFIG_INVALID", { subject, expected: `a number above ${String(low)} and below ${String(high)}`, received: String(value) });
}

function checkWhole(subject: string, value: number): void {
  if (Number.isSafeInteger(value) && value > 0) return;
  throw problemError("CONFIG_INVALID", { subject, expected: "a whole number above 0", received: String(value) });
}
