/** The held-out samples of a run as texts, by client, for metrics over client data. Their tokens are training-data.ts. */
import type { HeldOutParts } from "../benchmarks/metric.js";
import type { ExperimentConfig } from "../config/schema.js";
import { readFederatedDataset } from "../data/dataset.js";
import { splitFederatedDataset } from "../data/federated-dataset.js";
import type { Sample } from "../data/samples.js";
import { withAnswer } from "../data/tokenized.js";
import { readTrainingDataset } from "./data-source.js";

/** Both sets, as the run has them: `evaluation.maxSamplesPerClient` limits the clients' own. Throws as readFederatedDataset. */
export async function readHeldOutSamples({ data, seed, evaluation }: ExperimentConfig): Promise<HeldOutParts> {
  const dataset = await readTrainingDataset(data, {});
  const heldOutDataset = data.heldOutFile === undefined ? undefined : await readFederatedDataset(data.heldOutFile);
  const split = splitFederatedDataset(dataset, {
    seed,
    minSamples: data.minSamples,
    ...(data.maxClients === undefined ? {} : { maxClients: data.maxClients }),
    heldOutFraction: data.heldOutFraction,
    ...(heldOutDataset === undefined ? {} : { heldOutDataset }),
  });
  const list = (id: string, samples: readonly Sample[]) =>
    samples.map((sample, index) => ({ clientId: id, index, sample: data.preferenceAnswer === undefined ? sample : asAnswered(sample) }));
  const clients = split.clients.flatMap(({ id, heldOut }) => list(id, heldOut.slice(0, evaluation.maxSamplesPerClient)));
  return { clients, overall: heldOutDataset === undefined ? clients : split.heldOutGroups.flatMap(({ id, samples }) => list(id, samples)) };
}

/** Where training learns the chosen answers, they are the answers. */
function asAnswered(sample: Sample): Sample {
  return sample.kind === "preference" ? withAnswer(sample.prompt, sample.chosen) : sample;
}
