/** The published vectors of the primitives, through the functions that use them, and that keys are bound to what they are for. */
import { hkdfSync } from "node:crypto";
import { describe, expect, test } from "vitest";
import { applyMask, open, seal } from "../../../src/secagg/ciphers.js";
import { agree, createKeyPair, deriveKey, keyPairOf, rawSecretKey } from "../../../src/secagg/keys.js";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");

describe("X25519", () => {
  test("agrees as in RFC 7748, 5.2 and 6.1", () => {
    const scalar = keyPairOf(bytes("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"));
    expect(hex(agree(scalar, bytes("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")))).toBe(
      "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    );
    const alice = keyPairOf(bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    const bob = keyPairOf(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    expect(hex(alice.publicKey)).toBe("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    expect(hex(bob.publicKey)).toBe("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    expect(hex(agree(alice, bob.publicKey))).toBe("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
  });

  test("a raw secret key makes the same pair again, and both ends get the same", () => {
    const [left, right] = [createKeyPair(), createKeyPair()];
    expect(keyPairOf(rawSecretKey(left)).publicKey).toEqual(left.publicKey);
    expect(agree(keyPairOf(rawSecretKey(left)), right.publicKey)).toEqual(agree(right, left.publicKey));
  });

  test.each([
    ["zero", "00".repeat(32)],
    ["one", `01${"00".repeat(31)}`],
    ["a point of order 8", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"],
    ["another of order 8", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"],
    ["p - 1", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"],
    ["p, which is zero", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"],
  ])("a public key of small order is refused: %s", (_name, key) => {
    expect(() => agree(createKeyPair(), bytes(key))).toThrow(/not of small order/u);
  });
});

describe("HKDF", () => {
  test("is that of RFC 5869, case 1", () => {
    const okm = hkdfSync("sha256", bytes("0b".repeat(22)), bytes("000102030405060708090a0b0c"), bytes("f0f1f2f3f4f5f6f7f8f9"), 42);
    expect(hex(new Uint8Array(okm))).toBe("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  });

  test("keys differ by attempt, round, use and ends", () => {
    const material = new Uint8Array(32);
    const attempts = [new Uint8Array(16), new Uint8Array(16).fill(1)];
    const keys = attempts.flatMap((attempt) =>
      [1, 2].flatMap((round) =>
        (["own mask", "pairwise mask", "channel"] as const).flatMap((use) => [[1, 2], [2, 1], [12], [1]].map((ends) => hex(deriveKey(material, { attempt, round }, use, ...ends)))),
      ),
    );
    expect(new Set(keys).size).toBe(2 * 2 * 3 * 4);
    expect(keys[0]).toHaveLength(64);
  });
});

describe("AES-256", () => {
  test("in counter mode gives the first blocks of the cipher with a zero key, as 32-bit words of low byte first", () => {
    const values = new Uint32Array(8);
    applyMask(values, new Uint8Array(32), 1);
    // E(0, 0) and E(0, 1) of AES-256.
    expect(hex(new Uint8Array(values.buffer))).toBe("dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738b");
    applyMask(values, new Uint8Array(32), -1);
    expect(values).toEqual(new Uint32Array(8));
  });

  test("masks longer than a block of the generator are one stream", () => {
    const key = new Uint8Array(32).fill(7);
    const long = new Uint32Array(20_000);
    const short = new Uint32Array(17_000);
    applyMask(long, key, 1);
    applyMask(short, key, 1);
    expect(long.slice(0, 17_000)).toEqual(short);
    // The second block is not the first again.
    expect(long.slice(16_384, 17_000)).not.toEqual(long.slice(0, 616));
  });

  test("in Galois counter mode gives the published block and tag, and opens only what it sealed", () => {
    // Case 14 of the mode's specification: a zero key, nonce and block.
    const key = new Uint8Array(32);
    const sealed = seal(key, new Uint8Array(16));
    expect(hex(sealed)).toBe("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    expect(hex(open(key, sealed, "client 1"))).toBe("00".repeat(16));
    for (let index = 0; index < sealed.length; index++) {
      const flipped = Uint8Array.from(sealed);
      flipped[index] = (flipped[index] ?? 0) ^ 1;
      expect(() => open(key, flipped, "client 1")).toThrow(/shares of client 1/u);
    }
    expect(() => open(new Uint8Array(32).fill(1), sealed, "client 1")).toThrow(/something else/u);
    expect(() => open(key, sealed.subarray(0, 10), "client 1")).toThrow(/something else/u);
  });
});
