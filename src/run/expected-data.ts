/**
 * What is known of the data before it is tokenized, for plans of runs whose data file or model is not there yet: the clients' sizes,
 * and lengths in tokens of 4 bytes. Of a data set of the catalogue that is not there, counts are the published ones and sizes and
 * lengths those of synthetic data with its statistics.
 */
import { syntheticSource } from "../config/data-source.js";
import type { ExperimentConfig } from "../config/schema.js";
import { readFederatedDataset } from "../data/dataset.js";
import type { CatalogueFile } from "../data/catalogue.js";
import type { Sample } from "../data/samples.js";
import { drawClients, drawSampleLengths } from "../data/synthetic/generator.js";
import { BYTES_PER_TOKEN, syntheticOptions } from "../data/synthetic/profiles.js";
import type { SyntheticSource } from "../data/synthetic/write.js";
import { problemError } from "../errors.js";
import { missingDataset } from "./data-source.js";
import type { TrainingData } from "./training-data.js";

/** Tokens that a template puts around a sample, about. */
const FRAME_TOKENS: Readonly<Record<ExperimentConfig["data"]["template"], number>> = { alpaca: 42, "vicuna_v1.1": 45, chat: 12, none: 2 };

/** A client's name and the tokens of each of its samples. */
interface MeasuredClient {
  readonly id: string;
  readonly tokens: readonly number[];
}

/**
 * Clients and counts, the number of tokens estimated. Throws CONFIG_INVALID for an adapter per group, whose groups only the data
 * itself can tell, and as readFederatedDataset.
 */
export async function expectedData(config: ExperimentConfig): Promise<Pick<TrainingData, "clients" | "counts" | "groupOf">> {
  const { data } = config;
  if (config.arms.some(({ federation }) => federation.adapterPerGroup)) {
    throw problemError("CONFIG_INVALID", { subject: "federation.adapterPerGroup", expected: "data and model to be there for a plan", received: "one of them is missing" });
  }
  const all = await measureClients(config);
  const clients = all.filter(({ tokens }) => tokens.length >= data.minSamples).slice(0, data.maxClients);
  const totals = { numSamples: 0, numHeldOut: 0, numTokens: 0, numTruncated: 0 };
  const members = clients.map(({ id, tokens }) => {
    // As splitFederatedDataset: a client keeps one sample at least.
    const numHeldOut = Math.min(Math.round(tokens.length * data.heldOutFraction), tokens.length - 1);
    const numSamples = tokens.length - numHeldOut;
    const sum = tokens.reduce((before, length) => before + Math.min(length, data.maxLength), 0);
    totals.numSamples += numSamples;
    totals.numHeldOut += numHeldOut;
    totals.numTokens += (sum * numSamples) / tokens.length;
    totals.numTruncated += tokens.filter((length) => length > data.maxLength).length;
    return { id, numSamples, readSamples: noSamples };
  });
  return { clients: members, counts: { ...totals, numTokens: Math.round(totals.numTokens), numClients: clients.length, numDropped: 0, numBad: 0 } };
}

function noSamples(): never {
  throw new Error("a plan reads no samples");
}

/** Synthetic data in place of a file of the catalogue. */
export function standInFor({ entry, local }: CatalogueFile): SyntheticSource {
  const alone = local === undefined ? {} : { numClients: 1, numSamples: local.numSamples, ...(local.language === undefined ? {} : { languages: { [local.language]: 1 } }) };
  return { profile: entry.name, seed: 1, options: syntheticOptions(entry.name, alone) };
}

async function measureClients({ data }: ExperimentConfig): Promise<MeasuredClient[]> {
  const frame = FRAME_TOKENS[data.template];
  const missing = missingDataset(data);
  if (missing !== undefined) return measureSource(standInFor(missing), frame);
  if (data.synthetic) return measureSource(syntheticSource(data.generated), frame);
  const { clients } = await readFederatedDataset(data.train);
  return clients.map(({ id, samples }) => ({ id, tokens: samples.map((sample) => frame + countTokens(sample)) }));
}

function measureSource({ options, seed }: SyntheticSource, frame: number): MeasuredClient[] {
  const clients = drawClients(options, seed);
  const { instructions, responses } = drawSampleLengths(options, clients, seed);
  const numAnswers = options.kind === "preference" ? 2 : 1;
  let position = 0;
  return clients.map(({ id, numSamples }) => {
    const start = position;
    position += numSamples;
    return { id, tokens: Array.from({ length: numSamples }, (_, index) => frame + (instructions[start + index] ?? 0) + numAnswers * (responses[start + index] ?? 0)) };
  });
}

function countTokens(sample: Sample): number {
  const texts =
    sample.kind === "single-turn"
      ? [sample.instruction, sample.input ?? "", sample.response]
      : sample.kind === "preference"
        ? [typeof sample.prompt === "string" ? sample.prompt : sample.prompt.map(({ text }) => text).join(""), sample.chosen, sample.rejected]
        : sample.turns.map(({ text }) => text);
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) / BYTES_PER_TOKEN;
}
