/**
 * How the data sets are made again from the sources they were made of: which files of the hub, which records, who the user is, and
 * what becomes of a record. Follows the paper's description (Ye et al. 2024, section 3); its own program was not published, so
 * counts may differ from the paper's, and are compared with them.
 */
import { problemError } from "../../errors.js";
import { isRecord } from "../sample-fields.js";
import type { JsonRecord } from "../sample-fields.js";

export interface Recipe {
  /** Data set of the hub. */
  readonly repo: string;
  /** Its files that are read. */
  readonly files: RegExp;
  /** Columns that are read. */
  readonly columns: readonly string[];
  /** Fewest samples of a user, as far as it is known. */
  readonly minSamples: number;
  /** Fields that samples keep. */
  readonly keep: readonly string[];
  /** The record {user, …sample} that a source record becomes; undefined for those that are not taken. */
  readonly apply: (record: JsonRecord) => JsonRecord | undefined;
}

/** The eight languages of Fed-Aya as the source names them. */
const AYA_LANGUAGES: ReadonlySet<unknown> = new Set([
  ...["English", "Spanish", "French", "Russian", "Portuguese", "Simplified Chinese", "Standard Arabic", "Telugu"],
]);
const TRAIN_FILES = /(^|\/)train-[^/]*\.parquet$/;

const arena = {
  repo: "lmsys/chatbot_arena_conversations",
  files: TRAIN_FILES,
  columns: ["judge", "winner", "turn", "language", "conversation_a", "conversation_b"],
  keep: ["language"],
};
/** The release whose card lists hashed addresses. */
const wildChat = { repo: "allenai/WildChat-1M", files: TRAIN_FILES, columns: ["hashed_ip", "turn", "language", "conversation"], minSamples: 200, keep: ["language"] };

const RECIPES: Readonly<Record<string, Recipe>> = {
  "fed-aya": {
    repo: "CohereForAI/aya_dataset",
    files: TRAIN_FILES,
    columns: ["inputs", "targets", "language", "user_id"],
    minSamples: 100,
    keep: ["language"],
    apply: ({ inputs, targets, language, user_id: user }) => (AYA_LANGUAGES.has(language) ? { user, instruction: inputs, response: targets, language } : undefined),
  },
  "fed-chatbot-it": { ...arena, minSamples: 10, apply: (record) => readVote(record, ({ prompt, chosen }) => ({ instruction: prompt, response: chosen })) },
  "fed-chatbot-pa": { ...arena, minSamples: 5, apply: (record) => readVote(record, (vote) => ({ ...vote })) },
  "fed-wildchat": { ...wildChat, apply: readSingleTurn },
  "fed-wildchat-multi": { ...wildChat, apply: readMultiTurn },
};

/** The recipe of a data set of the catalogue. Throws CONFIG_INVALID for one without. */
export function recipeOf(name: string): Recipe {
  const recipe = RECIPES[name];
  if (recipe !== undefined) return recipe;
  throw problemError("CONFIG_INVALID", { subject: "--rebuild", expected: `one of ${Object.keys(RECIPES).join(", ")}`, received: name });
}

interface Vote extends JsonRecord {
  readonly prompt: unknown;
  readonly chosen: unknown;
  readonly rejected: unknown;
}

/** One question that two models answered, with a judge's choice between them; ties and longer conversations are not taken. */
function readVote(record: JsonRecord, make: (vote: Vote) => JsonRecord): JsonRecord | undefined {
  const { judge, winner, turn, language } = record;
  if ((winner !== "model_a" && winner !== "model_b") || turn !== 1) return undefined;
  const { conversation_a: a, conversation_b: b } = record;
  const [won, lost] = winner === "model_a" ? [a, b] : [b, a];
  return { user: judge, ...make({ prompt: contentAt(won, 0), chosen: contentAt(won, 1), rejected: contentAt(lost, 1) }), language };
}

function readSingleTurn(record: JsonRecord): JsonRecord | undefined {
  const { conversation, turn, language } = record;
  if (turn !== 1) return undefined;
  return { user: addressOf(record), instruction: contentAt(conversation, 0), response: contentAt(conversation, 1), language };
}

function readMultiTurn(record: JsonRecord): JsonRecord | undefined {
  const { conversation, turn, language } = record;
  if (typeof turn !== "number" || turn < 2) return undefined;
  return { user: addressOf(record), conversations: conversation, language };
}

/** The hashed address, which some releases have with each message instead of once. */
function addressOf({ hashed_ip: address, conversation }: JsonRecord): unknown {
  if (address !== undefined && address !== null) return address;
  const first: unknown = Array.isArray(conversation) ? (conversation as unknown[])[0] : undefined;
  return isRecord(first) ? first["hashed_ip"] : undefined;
}

function contentAt(conversation: unknown, index: number): unknown {
  const message: unknown = Array.isArray(conversation) ? (conversation as unknown[])[index] : undefined;
  return isRecord(message) ? message["content"] : undefined;
}
