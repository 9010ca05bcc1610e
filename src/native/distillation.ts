/** Training of a student that follows a teacher, on its way to the addon: what is asked for, and its checks. */
import { problemError } from "../errors.js";
import type { FrozenAdapter, TrainResult } from "../federated/local-trainer.js";
import type { BaseModel } from "./base-model.js";
import type { NativeDistillationOptions, NativeDistillationSteps } from "./binding.js";
import { checkNumber, checkWeights } from "./checks.js";

/** Whom to follow, and in what. Boundaries lie between layers: 0 is the input of the first one, l the output of layer l - 1. */
export interface Teacher {
  /** Of the student's architecture, width, vocabulary and head, on its device. */
  readonly model: BaseModel;
  /** Adapters of the teacher's layers; absent: none. */
  readonly adapters?: readonly FrozenAdapter[];
  /** Weight of the states' relative squared error, summed over boundaries. */
  readonly hiddenWeight: number;
  /** Weight of KL(teacher || student), the mean over supervised positions. */
  readonly divergenceWeight: number;
  /** Ascending boundaries of the student; without divergenceWeight the adapter's layers are below the last. */
  readonly boundaries: readonly number[];
  /** The teacher's boundary that each is to be like. */
  readonly teacherBoundaries: readonly number[];
}

/** How far student and teacher were apart at one step, means over its samples. */
export interface TeacherDistance {
  /** Relative squared error of the states, summed over boundaries. */
  readonly hidden: number;
  /** KL(teacher || student), the mean over supervised positions; 0 where it has no weight. */
  readonly divergence: number;
}

/** A step's loss is hiddenWeight * hidden + divergenceWeight * divergence. */
export interface DistillResult extends TrainResult {
  /** One per step, before it. */
  readonly distances: readonly TeacherDistance[];
}

/** Throws CONFIG_INVALID and ADAPTER_INVALID; what depends on both models is checked by the addon. */
export function buildDistillation({ model, adapters = [], ...teacher }: Teacher): NativeDistillationOptions {
  checkNumber(teacher.hiddenWeight, "teacher.hiddenWeight", { min: 0 });
  checkNumber(teacher.divergenceWeight, "teacher.divergenceWeight", { min: 0 });
  checkBoundaries(teacher.boundaries, "teacher.boundaries");
  checkBoundaries(teacher.teacherBoundaries, "teacher.teacherBoundaries");
  const teacherAdapters = adapters.map(({ weights, ...options }, index) => {
    checkWeights(weights, `teacher.adapters[${index}].weights`, model.adapterLayout(options).numParameters);
    return { options, weights };
  });
  return { ...teacher, teacher: model.native, teacherAdapters };
}

export function toDistances({ hidden, divergence }: NativeDistillationSteps): TeacherDistance[] {
  return Array.from(hidden, (value, step) => ({ hidden: value, divergence: divergence[step] ?? Number.NaN }));
}

/** Throws CONFIG_INVALID unless these are ascending whole numbers. */
export function checkBoundaries(boundaries: readonly number[], subject: string): void {
  const isAscending = boundaries.every((boundary, place) => Number.isSafeInteger(boundary) && boundary > (boundaries[place - 1] ?? -1));
  if (isAscending) return;
  throw problemError("CONFIG_INVALID", { subject, expected: "ascending numbers of boundaries between layers, from 0", received: boundaries.join(", ") });
}
