/** Data sets of the catalogue out of archives, folders and files of the published form, and made again from their sources. */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { locateDataset } from "../../../../src/config/known-datasets.js";
import { CATALOGUE } from "../../../../src/data/catalogue.js";
import { installFromArchive } from "../../../../src/data/catalogue/fetch-archive.js";
import { installFrom } from "../../../../src/data/catalogue/install.js";
import { findPublishedFiles, folderOf, licenceOf, requireEntry } from "../../../../src/data/catalogue/published.js";
import { installUnfiltered, rebuildDataset } from "../../../../src/data/catalogue/rebuild.js";
import { acceptLicence, installedPath, licenceAcceptedAt, readManifest } from "../../../../src/data/catalogue/store.js";
import { readFederatedDataset } from "../../../../src/data/dataset.js";
import { unfilteredPath } from "../../../../src/data/unfiltered.js";
import { refuse, serve, startFileServer } from "../../../helpers/file-server.js";
import { writeParquet } from "../../../helpers/parquet.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";
import { makeZip } from "../../../helpers/zip.js";

const SAMPLES = {
  "single-turn": { instruction: "q", response: "a" },
  "multi-turn": { conversations: [{ from: "human", value: "q" }, { from: "gpt", value: "a" }] },
  preference: { prompt: "q", chosen: "a", rejected: "b" },
};
/** Written by hand, since an object of JavaScript would move the 10 to the front. */
const clientsOf = (kind: keyof typeof SAMPLES) => `{"b": ${JSON.stringify([SAMPLES[kind]])}, "10": ${JSON.stringify([SAMPLES[kind]])}}`;

/** The published files of all data sets, with the odd names, below this root. */
function published(root: string): { name: string; content: string }[] {
  return CATALOGUE.flatMap(({ file, locals, kind }) => [
    { name: `${root}${file.replace("_6k.json", "_6k.json.json")}`, content: clientsOf(kind) },
    ...locals.map((local) => ({ name: `${root}${local.file.replace("local1702", "local_1702")}`, content: JSON.stringify([SAMPLES[kind]]) })),
  ]);
}

describe("the catalogue", () => {
  test("has the counts of the paper", () => {
    expect(CATALOGUE.map(({ name, numClients, numSamples }) => [name, numClients, numSamples])).toEqual([
      ["fed-aya", 38, 25_513],
      ["fed-chatbot-it", 237, 6166],
      ["fed-wildchat", 100, 52_703],
      ["fed-wildchat-multi", 50, 15_406],
      ["fed-chatbot-pa", 747, 9508],
    ]);
    expect(() => requireEntry("fed-ayaa")).toThrow("expected one of fed-aya");
  });

  test.each(["", "data/", "FedLLM-Bench-Data/", "a/b/"])("finds every data set below the root %j", (root) => {
    const paths = published(root).map(({ name }) => name);
    for (const entry of CATALOGUE) {
      const found = findPublishedFiles(entry, paths);
      expect([...(found ?? [])].map(([, name]) => name)).toEqual([entry.file, ...entry.locals.map(({ file }) => file)]);
    }
    expect(findPublishedFiles(requireEntry("fed-aya"), ["other.json"])).toBeUndefined();
  });
});

describe("installing", () => {
  test.each(CATALOGUE)("$name comes out of an archive, with warnings about the counts", async (entry) => {
    const folder = makeTemporaryFolder();
    const archive = join(makeTemporaryFolder(), "data.zip");
    writeFileSync(archive, makeZip(published("FedLLM-Bench-Data/")));
    const manifest = await installFrom(folder, entry, archive);
    expect(manifest.warnings).toEqual([`the paper has ${String(entry.numClients)} clients, this data has 2`, `the paper has ${String(entry.numSamples)} samples, this data has 2`]);
    const dataset = await readFederatedDataset(installedPath(folder, entry));
    expect(dataset).toMatchObject({ kind: entry.kind, sha256: manifest.sha256 });
    // Ids that look like numbers stay where they are.
    expect(dataset.clients.map(({ id }) => id)).toEqual(["b", "10"]);
    for (const { file } of entry.locals) expect(existsSync(join(folder, file))).toBe(true);
    expect(await readManifest(folder, entry)).toEqual(manifest);
    expect(readdirSync(folder)).toEqual([folderOf(entry).split("/")[0]]);
  });

  test("a folder, the data set's own folder and the file itself do as well, and replace what was there", async () => {
    const source = makeTemporaryFolder();
    for (const { name, content } of published("data/")) {
      mkdirSync(dirname(join(source, name)), { recursive: true });
      writeFileSync(join(source, name), content);
    }
    const folder = makeTemporaryFolder();
    const entry = requireEntry("fed-wildchat");
    for (const from of [source, join(source, "data"), join(source, "data/Fed-WildChat/single_turn"), join(source, "data/Fed-WildChat/single_turn/wildchat_100c_53k.json")]) {
      expect((await installFrom(folder, entry, from)).numClients).toBe(2);
    }
    expect(readdirSync(join(folder, "Fed-WildChat"))).toEqual(["single_turn"]);
    expect(existsSync(join(folder, "Fed-WildChat", "single_turn", "local"))).toBe(false);
  });

  test("other contents are refused, and what was installed stays", async () => {
    const folder = makeTemporaryFolder();
    const entry = requireEntry("fed-aya");
    const file = join(makeTemporaryFolder(), "x.json");
    writeFileSync(file, clientsOf("single-turn"));
    const first = await installFrom(folder, entry, file);
    writeFileSync(file, clientsOf("preference"));
    await expect(installFrom(folder, entry, file)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("single-turn samples, as fed-aya has") as string });
    await expect(installFrom(folder, entry, makeTemporaryFolder())).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("Fed-Aya/aya_38c_25k.json") as string });
    await expect(installFrom(folder, entry, join(folder, "none"))).rejects.toMatchObject({ code: "IO_FAILED" });
    expect(await readManifest(folder, entry)).toEqual(first);
    expect(readdirSync(folder)).toEqual(["Fed-Aya"]);
  });

  test("the archive is downloaded once for all data sets, and a page instead of it is noticed", async () => {
    const { origin, requests } = await startFileServer(serve(makeZip(published("x/"))));
    const folder = makeTemporaryFolder();
    const options = { url: `${origin}/a.zip`, network: { isOffline: false }, pauseMs: 5 };
    for (const name of ["fed-aya", "fed-chatbot-pa"]) expect((await installFromArchive(folder, requireEntry(name), options)).source).toBe(options.url);
    expect(requests).toHaveLength(1);
    const plain = await startFileServer(serve(Buffer.from(clientsOf("preference"))));
    expect((await installFromArchive(folder, requireEntry("fed-chatbot-pa"), { ...options, url: plain.origin })).numClients).toBe(2);
    const page = await startFileServer(serve(Buffer.from("<html>too large to be scanned</html>")));
    const failure = installFromArchive(folder, requireEntry("fed-aya"), { ...options, url: page.origin });
    await expect(failure).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("--from") as string });
    const closed = await startFileServer(refuse(404));
    await expect(installFromArchive(folder, requireEntry("fed-aya"), { ...options, url: closed.origin })).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
  });
});

describe("the release without a limit on users", () => {
  const release = { small: [{ instruction: "q", response: "a", language: "en" }], large: ["q1", "q2"].map((instruction) => ({ instruction, response: "a", language: "fr" })) };

  test("out of a file, a folder or an archive of any names: small users are left out, and all kept beside", async () => {
    const root = makeTemporaryFolder();
    const file = join(root, "Fed-Aya", "all_users.json");
    mkdirSync(join(root, "Fed-Aya", "local"), { recursive: true });
    mkdirSync(join(root, "Fed-WildChat"));
    writeFileSync(file, JSON.stringify(release));
    for (const other of ["Fed-Aya/local/x.json", "Fed-WildChat/y.json"]) writeFileSync(join(root, other), "[]");
    const archive = join(makeTemporaryFolder(), "drive.zip");
    writeFileSync(archive, makeZip([{ name: "unfiltered/fed_aya/all.jsonl", content: Object.entries(release).flatMap(([user, samples]) => samples.map((sample) => `${JSON.stringify({ user, ...sample })}\n`)).join("") }]));
    const entry = requireEntry("fed-aya");
    for (const from of [file, root, archive]) {
      const folder = makeTemporaryFolder();
      const manifest = await installUnfiltered({ folder, entry, from, minSamples: 2 });
      expect(manifest).toMatchObject({ numClients: 1, numSamples: 2, source: from });
      const path = installedPath(folder, entry);
      expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ large: release.large });
      expect(JSON.parse(readFileSync(unfilteredPath(path), "utf8"))).toEqual(release);
      expect(locateDataset("dataset:fed-aya/unfiltered", makeTemporaryFolder(), folder)).toBe(unfilteredPath(path));
      expect(readdirSync(join(folder, "Fed-Aya")).sort()).toEqual(["aya_38c_25k.json", "aya_38c_25k.unfiltered.json", "dataset.json"]);
      expect(readdirSync(folder)).toEqual(["Fed-Aya"]);
    }
  });

  test("several files or none are refused with what to do, and a limit that nobody reaches", async () => {
    const root = makeTemporaryFolder();
    const [folder, entry] = [makeTemporaryFolder(), requireEntry("fed-aya")];
    await expect(installUnfiltered({ folder, entry, from: root })).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("Name the file itself with --from") as string });
    for (const name of ["a.json", "b.json"]) writeFileSync(join(root, name), JSON.stringify(release));
    await expect(installUnfiltered({ folder, entry, from: root })).rejects.toMatchObject({ message: expect.stringContaining("2: a.json, b.json") as string });
    // The paper's limit of 100 samples.
    await expect(installUnfiltered({ folder, entry, from: join(root, "a.json") })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("the largest of 2 users has 2 samples") as string });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("licences", () => {
  test("are accepted once, each on its own, and again when they change", async () => {
    const folder = join(makeTemporaryFolder(), "new");
    const entry = requireEntry("fed-aya");
    expect(await licenceAcceptedAt(folder, entry)).toBeUndefined();
    await acceptLicence(folder, entry);
    expect(await licenceAcceptedAt(folder, entry)).toMatch(/^\d{4}-/);
    expect(await licenceAcceptedAt(folder, requireEntry("fed-chatbot-pa"))).toBeUndefined();
    const path = join(folder, "licences.json");
    writeFileSync(path, readFileSync(path, "utf8").replace(licenceOf(entry).name, "older terms"));
    expect(await licenceAcceptedAt(folder, entry)).toBeUndefined();
  });
});

const turns = (...texts: string[]) => texts.map((content, index) => ({ content, role: index % 2 === 0 ? "user" : "assistant" }));

/** Rebuilds from one Parquet file of these columns. */
async function rebuild(name: string, columns: Parameters<typeof writeParquet>[1], minSamples: number) {
  const folder = makeTemporaryFolder();
  const source = join(makeTemporaryFolder(), "train-00000-of-00001.parquet");
  writeParquet(source, columns, 2);
  const hub = { endpoint: "http://127.0.0.1:1", cacheDir: folder, network: { isOffline: true } };
  const entry = requireEntry(name);
  const manifest = await rebuildDataset({ folder, entry, sources: [source], hub, minSamples });
  const read = (path: string) => JSON.parse(readFileSync(path, "utf8")) as unknown;
  const path = installedPath(folder, entry);
  return { manifest, clients: read(path), all: minSamples > 1 ? read(unfilteredPath(path)) : undefined };
}

describe("made again from the sources", () => {
  test("Fed-Aya: by annotator, the eight languages, small users only in the unfiltered file", async () => {
    const { clients, all, manifest } = await rebuild(
      "fed-aya",
      [
        { name: "inputs", data: ["q1", "q2", "q3", "q4"] },
        { name: "targets", data: ["a1", "a2", "a3", "a4"] },
        { name: "language", data: ["English", "Telugu", "Yoruba", "English"] },
        { name: "user_id", data: ["u", "v", "u", "u"] },
      ],
      2,
    );
    const first = [{ instruction: "q1", response: "a1", language: "English" }, { instruction: "q4", response: "a4", language: "English" }];
    expect(clients).toEqual({ u: first });
    expect(all).toEqual({ u: first, v: [{ instruction: "q2", response: "a2", language: "Telugu" }] });
    expect(manifest.warnings[0]).toContain("the paper has 38 clients, this data has 1");
  });

  const votes = [
    { name: "judge", data: ["arena_user_1", "arena_user_1", "arena_user_2", "arena_user_3"] },
    { name: "winner", data: ["model_b", "tie (bothbad)", "model_a", "model_a"] },
    { name: "turn", data: [1n, 1n, 1n, 2n], type: "INT64" as const },
    { name: "language", data: ["English", "English", "German", "English"] },
    { name: "conversation_a", data: [turns("q1", "a1"), turns("q2", "a2"), turns("q3", "a3"), turns("q4", "a4", "q", "a")], isConversation: true },
    { name: "conversation_b", data: [turns("q1", "b1"), turns("q2", "b2"), turns("q3", "b3"), turns("q4", "b4", "q", "b")], isConversation: true },
  ];

  test("Fed-ChatbotPA: by judge, the chosen and the other answer, no ties, single questions", async () => {
    expect((await rebuild("fed-chatbot-pa", votes, 1)).clients).toEqual({
      arena_user_1: [{ prompt: "q1", chosen: "b1", rejected: "a1", language: "English" }],
      arena_user_2: [{ prompt: "q3", chosen: "a3", rejected: "b3", language: "German" }],
    });
  });

  test("Fed-ChatbotIT: the same questions with the chosen answer", async () => {
    expect((await rebuild("fed-chatbot-it", votes, 1)).clients).toEqual({
      arena_user_1: [{ instruction: "q1", response: "b1", language: "English" }],
      arena_user_2: [{ instruction: "q3", response: "a3", language: "German" }],
    });
  });

  const chats = [
    { name: "hashed_ip", data: ["x", "y", "x"] },
    { name: "turn", data: [1n, 2n, 1n], type: "INT64" as const },
    { name: "language", data: ["English", "Russian", "English"] },
    { name: "conversation", data: [turns("q1", "a1"), turns("q2", "a2", "q3", "a3"), turns("q4", "")], isConversation: true },
  ];

  test("Fed-WildChat: by hashed address, single questions or conversations, what is unusable is told", async () => {
    const single = await rebuild("fed-wildchat", chats, 1);
    expect(single.clients).toEqual({ x: [{ instruction: "q1", response: "a1", language: "English" }] });
    expect(single.manifest.warnings[0]).toContain("1 records of the source cannot be used, the first: train-00000-of-00001.parquet, row 2");
    expect((await rebuild("fed-wildchat-multi", chats, 1)).clients).toEqual({
      y: [{ conversations: [{ from: "human", value: "q2" }, { from: "gpt", value: "a2" }, { from: "human", value: "q3" }, { from: "gpt", value: "a3" }], language: "Russian" }],
    });
  });

  test("from the hub, with the files of its training part", async () => {
    const source = join(makeTemporaryFolder(), "p.parquet");
    writeParquet(source, [{ name: "inputs", data: ["q"] }, { name: "targets", data: ["a"] }, { name: "language", data: ["English"] }, { name: "user_id", data: ["u"] }]);
    const bytes = readFileSync(source);
    const commit = "a".repeat(40);
    const { origin, requests } = await startFileServer((request, response) => {
      const listing = { sha: commit, siblings: ["README.md", "data/test-0.parquet", "data/train-0.parquet"].map((rfilename) => ({ rfilename })) };
      serve(request.url?.startsWith("/api/") === true ? Buffer.from(JSON.stringify(listing)) : bytes, '"tag"')(request, response);
    });
    const folder = makeTemporaryFolder();
    const hub = { endpoint: origin, cacheDir: makeTemporaryFolder(), network: { isOffline: false }, pauseMs: 5 };
    const manifest = await rebuildDataset({ folder, entry: requireEntry("fed-aya"), hub, minSamples: 1 });
    expect(manifest).toMatchObject({ numClients: 1, numSamples: 1, source: `CohereForAI/aya_dataset at ${commit}` });
    expect(new Set(requests.map(({ url }) => url))).toEqual(
      new Set(["/api/datasets/CohereForAI/aya_dataset/revision/main", `/datasets/CohereForAI/aya_dataset/resolve/${commit}/data/train-0.parquet`]),
    );
  });
});
