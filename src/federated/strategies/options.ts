/**
 * The options of all strategies: one schema for their types, bounds and meanings. Which of them a strategy knows, and
 * its defaults, are beside its name in registry.ts.
 */
import { z } from "zod";
import type { HiddenLoss } from "../alignment.js";

/** Where a method's equations are taken from when FedLLM-Bench's code and the paper disagree. */
export type Reference = "fedllm-bench" | "textbook";

export const DEFAULT_REFERENCE: Reference = "fedllm-bench";

const REFERENCES = ["fedllm-bench", "textbook"] as const satisfies readonly Reference[];

const rank = () => z.int().min(1).max(1024);

const HIDDEN_LOSSES = ["plain", "layerwise"] as const satisfies readonly HiddenLoss[];

const alignSteps = (when: string) => z.int().min(0).max(1_000_000).optional().describe(`fedbiot: optimizer steps of the alignment ${when}`);

const decay = () => z.number().min(0).lt(1);

/** Every option of any strategy; none has a default here, because defaults differ between strategies. */
export const strategyOptionsSchema = z.strictObject({
  reference: z
    .enum(REFERENCES)
    .optional()
    .describe(
      "fedavgm, fedyogi, fedadam: whose equations; default: fedllm-bench (as its code computes), textbook: as Hsu et al. 2019 and Reddi et al. 2021 print them",
    ),
  proximalMu: z
    .number()
    .min(0)
    .optional()
    .describe("fedprox, fedasync, fedot, fedbiot, ditto (for the personal adapter): (proximalMu / 2) |w - global|^2 is added to the loss; default: 0.01, fedasync: 0.005, fedot: 0, ditto: 0.1"),
  serverLearningRate: z
    .number()
    .positive()
    .optional()
    .describe("fedadagrad, fedyogi, fedadam: factor of the server's step; default: 0.001. Textbook fedavgm, fedbuff: default 1"),
  tau: z
    .number()
    .positive()
    .optional()
    .describe("fedadagrad, fedyogi, fedadam: added to the root of the second moment, which starts at tau^2; default: 0.001"),
  beta1: decay().optional().describe("fedavgm, fedyogi, fedadam: decay of the server's momentum; default: 0.5"),
  beta2: decay().optional().describe("fedyogi, fedadam: decay of the server's second moment; default: 0.99"),
  bufferSize: z.int().min(1).max(100_000).optional().describe("fedbuff: updates that the server waits for; default: 10"),
  stalenessExponent: z
    .number()
    .min(0)
    .optional()
    .describe("fedbuff, fedasync: an update that is t versions old counts (1 + t)^-stalenessExponent; default: 0.5"),
  mixing: z.number().positive().max(1).optional().describe("fedasync: share of a client's weights in the server's next ones; default: 0.6"),
  clientRanks: z
    .union([z.array(rank()), z.record(z.string(), rank())])
    .optional()
    .describe(
      "flexlora, florist, hetlora, flora: adapter rank of each client id (others have lora.rank), or a list of which each client has an entry by its id; default: all have lora.rank",
    ),
  energy: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe("florist: part of the squared singular values that is kept; default: 0.99"),
  extraRank: rank()
    .optional()
    .describe("fedex-lora, flora: highest rank of the adapter beside the trained one that takes in what a round adds to the model; default: 64"),
  fairLambda: z.number().positive().optional().describe("lora-fair: how much the refined B is held to the mean B; default: 0.01"),
  pruneFactor: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe("hetlora: part of its rank that a client keeps when it prunes itself; 1: never; default: 0.9"),
  pruneLambda: z.number().min(0).optional().describe("hetlora: weight of the penalty on the directions to prune; default: 0.001"),
  globalWeight: z
    .number()
    .positive()
    .max(1)
    .optional()
    .describe("feddpa: weight of the global adapter beside a client's local one; default: 0.5"),
  similaritySamples: z
    .int()
    .min(0)
    .max(10_000)
    .optional()
    .describe(
      "feddpa: training inputs of a client that a held-out input is compared with; their mean cosine is then the local adapter's weight for it, and 1 minus it the global one's, in evaluations; default: 0, the fixed weight of training",
    ),
  firstLayers: z.int().min(0).max(1000).optional().describe("fedot: layers at the bottom of the model that have the adapter; default: 2"),
  lastLayers: z.int().min(0).max(1000).optional().describe("fedot, fedbiot: layers at the top that have it; default: 2"),
  dropRate: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe("fedot, fedbiot: part of the other layers that clients do not get; default: 0.5"),
  hiddenLoss: z
    .enum(HIDDEN_LOSSES)
    .optional()
    .describe("fedbiot: where the emulator's states are compared with the model's: plain, behind its own layers alone, or layerwise, behind each of them; default: plain"),
  hiddenWeight: z.number().min(0).optional().describe("fedbiot: weight of the states' relative squared error in the alignment; default: 1"),
  divergenceWeight: z
    .number()
    .min(0)
    .optional()
    .describe("fedbiot: weight of KL(model || emulator) over the vocabulary in the alignment; 0: the layers above are not computed; default: 0.9"),
  emulatorRank: rank().optional().describe("fedbiot: rank of the adapter that aligns the emulator, whose scale is loraAlpha / rank as the clients'; default: 16"),
  firstAlignSteps: alignSteps("before round 1; default: 500"),
  alignSteps: alignSteps("before each later alignment's round; default: 10"),
  alignEvery: z.int().min(0).max(1_000_000).optional().describe("fedbiot: rounds from one alignment to the next; 0: only the one before round 1; default: 1"),
  alignLearningRate: z.number().positive().optional().describe("fedbiot: learning rate of the alignment; default: 5e-4"),
  alignMu: z
    .number()
    .min(0)
    .optional()
    .describe("fedbiot: (alignMu / 2) |e - start|^2 is added to the loss of an alignment, e being the emulator's adapter; default: 0"),
  own: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("strategies from a file: their own options, checked by the file; default: none"),
});

/** Options as a user gives them; what is left out takes the strategy's default. */
export type StrategyOptions = Readonly<z.output<typeof strategyOptionsSchema>>;

/** FedProx. */
export interface ProximalOptions {
  readonly proximalMu: number;
}

/** FedBuff. */
export interface BufferedOptions {
  readonly bufferSize: number;
  readonly stalenessExponent: number;
  readonly serverLearningRate: number;
}

/** FedAsync. */
export interface MixingOptions {
  readonly mixing: number;
  readonly stalenessExponent: number;
  readonly proximalMu: number;
}

/** FedAvgM; only the textbook form has a server learning rate. */
export interface ServerMomentumOptions {
  readonly reference: Reference;
  readonly beta1: number;
  readonly serverLearningRate?: number;
}

/** FedAdagrad. */
export interface AdagradOptions {
  readonly serverLearningRate: number;
  readonly tau: number;
}

/** FedYogi and FedAdam. */
export interface AdaptiveOptions extends AdagradOptions {
  readonly reference: Reference;
  readonly beta1: number;
  readonly beta2: number;
}

/** FlexLoRA, and other methods that take clients of different rank. */
export interface RankOptions {
  readonly clientRanks: NonNullable<StrategyOptions["clientRanks"]>;
}

/** FLoRIST. */
export interface EnergyOptions extends RankOptions {
  readonly energy: number;
}

/** HetLoRA. */
export interface PruningOptions extends RankOptions {
  readonly pruneFactor: number;
  readonly pruneLambda: number;
}

/** FedEx-LoRA. */
export interface ExtraOptions {
  readonly extraRank: number;
}

/** FLoRA. */
export interface StackOptions extends RankOptions, ExtraOptions {}

/** FedDPA. */
export interface DualOptions {
  readonly globalWeight: number;
  readonly similaritySamples: number;
}

/** LoRA-FAIR. */
export interface FairOptions {
  readonly fairLambda: number;
}

/** FedOT. */
export interface OffsiteOptions extends ProximalOptions {
  readonly firstLayers: number;
  readonly lastLayers: number;
  readonly dropRate: number;
}

/** FedBiOT. */
export interface AlignedOptions extends ProximalOptions {
  readonly lastLayers: number;
  readonly dropRate: number;
  readonly hiddenLoss: HiddenLoss;
  readonly hiddenWeight: number;
  readonly divergenceWeight: number;
  readonly firstAlignSteps: number;
  readonly alignSteps: number;
  readonly alignEvery: number;
  readonly alignMu: number;
  readonly alignLearningRate: number;
  readonly emulatorRank: number;
}
