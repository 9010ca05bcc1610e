/** Greedy replies to held-out prompts beside the answers that people gave: exact match, ROUGE-L, and the language of the reply. */
import { languageOf, UNDETERMINED } from "../../data/language.js";
import { lastAnswerOf, promptTurnsOf } from "../../data/prompt-template.js";
import { withAnswer } from "../../data/tokenized.js";
import type { Sample } from "../../data/samples.js";
import type { ChatMessage, ItemAnswer, ItemScore, Metric, MetricSource } from "../metric.js";
import { rougeL } from "../rouge.js";
import { loadClientItems, SET } from "./client-items.js";
import type { ClientItem } from "./client-items.js";
import { checkSettingNames, integerSetting } from "./limit.js";

const NAME = "reply";
const TITLE = "Replies";
const NEEDS = { generation: true };
const DEFAULT_NEW_TOKENS = 256;

export const replySource: MetricSource = {
  name: NAME,
  title: TITLE,
  description: "greedy replies to held-out prompts: exact match and ROUGE-L with the given answers, share in the question's language; options maxNewTokens (256) and set (clients, or overall)",
  needs: NEEDS,
  usesHeldOut: true,
  create: async (options) => {
    checkSettingNames(NAME, options, ["maxNewTokens", SET]);
    const maxNewTokens = integerSetting(NAME, options, "maxNewTokens", DEFAULT_NEW_TOKENS);
    const { items, itemsSha256 } = await loadClientItems(NAME, options, () => true, "samples");
    const metric: Metric<ClientItem> = {
      name: NAME,
      title: TITLE,
      categoryName: "client",
      measures: [
        { measure: "exact_match", title: "exact match", summary: "mean", displayFactor: 100, higherIsBetter: true },
        { measure: "rouge_l", title: "ROUGE-L", summary: "mean", displayFactor: 100, higherIsBetter: true },
        { measure: "same_language", title: "question's language", summary: "mean", displayFactor: 100, higherIsBetter: true },
      ],
      needs: NEEDS,
      groupSize: 16,
      settings: { maxNewTokens },
      items,
      itemsSha256,
      answerItems: async ({ model }, group, signal) => {
        const prompts = group.map(({ sample }) => messagesOf(sample));
        const answers = await model.answer(
          group.map(({ id }, index) => ({ prompt: prompts[index] ?? [], maxNewTokens, sampling: { temperature: 0 }, key: id })),
          signal,
        );
        return answers.map(({ text, stop, numPromptTokens, numTokens }, index) => ({
          turns: [{ prompt: prompts[index]?.at(-1)?.content ?? "", output: text, stop }],
          numPromptTokens,
          numTokens,
        }));
      },
      scoreItem: (_context, { sample }, answer) => Promise.resolve(scoreReply(sample, answer)),
    };
    return metric;
  },
};

/** The conversation before the last answer. */
function messagesOf(sample: Sample): readonly ChatMessage[] {
  return promptTurnsOf(asChat(sample)).map(({ role, text }) => ({ role, content: text }));
}

function asChat(sample: Sample) {
  return sample.kind === "preference" ? withAnswer(sample.prompt, sample.chosen) : sample;
}

/** A reply that was cut off is no exact match. Blanks at both ends do not count, since templates put some there. */
function scoreReply(sample: Sample, { turns: [turn] }: ItemAnswer): readonly ItemScore[] {
  const reply = turn?.output.trim() ?? "";
  const reference = lastAnswerOf(asChat(sample)).trim();
  const asked = languageOf(turn?.prompt ?? "");
  const given = languageOf(reply);
  return [
    { measure: "exact_match", value: reply === reference && turn?.stop === "endToken" ? 1 : 0 },
    { measure: "rouge_l", value: rougeL(reply, reference) },
    {
      measure: "same_language",
      value: asked === undefined || given === undefined ? null : asked === given ? 1 : 0,
      words: `${asked ?? UNDETERMINED}, ${given ?? UNDETERMINED}`,
    },
  ];
}
