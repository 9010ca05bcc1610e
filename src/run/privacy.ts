/** Differential privacy of an arm: its mechanism from the configuration and the data, with the run's ledger behind it. */
import { countNoiseOf, type PrivacyConfig } from "../config/privacy.js";
import type { ArmConfig } from "../config/schema.js";
import type { FederationDeps } from "../federated/options.js";
import { calibrateNoise } from "../privacy/calibrate.js";
import { ACCOUNTANT_VERSION, type PrivacyClaim } from "../privacy/claim.js";
import { PrivacyLedger } from "../privacy/ledger.js";
import { addPaperNoise, PAPER_WARNING, paperNoiseStd } from "../privacy/paper-noise.js";
import { insecureSecret, newSecret } from "../privacy/random-stream.js";
import { multiplierBesideCount, UserLevelPrivacy, type Population, type UserLevelOptions } from "../privacy/user-level.js";
import { assert } from "../util/assert.js";

/** The clients as the mechanism sees them. */
export type PrivateClients = readonly { readonly numSamples: number }[];

/** What the rounds of an arm get, and what is to be done when they are over. */
export interface ArmPrivacy {
  readonly deps: Pick<FederationDeps, "privacy" | "perturb">;
  readonly warnings: readonly string[];
  /** Forgets the arm's secret. */
  finish(): void;
  close(): void;
}

const NONE: ArmPrivacy = { deps: {}, warnings: [], finish: () => undefined, close: () => undefined };

/** Opens the ledger of an arm that has one. `fingerprint`: of everything that its rounds depend on. Throws CONFIG_INVALID, PRIVACY_SPENT, IO_FAILED. */
export function openArmPrivacy(
  arm: ArmConfig,
  clients: PrivateClients,
  place: { readonly ledger: string; readonly fingerprint: string; readonly seed: number; readonly hasStartAdapter: boolean },
): ArmPrivacy {
  const { privacy } = arm;
  if (privacy === undefined) return NONE;
  if (privacy.dp === "paper") return paperNoise(arm, privacy, clients, place.seed);
  const { claim, options, population } = planPrivacy(arm, privacy, clients, place.hasStartAdapter);
  const ledger = new PrivacyLedger(place.ledger);
  try {
    const { insecureSeed } = privacy;
    const row = { name: arm.name, fingerprint: place.fingerprint, isInsecure: insecureSeed !== undefined, claim: JSON.stringify(claim) };
    const secret = ledger.beginArm(row, () => (insecureSeed === undefined ? newSecret() : insecureSecret(insecureSeed)));
    const { epsilon, delta, accountant } = claim;
    const sink = ledger.sinkOf(arm.name, { ...(epsilon === null ? {} : { epsilon }), delta, accountant }, () => new Date());
    const insecure = insecureSeed === undefined ? [] : [`arm ${arm.name}: privacy.insecureSeed makes cohorts and noise known to whoever has it, so nothing is protected`];
    return {
      deps: { privacy: new UserLevelPrivacy(options, population, secret, sink) },
      warnings: insecure,
      finish: () => {
        ledger.finishArm(arm.name);
      },
      close: () => {
        ledger.close();
      },
    };
  } catch (error) {
    ledger.close();
    throw error;
  }
}

/** Forgets the secret of an arm that was finished by a process which had no time to. */
export function forgetSecret({ name, privacy }: ArmConfig, ledgerPath: string): void {
  if (privacy?.dp !== "user") return;
  const ledger = new PrivacyLedger(ledgerPath);
  try {
    ledger.finishArm(name);
  } finally {
    ledger.close();
  }
}

/** The mechanism's parameters with nothing left to default. Throws CONFIG_INVALID as calibrateNoise and multiplierBesideCount. */
export function planPrivacy(
  { training }: ArmConfig,
  privacy: PrivacyConfig,
  clients: PrivateClients,
  hasStartAdapter: boolean,
): { readonly claim: PrivacyClaim; readonly options: UserLevelOptions; readonly population: Population } {
  const numClients = clients.length;
  const cohortSize = Math.min(training.clientsPerRound, numClients);
  const { sampling, clipNorm, exampleCap, adaptiveClipping, epsilon } = privacy;
  const accountant = privacy.accountant ?? (sampling === "poisson" ? "pld" : "rdp");
  const delta = privacy.delta ?? numClients ** -1.1;
  const noiseMultiplier = privacy.noiseMultiplier ?? calibrated({ epsilon, delta, accountant, sampling, sampleRate: cohortSize / numClients, numRounds: training.numRounds });
  const adaptive = adaptiveClipping === undefined ? undefined : { ...adaptiveClipping, countNoise: countNoiseOf(adaptiveClipping, cohortSize) };
  if (adaptive !== undefined) multiplierBesideCount(noiseMultiplier, adaptive.countNoise);
  const claim: PrivacyClaim = {
    accountantVersion: ACCOUNTANT_VERSION,
    accountant,
    sampling,
    numClients,
    cohortSize,
    numRounds: training.numRounds,
    noiseMultiplier,
    clipNorm,
    adaptiveClipping: adaptive !== undefined,
    exampleCap: exampleCap ?? null,
    delta,
    epsilon: epsilon ?? null,
    hasStartAdapter,
  };
  const options = { sampling, cohortSize, noiseMultiplier, clipNorm, ...(adaptive === undefined ? {} : { adaptive }), ...(exampleCap === undefined ? {} : { exampleCap }) };
  const totalWeight = clients.reduce((sum, { numSamples }) => sum + (exampleCap === undefined ? 1 : Math.min(1, numSamples / exampleCap)), 0);
  return { claim, options, population: { numClients, totalWeight } };
}

function calibrated({ epsilon, ...target }: Omit<Parameters<typeof calibrateNoise>[0], "epsilon"> & { readonly epsilon: number | undefined }): number {
  assert(epsilon !== undefined, "the configuration has a budget where it has no noise");
  const noiseMultiplier = calibrateNoise({ ...target, epsilon });
  // A cohort of fixed size is counted for replacement, which moves the sum by twice the clipping norm.
  return target.sampling === "fixedSize" ? 2 * noiseMultiplier : noiseMultiplier;
}

function paperNoise({ training }: ArmConfig, privacy: PrivacyConfig, clients: PrivateClients, seed: number): ArmPrivacy {
  const numClients = clients.length;
  const { epsilon, delta = numClients ** -1.1, noiseStd, totalSamples = clients.reduce((sum, { numSamples }) => sum + numSamples, 0) } = privacy;
  const { initialLearningRate: learningRate, clientsPerRound, numRounds, optimizer } = training;
  const maxGradientNorm = optimizer.maxGradientNorm ?? 0;
  const formula = { delta, learningRate, maxGradientNorm, totalSamples, numClients, clientsPerRound: Math.min(clientsPerRound, numClients), numRounds };
  const std = noiseStd ?? (epsilon === undefined ? 0 : paperNoiseStd({ ...formula, epsilon }));
  return {
    ...NONE,
    deps: { perturb: (update) => ({ ...update, update: addPaperNoise(update.update, std, { seed, round: update.round, clientId: update.clientId }) }) },
    warnings: [PAPER_WARNING],
  };
}
