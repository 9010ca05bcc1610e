/**
 * The question sets that are known by name: where their files are published, at a commit where the host has such, what their bytes
 * hash to, and under which terms they are. Nothing of them comes with this program; `questions get` fetches them (fetch.ts).
 */
import type { Licence } from "../../data/catalogue/published.js";
import { problemError } from "../../errors.js";

/** A file as it is published. */
export interface PublishedFile {
  /** Below the set's folder, with forward slashes. For an archive: the name it is downloaded under. */
  readonly name: string;
  readonly url: string;
  readonly sha256: string;
  readonly numBytes: number;
}

export interface QuestionSet {
  /** Also the name of the metric that asks them. */
  readonly name: string;
  readonly title: string;
  readonly licence: Licence;
  readonly files: readonly PublishedFile[];
  /** The file is an archive, of which the metric's reader knows the parts (mmlu-files.ts). */
  readonly isArchive?: boolean;
  /** Questions of the published set. */
  readonly numItems: number;
}

const MIT: Licence = { name: "MIT", url: "https://opensource.org/license/mit", note: "free use with the notice" };
const APACHE: Licence = { name: "Apache-2.0", url: "https://www.apache.org/licenses/LICENSE-2.0", note: "free use with attribution" };
const NON_COMMERCIAL: Licence = { name: "CC BY-NC 4.0", url: "https://creativecommons.org/licenses/by-nc/4.0/", note: "no commercial use" };
const OPEN_DATA: Licence = { name: "ODC-BY", url: "https://opendatacommons.org/licenses/by/1-0/", note: "free use with attribution" };

const FASTCHAT = "https://raw.githubusercontent.com/lm-sys/FastChat/587d5cfa1609a43d192cedb8441cac3c17db105d/fastchat/llm_judge/data";
const BENCHMARK = "https://raw.githubusercontent.com/rui-ye/FedLLM-Bench/02cc26868c288165f82306b51d8d1afff76a2688/evaluation/open_ended";
const ADVBENCH = "https://raw.githubusercontent.com/llm-attacks/llm-attacks/098262edf85f807224e70ecd87b9d83716bf6b73/data/advbench";
const HUMANEVAL = "https://raw.githubusercontent.com/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/data";
const GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data";

/** All of them. The addresses could not be tried where they were recorded; a wrong file is refused by its hash. */
export const QUESTION_SETS: readonly QuestionSet[] = [
  {
    name: "mt-bench",
    title: "MT-Bench",
    licence: APACHE,
    files: [
      { name: "question.jsonl", url: `${FASTCHAT}/mt_bench/question.jsonl`, sha256: "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7", numBytes: 48_929 },
      {
        name: "reference_answer/gpt-4.jsonl",
        url: `${FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl`,
        sha256: "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
        numBytes: 51_109,
      },
    ],
    numItems: 80,
  },
  {
    name: "vicuna",
    title: "Vicuna bench",
    licence: APACHE,
    files: [{ name: "question.jsonl", url: `${FASTCHAT}/vicuna_bench/question.jsonl`, sha256: "c248c5c98ba45bb0c2aadae2f270e643bd32679c6c306a3b2a503ac4254cdaa5", numBytes: 13_125 }],
    numItems: 80,
  },
  {
    name: "advbench",
    title: "AdvBench, harmful behaviours",
    licence: MIT,
    files: [{ name: "advbench.csv", url: `${ADVBENCH}/harmful_behaviors.csv`, sha256: "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1", numBytes: 82_125 }],
    numItems: 520,
  },
  {
    name: "ref-gpt4-aya",
    title: "Ref-GPT4, Fed-Aya",
    licence: APACHE,
    files: [
      { name: "test_datasets.json", url: `${BENCHMARK}/aya_evaluation/test_datasets.json`, sha256: "2dedef84eeee10b2edee15f5c141c9b076578bc8ff3052a9da296d66b80fe5d7", numBytes: 79_784 },
    ],
    numItems: 160,
  },
  {
    name: "ref-gpt4-chatbot-it",
    title: "Ref-GPT4, Fed-ChatbotIT",
    licence: NON_COMMERCIAL,
    files: [{ name: "testset.json", url: `${BENCHMARK}/data/chatbot/testset.json`, sha256: "cc92f8d100ab8dc90b020d537330cf4bf24a3b2c25781566841457e749072d20", numBytes: 13_219 }],
    numItems: 50,
  },
  {
    name: "ref-gpt4-wildchat",
    title: "Ref-GPT4, Fed-WildChat",
    licence: OPEN_DATA,
    files: [{ name: "testset.json", url: `${BENCHMARK}/data/wildchat/testset.json`, sha256: "4283f3b3aeee7432509c1fb4460fb2894aef9db7e827e972a37a169e84116ba7", numBytes: 71_173 }],
    numItems: 50,
  },
  {
    name: "mmlu",
    title: "MMLU, 57 subjects",
    licence: MIT,
    // The authors' own host has no commits; the hash is the one that other public projects check it by.
    files: [
      { name: "data.tar", url: "https://people.eecs.berkeley.edu/~hendrycks/data.tar", sha256: "bec563ba4bac1d6aaf04141cd7d1605d7a5ca833e38f994051e818489592989b", numBytes: 166_184_960 },
    ],
    isArchive: true,
    numItems: 14_042,
  },
  {
    name: "humaneval",
    title: "HumanEval",
    licence: MIT,
    files: [{ name: "HumanEval.jsonl.gz", url: `${HUMANEVAL}/HumanEval.jsonl.gz`, sha256: "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef", numBytes: 44_877 }],
    numItems: 164,
  },
  {
    name: "gsm8k",
    title: "GSM8K, test split",
    licence: MIT,
    files: [{ name: "test.jsonl", url: `${GSM8K}/test.jsonl`, sha256: "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14", numBytes: 749_738 }],
    numItems: 1319,
  },
];

/** The set of this name. Throws CONFIG_INVALID. */
export function requireQuestionSet(name: string): QuestionSet {
  const set = QUESTION_SETS.find((known) => known.name === name);
  if (set !== undefined) return set;
  throw problemError("CONFIG_INVALID", { subject: "question set", expected: `one of ${QUESTION_SETS.map((known) => known.name).join(", ")}`, received: JSON.stringify(name) });
}
