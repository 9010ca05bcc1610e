/**
 * The data sets of FedLLM-Bench (Ye et al. 2024) by name: what their files are called in the published archive and what is expected
 * to be in them.
 */
import type { SampleKind } from "./samples.js";
import type { SyntheticLanguage } from "./synthetic/lexicon.js";
import type { SyntheticProfile } from "./synthetic/profiles.js";

/** A file with the samples of one client, as the published archive has it for training alone. */
export interface LocalFile {
  readonly file: string;
  readonly numSamples: number;
  readonly language?: SyntheticLanguage;
}

export interface CatalogueEntry {
  readonly name: SyntheticProfile;
  readonly title: string;
  readonly kind: SampleKind;
  /** Below the folder that the archive is unpacked to. */
  readonly file: string;
  readonly numClients: number;
  readonly numSamples: number;
  readonly locals: readonly LocalFile[];
}

const locals = (folder: string, files: readonly (readonly [name: string, numSamples: number, language?: SyntheticLanguage])[]): readonly LocalFile[] =>
  files.map(([name, numSamples, language]) => ({ file: `${folder}/local/${name}.json`, numSamples, ...(language === undefined ? {} : { language }) }));

/** All data sets. */
export const CATALOGUE: readonly CatalogueEntry[] = [
  {
    name: "fed-aya",
    title: "Fed-Aya",
    kind: "single-turn",
    file: "Fed-Aya/aya_38c_25k.json",
    numClients: 38,
    numSamples: 25_513,
    locals: locals("Fed-Aya", [
      ["local_ar", 1865, "ar"],
      ["local_en", 430, "en"],
      ["local_es", 666, "es"],
      ["local_fr", 485, "fr"],
      ["local_pt", 1241, "pt"],
      ["local_ru", 217, "ru"],
      ["local_te", 1159, "te"],
      ["local_zh", 795, "zh"],
    ]),
  },
  {
    name: "fed-chatbot-it",
    title: "Fed-ChatbotIT",
    kind: "single-turn",
    file: "Fed-ChatbotIT/chatbotIT_237c_6k.json",
    numClients: 237,
    numSamples: 6166,
    locals: locals("Fed-ChatbotIT", [["local_154", 154], ["local_65", 65]]),
  },
  {
    name: "fed-wildchat",
    title: "Fed-WildChat, single-turn",
    kind: "single-turn",
    file: "Fed-WildChat/single_turn/wildchat_100c_53k.json",
    numClients: 100,
    numSamples: 52_703,
    locals: locals("Fed-WildChat/single_turn", [["local1702", 1702], ["local813", 813]]),
  },
  {
    name: "fed-wildchat-multi",
    title: "Fed-WildChat, multi-turn",
    kind: "multi-turn",
    file: "Fed-WildChat/multi_turn/wildchat_50c.json",
    numClients: 50,
    numSamples: 15_406,
    locals: locals("Fed-WildChat/multi_turn", [["local_635", 635], ["local_202", 202]]),
  },
  {
    name: "fed-chatbot-pa",
    title: "Fed-ChatbotPA",
    kind: "preference",
    file: "Fed-ChatbotPA/chatbotPA_747c_10k.json",
    numClients: 747,
    numSamples: 9508,
    locals: locals("Fed-ChatbotPA", [["local_154", 154]]),
  },
];

/** The data set of this name; undefined: there is none. */
export function catalogueEntry(name: string): CatalogueEntry | undefined {
  return CATALOGUE.find((entry) => entry.name === name);
}

/** A file of the catalogue. */
export interface CatalogueFile {
  readonly entry: CatalogueEntry;
  /** Absent: the federated file. */
  readonly local?: LocalFile;
}

/** What a path is by the end of it, which is as in the published archive; undefined: nothing of the catalogue. */
export function catalogueFileAt(path: string): CatalogueFile | undefined {
  const named = path.replaceAll("\\", "/");
  for (const entry of CATALOGUE) {
    if (named.endsWith(`/${entry.file}`)) return { entry };
    const local = entry.locals.find(({ file }) => named.endsWith(`/${file}`));
    if (local !== undefined) return { entry, local };
  }
  return undefined;
}
