/** The items of metrics over client data: held-out samples of a run, or all samples of a file, with the client as category. */
import { createHash } from "node:crypto";
import { readFederatedDataset } from "../../data/dataset.js";
import type { Sample } from "../../data/samples.js";
import { problemError } from "../../errors.js";
import type { HeldOutSample, MetricItem, MetricOptions } from "../metric.js";
import { limitItems } from "./limit.js";

export interface ClientItem extends MetricItem {
  /** The client. */
  readonly category: string;
  readonly sample: Sample;
}

export interface ClientItems {
  readonly items: readonly ClientItem[];
  readonly itemsSha256: string;
}

/** The setting that chooses between the clients' own held-out samples (clients, the default where there are any) and the run's common ones (overall). */
export const SET = "set";

/**
 * A file of client data ({user: [samples]} or a plain list) goes before the run's held-out samples. Throws CONFIG_INVALID where there is
 * neither, DATASET_INVALID for samples of another kind than the metric takes or none.
 */
export async function loadClientItems(metric: string, options: MetricOptions, takes: (sample: Sample) => boolean, what: string): Promise<ClientItems> {
  const samples = options.file === undefined ? choosePart(metric, options) : await readSamples(options.file);
  if (samples === undefined) {
    throw problemError("CONFIG_INVALID", {
      subject: `metric ${metric}`,
      expected: "a run, whose held-out samples are judged, or a file of client data",
      received: "neither",
      remedy: `Add --questions ${metric}=FILE`,
    });
  }
  const items = samples.flatMap(({ clientId, index, sample }) => (takes(sample) ? [{ id: `${clientId}/${String(index)}`, category: clientId, sample }] : []));
  if (items.length === 0) {
    throw problemError("DATASET_INVALID", {
      subject: `metric ${metric}`,
      expected: what,
      received: samples.length === 0 ? "no held-out samples" : `${String(samples.length)} samples of another kind`,
    });
  }
  return { items: limitItems(items, options), itemsSha256: createHash("sha256").update(JSON.stringify(items)).digest("hex") };
}

function choosePart(metric: string, { heldOut, settings }: MetricOptions): readonly HeldOutSample[] | undefined {
  const chosen = settings[SET] ?? (heldOut?.clients.length === 0 ? "overall" : "clients");
  if (chosen === "clients" || chosen === "overall") return heldOut?.[chosen];
  throw problemError("CONFIG_INVALID", { subject: `${metric}.${SET}`, expected: "clients or overall", received: JSON.stringify(chosen) });
}

async function readSamples(file: string): Promise<readonly HeldOutSample[]> {
  const { clients } = await readFederatedDataset(file);
  return clients.flatMap(({ id, samples }) => samples.map((sample, index) => ({ clientId: id, index, sample })));
}
