/** The filter of system calls, run by a small interpreter of the instructions it uses: what it allows and refuses, by known numbers. */
import { expect, test } from "vitest";
import { buildSystemCallFilter } from "../../../src/sandbox/system-call-filter.js";

const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const NOT_PERMITTED = 0x00050001;
const NOT_IMPLEMENTED = 0x00050026;
const X64 = 0xc000003e;
const ARM64 = 0xc00000b7;

/** Result of the filter for a call, by the kernel's rules for LD|W|ABS, JEQ, JGE and RET (linux/bpf_common.h). */
function runFilter(filter: Uint8Array, call: { readonly number: number; readonly architecture: number; readonly firstArgument?: number }): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.number, true);
  data.setUint32(4, call.architecture, true);
  data.setUint32(16, call.firstArgument ?? 0, true);
  const program = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at++) {
    const code = program.getUint16(at * 8, true);
    const value = program.getUint32(at * 8 + 4, true);
    if (code === 0x20) accumulator = data.getUint32(value, true);
    else if (code === 0x06) return value;
    else if (code === 0x15) at += program.getUint8(at * 8 + (accumulator === value ? 2 : 3));
    else if (code === 0x35) at += program.getUint8(at * 8 + (accumulator >= value ? 2 : 3));
    else throw new Error(`instruction ${String(code)}`);
  }
  throw new Error("the filter has no end");
}

const filterFor = (architecture: string): Uint8Array => {
  const filter = buildSystemCallFilter(architecture);
  if (filter === undefined) throw new Error("no filter");
  return filter;
};

test.each([
  // read, write, mmap, execve, exit_group, getrandom
  { name: "x64", architecture: X64, allowed: [0, 1, 9, 59, 231, 318], refused: [56, 57, 58, 101, 29, 319, 272, 165, 425], socket: 41, socketpair: 53 },
  { name: "arm64", architecture: ARM64, allowed: [63, 64, 222, 221, 94, 278], refused: [220, 117, 194, 279, 97, 40, 425], socket: 198, socketpair: 199 },
])("$name", ({ name, architecture, allowed, refused, socket, socketpair }) => {
  const filter = filterFor(name);
  for (const number of [...allowed, socketpair]) expect(runFilter(filter, { number, architecture }), `call ${String(number)}`).toBe(ALLOW);
  for (const number of refused) expect(runFilter(filter, { number, architecture }), `call ${String(number)}`).toBe(NOT_PERMITTED);
  expect(runFilter(filter, { number: 435, architecture })).toBe(NOT_IMPLEMENTED);
  // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK
  expect([1, 2, 10, 16, 40].map((firstArgument) => runFilter(filter, { number: socket, architecture, firstArgument }))).toEqual([ALLOW, ...Array.from({ length: 4 }, () => NOT_PERMITTED)]);
  // Another architecture's numbers and the x32 form would mean other calls.
  expect(runFilter(filter, { number: 1, architecture: 0x40000003 })).toBe(KILL);
  expect(runFilter(filter, { number: 0x40000001, architecture })).toBe(KILL);
});

test("architectures whose numbers are unknown have none", () => {
  expect(buildSystemCallFilter("riscv64")).toBeUndefined();
});
