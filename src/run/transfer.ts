/**
 * What adapters are worth on other base models than the one they were trained on: each arm's last adapter is judged on the base model in every
 * precision, one row per arm and one column per precision. Cells that were measured before are left as they are.
 */
import type { ArmConfig } from "../config/schema.js";
import { createArmStrategy } from "../config/arm-strategies.js";
import { problemError } from "../errors.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import { throwIfCancelled } from "../federated/round.js";
import { transferValues } from "../metrics/study-queries.js";
import { assert } from "../util/assert.js";
import { groupedFor, openCheckpoints } from "./arm.js";
import type { ArmSetup } from "./arm.js";
import { evaluateOn } from "./arm-evaluation.js";
import type { LoadedInputs } from "./arms.js";
import { BaseModels, precisionsOf } from "./base-models.js";
import { placeArm } from "./emulator.js";
import { readStartAdapter } from "./start-adapter.js";

/** Precisions that the matrix has, in the order of the arms. */
export function transferPrecisions(arms: readonly Pick<ArmConfig, "precision">[]): readonly ArmConfig["precision"][] {
  return [...new Set(arms.map(({ precision }) => precision))];
}

/**
 * Fills the matrix of a run whose arms are finished. Arms whose clients have an emulator are left out with a warning, since their adapters have
 * the emulator's layers. Throws CANCELLED between cells, CONFIG_INVALID without held-out samples.
 */
export async function fillTransferMatrix(loaded: LoadedInputs, setup: ArmSetup): Promise<void> {
  const { config, store, data, emit, signal } = setup;
  if (data.heldOut.samples.length === 0) {
    throw problemError("CONFIG_INVALID", { subject: "evaluation.transfer", expected: "held-out samples", received: "none" });
  }
  const models = new BaseModels(loaded.engine, loaded.variants, emit, loaded.kernelVariants);
  try {
    for (const written of config.arms) {
      const own = await createArmStrategy(written);
      const { arm, layers } = placeArm(written, own, loaded.source.numLayers);
      if (layers !== undefined) {
        emit({ event: "warning", message: `arm ${arm.name} is left out of the transfer matrix, since its clients have an emulator` });
        continue;
      }
      const known = new Set(transferValues(store.database).flatMap((line) => (line.arm === arm.name ? [line.precision] : [])));
      const missing = transferPrecisions(config.arms).filter((precision) => !known.has(precision));
      if (missing.length > 0) await fillRow({ models, setup, arm, missing });
      throwIfCancelled(signal);
    }
  } finally {
    models.dispose();
  }
}

interface Row {
  readonly models: BaseModels;
  readonly setup: ArmSetup;
  readonly arm: ArmConfig;
  readonly missing: readonly string[];
}

async function fillRow({ models, setup, arm, missing }: Row): Promise<void> {
  const { data, store, signal } = setup;
  const own = precisionsOf(arm);
  const opened = [...new Set([...own, ...missing])];
  const bases = await models.open(opened);
  try {
    const base = bases.get(arm.precision);
    assert(base !== undefined, "the arm's own precision was opened");
    const trainer = base.trainer(arm.lora);
    const strategy = groupedFor(arm, await createArmStrategy(arm), data);
    const checkpoints = await openCheckpoints(setup, arm, { sha256: models.variant(arm.precision).sha256 }, trainer.layout);
    const loaded = await checkpoints.load();
    assert(loaded !== undefined, "a finished arm has a checkpoint");
    const { round, state } = loaded.snapshot;
    const startFile = setup.startAdapters.get(arm.name);
    const start = startFile === undefined ? undefined : await readStartAdapter(startFile, arm, base);
    const adapters = strategy.adapters(state, trainer.layout);
    for (const precision of missing) {
      throwIfCancelled(signal);
      const judge: LocalTrainer | undefined = bases.get(precision)?.trainer(arm.lora);
      assert(judge !== undefined, "the precision was opened");
      const context = { round, isLastRound: true, adapters, ...(signal === undefined ? {} : { signal }) };
      const metrics = await evaluateOn(setup, arm, { precision, trainer: judge }, start, context);
      if (metrics !== undefined) store.recordTransfer(arm.name, precision, round, metrics);
    }
  } finally {
    models.release(opened);
  }
}
