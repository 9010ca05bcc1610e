/** The live table as a pure function of state and screen size; terminal.ts puts it on the screen. */
import { styleText } from "node:util";
import { displayWidth, formatCount, formatDuration, formatPercent, formatTable, printable, truncateToWidth } from "../report/format.js";
import { timeLeft, tokensPerSecond } from "./live-state.js";
import type { LiveArm, LiveClient, LiveState } from "./live-state.js";

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
}

type Style = "bold" | "dim" | "green" | "red" | "cyan";

const BAR_CELLS = 16;

/** Lines to show, none wider than the screen and at most one fewer than its rows, so that the frame never scrolls. */
export function renderLiveView(state: LiveState, screen: Screen, time: number): string[] {
  const paint = (style: Style, text: string) => (screen.color ? styleText(style, text, { validateStream: false }) : text);
  const head = headLine(state, time);
  const arms = armLines(state);
  const clients = clientLines(state.clients, screen.columns);
  const lines: { text: string; style?: Style }[] = [
    { text: head, style: "bold" },
    ...arms.map((text, index) => ({ text, ...styleOfArm(index === 0 ? undefined : state.arms[index - 1]) })),
  ];
  if (clients.length > 0) lines.push({ text: "" }, ...clients);
  if (state.message !== undefined) lines.push({ text: printable(state.message), style: "dim" });
  return fitRows(lines, Math.max(1, screen.rows - 1)).map((line) => {
    const text = truncateToWidth(line.text, screen.columns);
    return line.style === undefined || text === "" ? text : paint(line.style, text);
  });
}

function headLine(state: LiveState, time: number): string {
  const speed = tokensPerSecond(state);
  const left = state.finished ? 0 : timeLeft(state, time);
  return [
    state.name,
    `${formatDuration(time - state.startedTime)} gone`,
    ...(left === undefined ? [] : [`about ${formatDuration(left)} left`]),
    ...(speed === undefined ? [] : [`${formatCount(speed)} tokens/s`]),
  ].join("  ·  ");
}

function armLines(state: LiveState): string[] {
  const hasRewards = state.arms.some((arm) => arm.rewardAccuracy !== undefined);
  const columns = [
    { title: "arm" },
    { title: "" },
    { title: "round", align: "right" as const },
    { title: "train loss", align: "right" as const },
    { title: "held-out loss", align: "right" as const },
    { title: hasRewards ? "reward accuracy" : "exact match", align: "right" as const },
    { title: "" },
  ];
  const number = (value: number | undefined) => (value === undefined ? "" : value.toFixed(3));
  const percent = (value: number | undefined) => (value === undefined ? "" : formatPercent(value));
  const rows = state.arms.map((arm) => [
    arm.name,
    bar(arm.round, arm.numRounds),
    `${String(arm.round)}/${String(arm.numRounds)}`,
    number(arm.trainLoss),
    number(arm.heldOutLoss),
    percent(hasRewards ? arm.rewardAccuracy : arm.exactMatch),
    arm.status,
  ]);
  return formatTable(columns, rows);
}

function bar(done: number, total: number): string {
  const filled = total === 0 ? 0 : Math.round((BAR_CELLS * done) / total);
  return "█".repeat(filled) + "░".repeat(BAR_CELLS - filled);
}

function styleOfArm(arm: LiveArm | undefined): { style?: Style } {
  if (arm === undefined) return { style: "dim" };
  if (arm.status === "running" || arm.status === "evaluating") return { style: "cyan" };
  return arm.status === "done" ? { style: "green" } : { style: "dim" };
}

/** Clients side by side in columns of equal width, as many as the screen takes. */
function clientLines(clients: readonly LiveClient[], columns: number): { text: string; style?: Style }[] {
  if (clients.length === 0) return [];
  const cells = clients.map((client) => `${SIGNS[client.status]} ${truncateToWidth(printable(client.clientId), 24)} ${clientDetail(client)}`);
  const width = Math.max(...cells.map((cell) => displayWidth(cell))) + 3;
  const perLine = Math.max(1, Math.floor((columns + 3) / width));
  const lines: { text: string; style?: Style }[] = [];
  for (let start = 0; start < cells.length; start += perLine) {
    const part = cells.slice(start, start + perLine);
    const text = part.map((cell) => cell + " ".repeat(width - displayWidth(cell))).join("");
    lines.push({ text: text.trimEnd() });
  }
  return lines;
}

const SIGNS: Readonly<Record<LiveClient["status"], string>> = { waiting: "·", running: "▸", done: "✓", failed: "✗" };

function clientDetail(client: LiveClient): string {
  if (client.status === "failed") return "failed";
  if (client.localSteps === undefined) return "";
  const steps = `${String(client.step)}/${String(client.localSteps)}`;
  return client.loss === undefined ? steps : `${steps} ${client.loss.toFixed(3)}`;
}

/** Cuts from the end and says how much is hidden. */
function fitRows<T extends { text: string }>(lines: readonly T[], rows: number): (T | { text: string; style?: Style })[] {
  if (lines.length <= rows) return [...lines];
  const hidden = lines.length - rows + 1;
  return [...lines.slice(0, rows - 1), { text: `… ${String(hidden)} more lines`, style: "dim" }];
}
