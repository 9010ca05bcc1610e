/** The hub's protocol and cache layout, against a server on loopback that answers as the hub does. */
import { createHash } from "node:crypto";
import { existsSync, lstatSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fetchHubFile, openSnapshot } from "../../../../src/data/download/hub.js";
import type { Hub } from "../../../../src/data/download/hub.js";
import { refuse, serve, startFileServer } from "../../../helpers/file-server.js";
import type { Answer } from "../../../helpers/file-server.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const DATA = Buffer.from("the rows");
const SHA256 = createHash("sha256").update(DATA).digest("hex");
const FILE = "data/train-00000.parquet";

/** The list of files, headers with the hash of a large file, and the file elsewhere. */
function hubAnswers(storage: string, listed: readonly string[] = [FILE, "README.md"]): Answer {
  return (request, response) => {
    const { pathname } = new URL(request.url ?? "", "http://hub");
    if (pathname === "/api/datasets/org/name/revision/main") {
      const body = Buffer.from(JSON.stringify({ sha: COMMIT, siblings: listed.map((rfilename) => ({ rfilename })), more: true }));
      serve(body)(request, response);
    } else if (pathname === `/datasets/org/name/resolve/${COMMIT}/${FILE}`) {
      refuse(302, { location: `${storage}/blob`, etag: '"redirect"', "x-linked-etag": `"${SHA256}"`, "x-linked-size": String(DATA.length), "x-repo-commit": COMMIT })(request, response);
    } else if (pathname === `/datasets/org/name/resolve/${COMMIT}/README.md`) {
      serve(Buffer.from("# read me"), '"abc123"')(request, response);
    } else refuse(404)(request, response);
  };
}

async function makeHub(options: Partial<Hub> = {}, listed?: readonly string[]) {
  const storage = await startFileServer(serve(DATA));
  const server = await startFileServer(hubAnswers(storage.origin, listed));
  const hub: Hub = { endpoint: server.origin, cacheDir: makeTemporaryFolder(), network: { isOffline: false }, pauseMs: 5, ...options };
  return { hub, server, storage, folder: join(hub.cacheDir, "datasets--org--name") };
}

describe("hub", () => {
  test("a file goes to a blob named by its hash, linked from its snapshot, and the revision is noted", async () => {
    const { hub, server, storage, folder } = await makeHub({ token: "secret" });
    const snapshot = await openSnapshot(hub, "org/name");
    expect(snapshot).toEqual({ repo: "org/name", commit: COMMIT, files: [FILE, "README.md"] });
    const { path, wasCached } = await fetchHubFile(hub, snapshot, FILE);
    expect({ path, wasCached }).toEqual({ path: join(folder, "snapshots", COMMIT, "data", "train-00000.parquet"), wasCached: false });
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(readlinkSync(path)).toBe(join("..", "..", "..", "blobs", SHA256));
    expect(readFileSync(path).equals(DATA)).toBe(true);
    expect(readFileSync(join(folder, "refs", "main"), "utf8")).toBe(COMMIT);
    const small = await fetchHubFile(hub, snapshot, "README.md");
    expect(readlinkSync(small.path)).toBe(join("..", "..", "blobs", "abc123"));
    expect(server.requests.every(({ headers }) => headers.authorization === "Bearer secret")).toBe(true);
    expect(storage.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test("what is there is not fetched again, and serves offline", async () => {
    const { hub, server, storage } = await makeHub();
    await fetchHubFile(hub, await openSnapshot(hub, "org/name"), FILE);
    const numRequests = server.requests.length + storage.requests.length;
    const offline = { ...hub, network: { isOffline: true } };
    const snapshot = await openSnapshot(offline, "org/name");
    expect((await fetchHubFile(offline, snapshot, FILE)).wasCached).toBe(true);
    await expect(fetchHubFile(offline, snapshot, "README.md")).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("offline") as string });
    expect(server.requests.length + storage.requests.length).toBe(numRequests);
    await expect(openSnapshot({ ...offline, cacheDir: makeTemporaryFolder() }, "org/name")).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
  });

  test("a file that is not what its hash says is refused", async () => {
    const storage = await startFileServer(serve(Buffer.from("not rows")));
    const server = await startFileServer(hubAnswers(storage.origin));
    const hub: Hub = { endpoint: server.origin, cacheDir: makeTemporaryFolder(), network: { isOffline: false }, pauseMs: 5 };
    await expect(fetchHubFile(hub, await openSnapshot(hub, "org/name"), FILE)).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining(SHA256) as string });
    expect(existsSync(join(hub.cacheDir, "datasets--org--name", "snapshots"))).toBe(false);
  });

  test.each(["../../../etc/passwd", "data/../../x", "/etc/passwd", "a\\b", "a//b"])("the listed name %j does not lead out of the cache", async (name) => {
    const { hub } = await makeHub({}, [name]);
    await expect(fetchHubFile(hub, await openSnapshot(hub, "org/name"), name)).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("inside the data set") as string });
  });

  test("a data set that is closed, and names that are none", async () => {
    const closed = await startFileServer(refuse(401));
    const hub: Hub = { endpoint: closed.origin, cacheDir: makeTemporaryFolder(), network: { isOffline: false }, pauseMs: 5 };
    await expect(openSnapshot(hub, "org/name")).rejects.toMatchObject({ message: expect.stringContaining("HF_TOKEN") as string });
    await expect(openSnapshot(hub, "../name")).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  });
});
