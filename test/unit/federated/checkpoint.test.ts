/**
 * Goal: what is loaded is exactly what was saved, or it is refused. Damage is made byte by byte on a small real file.
 */
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CheckpointFolder, type CheckpointIdentity } from "../../../src/federated/checkpoint.js";
import type { Snapshot } from "../../../src/federated/records.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const identity: CheckpointIdentity = { configFingerprint: "config-1", layoutFingerprint: "layout-1" };

/** Values whose bits are easily lost: negative zero, a denormal, the largest number. */
const snapshotOf = (round: number): Snapshot => ({
  round,
  state: {
    server: {
      arrays: { adapter: Float32Array.of(-0, 1e-45, 3.4028234663852886e38), momentum: Float32Array.of(round, 0.1) },
      numbers: { steps: round, rate: 0.1 + 0.2 },
    },
    clients: new Map([
      ["10", { arrays: { adapter: Float32Array.of(1, 2, round) }, numbers: {} }],
      ["2", { arrays: {}, numbers: { seen: 3 } }],
      ["naïve/../\n", { arrays: { c: new Float32Array(0), d: Float32Array.of(7) }, numbers: {} }],
    ]),
  },
});

async function saveRounds(...rounds: readonly number[]): Promise<{ folder: string; checkpoints: CheckpointFolder }> {
  const folder = join(makeTemporaryFolder(), "checkpoints");
  const checkpoints = new CheckpointFolder(folder, identity);
  for (const round of rounds) await checkpoints.save(snapshotOf(round));
  return { folder, checkpoints };
}

const fileOf = (folder: string, round: number): string =>
  join(folder, `checkpoint-${String(round).padStart(8, "0")}.bin`);

/** The files of the rounds, without the folder of the clients' states. */
const roundFiles = (folder: string): string[] => readdirSync(folder).filter((name) => name !== "clients");

const clientFiles = (folder: string): string[] => readdirSync(join(folder, "clients"));

/** Changes bytes and gives the file a hash that fits again, as a foreign but careful writer would. */
function rewrite(path: string, change: (bytes: Buffer) => Buffer): void {
  const body = change(Buffer.from(readFileSync(path).subarray(0, -32)));
  writeFileSync(path, Buffer.concat([body, createHash("sha256").update(body).digest()]));
}

describe("a good checkpoint", () => {
  test("gives back every bit, the order of the clients included", async () => {
    const { checkpoints } = await saveRounds(12);
    const loaded = await checkpoints.load();
    expect(loaded).toEqual({ snapshot: snapshotOf(12), warnings: [] });
    expect([...(loaded?.snapshot.state.clients.keys() ?? [])]).toEqual(["10", "2", "naïve/../\n"]);
    expect(Object.is(loaded?.snapshot.state.server.arrays["adapter"]?.[0], -0)).toBe(true);
  });

  test("is the newest of the two that are kept", async () => {
    const { folder, checkpoints } = await saveRounds(9, 10, 11);
    expect(roundFiles(folder)).toEqual(["checkpoint-00000010.bin", "checkpoint-00000011.bin"]);
    expect((await checkpoints.load())?.snapshot.round).toBe(11);
  });

  test("of an earlier round than the files there makes them obsolete", async () => {
    const { folder, checkpoints } = await saveRounds(9, 10, 3);
    expect(roundFiles(folder)).toEqual(["checkpoint-00000003.bin"]);
    expect((await checkpoints.load())?.snapshot.round).toBe(3);
  });

  test("does not exist in an empty or new folder, and a half-written one is cleared away", async () => {
    const { folder, checkpoints } = await saveRounds();
    expect(await checkpoints.load()).toBeUndefined();
    writeFileSync(join(folder, ".checkpoint-00000001.bin.9-aa.partial"), "half");
    expect(await checkpoints.load()).toBeUndefined();
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("a damaged checkpoint", () => {
  test("gives way to the one before, and the user is told", async () => {
    const { folder, checkpoints } = await saveRounds(4, 5);
    const bytes = readFileSync(fileOf(folder, 5));
    bytes[bytes.length - 40] = (bytes[bytes.length - 40] ?? 0) ^ 1;
    writeFileSync(fileOf(folder, 5), bytes);
    const loaded = await checkpoints.load();
    expect(loaded?.snapshot).toEqual(snapshotOf(4));
    expect(loaded?.warnings).toHaveLength(2);
    expect(loaded?.warnings[0]).toContain(fileOf(folder, 5));
    expect(loaded?.warnings[1]).toBe("Going on from the checkpoint of round 4.");
  });

  test("is recognised whichever byte is flipped", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    const path = fileOf(folder, 1);
    const good = readFileSync(path);
    for (let index = 0; index < good.length; index++) {
      const bad = Buffer.from(good);
      bad[index] = (bad[index] ?? 0) ^ 0x40;
      writeFileSync(path, bad);
      await expect(checkpoints.load()).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    }
  });

  test("is recognised at whichever length it was cut", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    const path = fileOf(folder, 1);
    for (let length = readFileSync(path).length - 1; length >= 0; length--) {
      truncateSync(path, length);
      await expect(checkpoints.load()).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    }
  });

  test("without a good one before is an error that names both files", async () => {
    const { folder, checkpoints } = await saveRounds(1, 2);
    for (const round of [1, 2]) truncateSync(fileOf(folder, round), 20);
    const error: unknown = await checkpoints.load().catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    expect(String(error)).toContain(fileOf(folder, 1));
    expect(String(error)).toContain(fileOf(folder, 2));
  });

  test("with a fitting hash is still checked: header, clients and sizes", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    const path = fileOf(folder, 1);
    const good = readFileSync(path);
    const changes: readonly ((bytes: Buffer) => Buffer)[] = [
      (bytes) => Buffer.concat([bytes, Buffer.alloc(4)]),
      (bytes) => bytes.subarray(0, -4),
      (bytes) => Buffer.concat([Buffer.from("X"), bytes.subarray(1)]),
      (bytes) => Buffer.from(bytes.toString("latin1").replace('"length":2', '"length":9'), "latin1"),
      (bytes) => Buffer.from(bytes.toString("latin1").replace('"hash":"', '"hush":"'), "latin1"),
      (bytes) => Buffer.from(bytes.toString("latin1").replace('"round":1', '"round":-'), "latin1"),
      (bytes) => Buffer.from(bytes.toString("latin1").replace('"vectors":[', '"vektors":['), "latin1"),
      (bytes) => {
        bytes.writeUInt32LE(0xffffffff, 12);
        return bytes;
      },
    ];
    for (const change of changes) {
      writeFileSync(path, good);
      rewrite(path, change);
      expect(readFileSync(path).equals(good)).toBe(false);
      await expect(checkpoints.load()).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
    }
  });
});

describe("the clients' states", () => {
  test("have a file each, of which two checkpoints share those that did not change", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    expect(clientFiles(folder)).toHaveLength(3);
    // Only client 10's state depends on the round.
    await checkpoints.save(snapshotOf(2));
    expect(clientFiles(folder)).toHaveLength(4);
    await checkpoints.save(snapshotOf(3));
    expect(clientFiles(folder)).toHaveLength(4);
    expect((await checkpoints.load())?.snapshot).toEqual(snapshotOf(3));
  });

  test("that came from a file are not written again, those of the cohort are", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    const loaded = await checkpoints.load();
    if (loaded === undefined) throw new Error("there is a checkpoint");
    const inodes = (): Map<string, number> =>
      new Map(clientFiles(folder).map((name) => [name, statSync(join(folder, "clients", name)).ino]));
    const before = inodes();
    const changed = new Map(loaded.snapshot.state.clients).set("10", { arrays: { adapter: Float32Array.of(5) }, numbers: {} });
    await checkpoints.save({ round: 2, state: { ...loaded.snapshot.state, clients: changed } });
    const after = inodes();
    // A file that is written again gets another inode, because it is written beside its place and renamed.
    for (const [name, inode] of before) expect(after.get(name)).toBe(inode);
    expect(after.size).toBe(before.size + 1);
  });

  test("are let go after they were saved: they are read when asked for, the same bits, and checked each time", async () => {
    const { folder, checkpoints } = await saveRounds();
    const { round, state } = snapshotOf(1);
    await checkpoints.save({ round, state });
    const released = checkpoints.release(state);
    expect(released).toEqual(state);
    const own = released.clients.get("10");
    expect(own?.arrays["adapter"]).not.toBe(state.clients.get("10")?.arrays["adapter"]);
    for (const name of clientFiles(folder)) truncateSync(join(folder, "clients", name), 10);
    expect(() => own?.arrays).toThrow(expect.objectContaining({ code: "CHECKPOINT_CORRUPT" }) as Error);
    rmSync(join(folder, "clients"), { recursive: true });
    expect(() => own?.arrays).toThrow(/expected an existing file, received none/u);
  });

  test("that were not saved stay as they are", async () => {
    const { checkpoints } = await saveRounds();
    const { state } = snapshotOf(1);
    expect(checkpoints.release(state).clients.get("10")).toBe(state.clients.get("10"));
    await expect(checkpoints.load()).resolves.toBeUndefined();
  });

  test("damaged or missing make a checkpoint give way to the one before", async () => {
    for (const damage of [(path: string): void => { truncateSync(path, 30); }, (path: string): void => { rmSync(path); }]) {
      const { folder, checkpoints } = await saveRounds(4);
      const old = new Set(clientFiles(folder));
      await checkpoints.save(snapshotOf(5));
      for (const name of clientFiles(folder)) if (!old.has(name)) damage(join(folder, "clients", name));
      const loaded = await checkpoints.load();
      expect(loaded?.snapshot).toEqual(snapshotOf(4));
      expect(loaded?.warnings[0]).toContain("client state ");
    }
  });

  test("are recognised as damaged whichever byte is flipped", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    for (const name of clientFiles(folder)) {
      const path = join(folder, "clients", name);
      const good = readFileSync(path);
      for (let index = 0; index < good.length; index++) {
        const bad = Buffer.from(good);
        bad[index] = (bad[index] ?? 0) ^ 0x40;
        writeFileSync(path, bad);
        await expect(checkpoints.load()).rejects.toMatchObject({ code: "CHECKPOINT_CORRUPT" });
      }
      writeFileSync(path, good);
    }
  });

  test("half-written by a killed writer are cleared away", async () => {
    const { folder, checkpoints } = await saveRounds(1);
    const files = clientFiles(folder);
    writeFileSync(join(folder, "clients", ".aa.bin.9-aa.partial"), "half");
    await checkpoints.load();
    expect(clientFiles(folder)).toEqual(files);
  });
});

describe("a checkpoint that is not of this run", () => {
  test.each(["configFingerprint", "layoutFingerprint"] as const)("with another %s is refused", async (name) => {
    const { folder } = await saveRounds(1, 2);
    const other = new CheckpointFolder(folder, { ...identity, [name]: "other" });
    await expect(other.load()).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringMatching(new RegExp(`${name}.*expected other`, "u")) as string,
    });
  });

  test("of a newer version is refused and not taken for damage", async () => {
    const { folder, checkpoints } = await saveRounds(1, 2);
    rewrite(fileOf(folder, 2), (bytes) => {
      bytes.writeUInt32LE(3, 8);
      return bytes;
    });
    await expect(checkpoints.load()).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringContaining("expected checkpoint version 2, received 3") as string,
    });
  });
});

test("a snapshot with a number that JSON cannot hold is a programmer error and leaves no file", async () => {
  const { folder, checkpoints } = await saveRounds();
  const state = { server: { arrays: {}, numbers: { loss: Number.NaN } }, clients: new Map() };
  await expect(checkpoints.save({ round: 1, state })).rejects.toThrow(
    "assertion failed: numbers of a state are finite",
  );
  expect(readdirSync(folder)).toEqual([]);
});

test("a folder that cannot be made is an IO_FAILED", async () => {
  const folder = makeTemporaryFolder();
  writeFileSync(join(folder, "file"), "");
  const checkpoints = new CheckpointFolder(join(folder, "file", "checkpoints"), identity);
  await expect(checkpoints.save(snapshotOf(1))).rejects.toMatchObject({ code: "IO_FAILED" });
  await expect(checkpoints.load()).rejects.toMatchObject({ code: "IO_FAILED" });
});
