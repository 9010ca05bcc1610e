/**
 * Headless Chromium over its DevTools protocol: opens pages as a person's browser would, tells what they fetched and complained about,
 * and evaluates expressions in them whatever their content policy says.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { WebSocket } from "undici";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** Path of an installed browser. */
export const browserPath = (process.env["PATH"] ?? "").split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name))).find((path) => existsSync(path));

export interface View {
  readonly width: number;
  readonly height: number;
  readonly scheme: "light" | "dark";
  readonly media?: "print";
}

export interface BrowserPage {
  /** Console messages that are errors or warnings, uncaught exceptions, and what the policy blocked. */
  readonly complaints: readonly string[];
  /** Addresses of everything that was asked for, the page itself first. */
  readonly requests: readonly string[];
  show(view: View): Promise<void>;
  goTo(address: string): Promise<void>;
  /** The value of an expression, or of the promise that it gives. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until the expression is true; throws after some seconds. */
  waitFor(expression: string, timeoutMs?: number): Promise<void>;
  press(key: "ArrowRight" | "ArrowLeft" | "Tab" | "Enter" | "Escape"): Promise<void>;
  /** PNG of the whole page. */
  screenshot(): Promise<Buffer>;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/** Starts a browser with one page, gives it to the work, and ends it. */
export async function withBrowser<T>(work: (page: BrowserPage) => Promise<T>): Promise<T> {
  const profile = mkdtempSync(join(tmpdir(), "fedllm-native-browser-"));
  const args = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", `--user-data-dir=${profile}`, "--remote-debugging-port=0", "about:blank"];
  const child = spawn(browserPath ?? "chromium", args, { stdio: ["ignore", "ignore", "pipe"], detached: true });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  try {
    const address = await new Promise<string>((resolve, reject) => {
      let text = "";
      child.stderr.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        const found = /DevTools listening on (ws:\S+)/u.exec(text)?.[1];
        if (found !== undefined) resolve(found);
      });
      child.on("error", reject);
      child.on("exit", () => {
        reject(new Error(`the browser ended at once: ${text}`));
      });
    });
    const targets = (await (await fetch(`http://${new URL(address).host}/json`)).json()) as readonly { readonly type: string; readonly webSocketDebuggerUrl: string }[];
    const target = targets.find(({ type }) => type === "page");
    return await work(await openPage(target?.webSocketDebuggerUrl ?? address));
  } finally {
    // Its helpers are in the same group and write into the profile, too.
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

async function openPage(address: string): Promise<BrowserPage> {
  const socket = new WebSocket(address);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", () => {
      reject(new Error("no connection to the browser"));
    });
  });
  const waiting = new Map<number, (message: Message) => void>();
  const complaints: string[] = [];
  const requests: string[] = [];
  let loaded = (): void => undefined;
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(String(data)) as Message;
    if (message.id !== undefined) waiting.get(message.id)?.(message);
    if (message.method === "Page.loadEventFired") loaded();
    if (message.method === "Network.requestWillBeSent") requests.push((message.params?.["request"] as { url: string }).url);
    if (message.method === "Runtime.exceptionThrown") complaints.push(JSON.stringify(message.params));
    if (message.method === "Log.entryAdded" || message.method === "Runtime.consoleAPICalled") complaints.push(JSON.stringify(message.params));
  });
  let numSent = 0;
  const send = async (method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> => {
    const id = ++numSent;
    const answer = new Promise<Message>((resolve) => waiting.set(id, resolve));
    socket.send(JSON.stringify({ id, method, params }));
    const { result = {}, error } = await answer;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`);
  const evaluate = async <T>(expression: string): Promise<T> => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails !== undefined) throw new Error(`${expression.slice(0, 100)}: ${JSON.stringify(exceptionDetails).slice(0, 500)}`);
    return (result as { value: T }).value;
  };
  return {
    complaints,
    requests,
    evaluate,
    show: async ({ width, height, scheme, media = "" }) => {
      await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
      await send("Emulation.setEmulatedMedia", { media, features: [{ name: "prefers-color-scheme", value: scheme }] });
    },
    goTo: async (url) => {
      const done = new Promise<void>((resolve) => {
        loaded = resolve;
      });
      await send("Page.navigate", { url });
      await done;
    },
    waitFor: async (expression, timeoutMs = 15_000) => {
      const end = Date.now() + timeoutMs;
      while (!(await evaluate<boolean>(`Boolean(${expression})`))) {
        if (Date.now() > end) throw new Error(`did not become true: ${expression}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    press: async (key) => {
      const codes = { ArrowRight: 39, ArrowLeft: 37, Tab: 9, Enter: 13, Escape: 27 };
      const text = key === "Enter" ? { text: "\r" } : {};
      await send("Input.dispatchKeyEvent", { type: "keyDown", key, code: key, windowsVirtualKeyCode: codes[key], ...text });
      await send("Input.dispatchKeyEvent", { type: "keyUp", key, code: key, windowsVirtualKeyCode: codes[key] });
    },
    screenshot: async () => {
      const { data } = await send("Page.captureScreenshot", { captureBeyondViewport: true });
      return Buffer.from(data as string, "base64");
    },
  };
}

/** Rules of axe-core that the page breaks, with the elements; for people, so that a failing test says what to do. */
export async function findBarriers(page: BrowserPage, axeSource: string): Promise<string[]> {
  await page.evaluate(`${axeSource};0`);
  return page.evaluate<string[]>(
    `axe.run(document,{resultTypes:["violations"]}).then(({violations})=>violations.flatMap(({id,nodes})=>nodes.map(node=>id+": "+node.html.slice(0,160)+" | "+node.failureSummary.slice(0,300))))`,
  );
}
