/** Which of a run's models somebody means by arm, client, group and round: base and adapter of `chat` and `export`. */
import { problemError } from "../errors.js";
import { clientFileNames } from "../run/run-folder.js";
import type { ServedModel } from "./served-models.js";

/** What is meant; whatever is absent is the only one there is, or the common adapter. */
export interface ModelChoice {
  readonly arm?: string | undefined;
  /** Id of a client with an adapter of its own. */
  readonly client?: string | undefined;
  readonly group?: string | undefined;
  /** Of the common adapter, whose file somebody has found before; default: the last one. */
  readonly round?: number | undefined;
  /** The client's adapter after fine-tuning at the end. */
  readonly finetuned?: boolean | undefined;
}

/** A model with an adapter. */
export interface AdaptedModel extends ServedModel {
  readonly files: { readonly modelPath: string; readonly adapterPath: string };
}

const MAX_LISTED = 20;

/** Those with an adapter, of an arm if one is named. Throws CONFIG_INVALID for an arm that there is not. */
export function adaptedModels(models: readonly ServedModel[], arm?: string): readonly AdaptedModel[] {
  const adapted = models.filter((model): model is AdaptedModel => model.files.adapterPath !== undefined);
  if (arm === undefined) return adapted;
  const own = adapted.filter(({ id }) => armOf(id) === arm);
  if (own.length > 0) return own;
  throw unknown("--arm", listed([...new Set(adapted.map(({ id }) => armOf(id)))]), arm);
}

/** The one adapter that is meant; undefined where nothing has an adapter, as with a plain model file. Throws CONFIG_INVALID with what there is. */
export function chooseModel(models: readonly ServedModel[], choice: ModelChoice): AdaptedModel | undefined {
  const adapted = adaptedModels(models, choice.arm);
  if (adapted.length === 0 && Object.values(choice).every((value) => value === undefined || value === false)) return undefined;
  const arms = [...new Set(adapted.map(({ id }) => armOf(id)))];
  const [arm] = arms;
  if (arm === undefined) throw unknown("--arm, --client, --group and --round", "a run with adapters", "none");
  if (arms.length > 1) throw unknown("--arm", `one of ${listed(arms)}`, "none");
  const id = idOf(arm, choice);
  const found = adapted.find((model) => model.id === id);
  if (found !== undefined) return found;
  throw unknown("adapter", `one of ${listed(adapted.map((model) => model.id))}`, id);
}

function idOf(arm: string, { client, group, round, finetuned }: ModelChoice): string {
  const named = [client, group, round].filter((value) => value !== undefined);
  if (named.length > 1) throw unknown("--client, --group and --round", "one of them", String(named.length));
  const fileName = (name: string) => clientFileNames([name]).get(name) ?? name;
  if (group !== undefined) return `${arm}/groups/${fileName(group)}`;
  if (round !== undefined) return `${arm}/rounds/${String(round)}`;
  if (client === undefined) return arm;
  return finetuned === true ? `${arm}/finetuned/${fileName(client)}` : `${arm}/${fileName(client)}`;
}

function armOf(id: string): string {
  return id.split("/")[0] ?? id;
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_LISTED).join(", ");
  return names.length > MAX_LISTED ? `${shown} and ${String(names.length - MAX_LISTED)} more` : shown;
}

function unknown(subject: string, expected: string, received: string): Error {
  return problemError("CONFIG_INVALID", { subject, expected, received, remedy: "`fedllm-native runs show` lists the arms of a run; adapters of earlier rounds are there where they were kept" });
}
