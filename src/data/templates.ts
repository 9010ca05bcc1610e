/**
 * The prompt templates by name, and the two frames of FedLLM-Bench, `alpaca` and `vicuna_v1.1`, letter by letter.
 * The model's own chat template is chat-template.ts, what a template must do is prompt-template.ts, and making tokens
 * out of its segments is tokenized.ts.
 */
import { createChatTemplate } from "./chat-template.js";
import type { ChatTemplateSource } from "./chat-template.js";
import { promptTurnsOf, turnsOf, withoutSupervision } from "./prompt-template.js";
import type { PromptTemplate, Segment, TemplateName } from "./prompt-template.js";
import type { Turn } from "./samples.js";

/** How `createTemplate` builds a template of each name. */
const templateFactories = {
  alpaca: () => createFrameTemplate("alpaca", renderAlpacaTurns),
  "vicuna_v1.1": () => createFrameTemplate("vicuna_v1.1", renderVicunaTurns),
  chat: createChatTemplate,
} satisfies Record<TemplateName, (source: ChatTemplateSource) => PromptTemplate>;

const ALPACA_SYSTEM =
  "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
const VICUNA_SYSTEM =
  "A chat between a curious user and an artificial intelligence assistant. " +
  "The assistant gives helpful, detailed, and polite answers to the user's questions.";

/**
 * Makes the template of this name. The source is needed by `chat` only.
 * Throws CONFIG_INVALID if the model's chat template is missing, faulty or unfit for training.
 */
export function createTemplate(name: TemplateName, source: ChatTemplateSource = {}): PromptTemplate {
  return templateFactories[name](source);
}

/** What a frame writes around turn number `index`; a user turn ends where the answer begins. */
type FrameTurns = (turn: Turn, index: number, isSingleTurn: boolean) => string;

/**
 * Both frames end every answer with the end-of-sequence token and put a blank before it, which belongs to the answer:
 * it is learned, and a prompt ends without it, as in the reference.
 */
function createFrameTemplate(name: TemplateName, userFrame: FrameTurns): PromptTemplate {
  const renderTurns = (turns: readonly Turn[], isSingleTurn: boolean): Segment[] =>
    turns.flatMap((turn, index): Segment[] =>
      turn.role === "user"
        ? [{ text: userFrame(turn, index, isSingleTurn), supervised: false, special: false }]
        : [
            { text: ` ${turn.text}`, supervised: true, special: false },
            { text: "", supervised: true, special: false, endOfSequence: true },
          ],
    );
  return {
    name,
    render: (sample) => renderTurns(turnsOf(sample), sample.kind === "single-turn"),
    renderPrompt: (sample) => withoutSupervision(renderTurns(promptTurnsOf(sample), sample.kind === "single-turn")),
  };
}

/**
 * Single-turn samples use the training frame, with a blank after the instruction. Conversations use the frame that the
 * reference uses for MT-Bench, which differs: a blank instead of a line break after "Instruction:".
 */
function renderAlpacaTurns(turn: Turn, index: number, isSingleTurn: boolean): string {
  if (isSingleTurn) return `${ALPACA_SYSTEM}\n\n### Instruction:\n${turn.text} \n\n### Response:`;
  return `${index === 0 ? `${ALPACA_SYSTEM}\n\n` : ""}### Instruction: ${turn.text}\n\n### Response:`;
}

function renderVicunaTurns(turn: Turn, index: number): string {
  return `${index === 0 ? `${VICUNA_SYSTEM} ` : ""}USER: ${turn.text} ASSISTANT:`;
}
