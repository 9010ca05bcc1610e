/** A real HTTP server on loopback in the form of a chat endpoint, which fails as a list of answers says; it keeps what it was asked. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface ChatRequest {
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export type ChatAnswer = (request: ChatRequest, response: ServerResponse) => void;

export interface JudgeEndpoint {
  /** http://127.0.0.1:port/v1 */
  readonly baseUrl: string;
  readonly requests: ChatRequest[];
  /** Most requests that were open at once. */
  mostOpen(): number;
}

/** Starts it; each request takes the next answer, the last one again and again. It ends with the test. */
export async function startJudgeEndpoint(answers: ChatAnswer | readonly ChatAnswer[]): Promise<JudgeEndpoint> {
  const list = typeof answers === "function" ? [answers] : answers;
  const requests: ChatRequest[] = [];
  let numOpen = 0;
  let mostOpen = 0;
  const server = createServer((incoming, response) => {
    mostOpen = Math.max(mostOpen, ++numOpen);
    response.on("close", () => numOpen--);
    let body = "";
    incoming.setEncoding("utf8").on("data", (text: string) => (body += text));
    incoming.on("end", () => {
      const answer = list[Math.min(requests.length, list.length - 1)];
      const request = { url: incoming.url ?? "", headers: incoming.headers, body };
      requests.push(request);
      answer?.(request, response);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { baseUrl: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/v1`, requests, mostOpen: () => mostOpen };
}

/** A good reply with these words. */
export function say(content: string, numPromptTokens = 100, numCompletionTokens = 10): ChatAnswer {
  return sendJson(200, { choices: [{ message: { role: "assistant", content } }], usage: { prompt_tokens: numPromptTokens, completion_tokens: numCompletionTokens } });
}

export function sendJson(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): ChatAnswer {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/json; charset=utf-8", ...headers }).end(JSON.stringify(value));
  };
}

export function sendText(status: number, text: string, contentType: string): ChatAnswer {
  return (_request, response) => {
    response.writeHead(status, { "content-type": contentType }).end(text);
  };
}

/** Sends the beginning of a good reply and breaks the connection off. */
export const cutOff: ChatAnswer = (_request, response) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": "1000" });
  response.write('{"choices": [{"message": {"content": "[[1', () => response.destroy());
};

/** Never answers. */
export const hang: ChatAnswer = () => undefined;
