/** Conversations of questions -> the turns that templates write. */
import type { ChatMessage } from "../benchmarks/metric.js";
import type { Turn } from "../data/samples.js";
import { problemError } from "../errors.js";

/** A system message goes before the first user's text, since training's templates have no other place for it. Throws CONFIG_INVALID for turns that do not alternate. */
export function toTurns(messages: readonly ChatMessage[]): readonly Turn[] {
  const [first] = messages;
  const system = first?.role === "system" ? first.content : undefined;
  const rest = system === undefined ? messages : messages.slice(1);
  return rest.map(({ role, content }, index) => {
    const expected = index % 2 === 0 ? "user" : "assistant";
    if (role !== expected || (index === rest.length - 1 && role !== "user")) {
      throw problemError("CONFIG_INVALID", { subject: `message ${String(index + 1)} of a conversation`, expected: "users and assistant in turn, the user last", received: role });
    }
    return { role, text: index === 0 && system !== undefined ? `${system}\n\n${content}` : content };
  });
}
