/**
 * The system calls that a program in bubblewrap is refused, as a seccomp filter (classic BPF, linux/filter.h and
 * linux/seccomp.h): new processes and threads, sockets other than local ones, memory that no limit counts, and the parts of the kernel
 * that a Python program has no business in. Namespaces and limits do the main work; this closes what they leave open: the limit
 * of processes does not bind root, and neither namespaces nor limits count System V memory or know of sockets to a hypervisor.
 */

/** By name: numbers on x86-64 and on arm64 (asm/unistd.h); undefined where the architecture has no such call. */
const REFUSED: Readonly<Record<string, readonly [x64: number, arm64: number | undefined]>> = {
  clone: [56, 220],
  fork: [57, undefined],
  vfork: [58, undefined],
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  shmget: [29, 194],
  semget: [64, 190],
  msgget: [68, 186],
  mq_open: [240, 180],
  memfd_create: [319, 279],
  memfd_secret: [447, 447],
  mount: [165, 40],
  pivot_root: [155, 41],
  chroot: [161, 51],
  fsopen: [430, 430],
  unshare: [272, 97],
  setns: [308, 268],
  open_by_handle_at: [304, 265],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  bpf: [321, 280],
  userfaultfd: [323, 282],
  perf_event_open: [298, 241],
  io_uring_setup: [425, 425],
};
const CLONE3 = 435;
const SOCKET: readonly [x64: number, arm64: number] = [41, 198];

// Offsets within struct seccomp_data.
const OFFSET_NUMBER = 0;
const OFFSET_ARCHITECTURE = 4;
const OFFSET_FIRST_ARGUMENT = 16;

const AUDIT_ARCHITECTURES = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** From here on numbers are those of the x32 form of calls, under which the same calls have other numbers. */
const X32_BIT = 0x40000000;
const AF_UNIX = 1;

const RETURN_ALLOW = 0x7fff0000;
const RETURN_ERROR = 0x00050000;
const RETURN_KILL_PROCESS = 0x80000000;
const EPERM = 1;
/** By this answer the C library falls back from clone3 to clone. */
const ENOSYS = 38;

const LOAD_WORD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_GREATER_OR_EQUAL = 0x35;
const RETURN = 0x06;

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, value: number];

/** The filter as an array of struct sock_filter; undefined for an architecture whose numbers are not here. */
export function buildSystemCallFilter(architecture: string): Uint8Array | undefined {
  if (architecture !== "x64" && architecture !== "arm64") return undefined;
  const column = architecture === "x64" ? 0 : 1;
  const refuse = (number: number, error: number): Instruction[] => [
    [JUMP_IF_EQUAL, 0, 1, number],
    [RETURN, 0, 0, RETURN_ERROR | error],
  ];
  const instructions: Instruction[] = [
    [LOAD_WORD, 0, 0, OFFSET_ARCHITECTURE],
    [JUMP_IF_EQUAL, 1, 0, AUDIT_ARCHITECTURES[architecture]],
    [RETURN, 0, 0, RETURN_KILL_PROCESS],
    [LOAD_WORD, 0, 0, OFFSET_NUMBER],
    [JUMP_IF_GREATER_OR_EQUAL, 0, 1, X32_BIT],
    [RETURN, 0, 0, RETURN_KILL_PROCESS],
    ...refuse(CLONE3, ENOSYS),
    ...Object.values(REFUSED).flatMap((numbers) => {
      const number = numbers[column];
      return number === undefined ? [] : refuse(number, EPERM);
    }),
    // Of sockets only those of one machine's processes among themselves, of which there are none here.
    [JUMP_IF_EQUAL, 0, 3, SOCKET[column]],
    [LOAD_WORD, 0, 0, OFFSET_FIRST_ARGUMENT],
    [JUMP_IF_EQUAL, 1, 0, AF_UNIX],
    [RETURN, 0, 0, RETURN_ERROR | EPERM],
    [RETURN, 0, 0, RETURN_ALLOW],
  ];
  const bytes = new DataView(new ArrayBuffer(instructions.length * 8));
  for (const [index, [code, jumpTrue, jumpFalse, value]] of instructions.entries()) {
    bytes.setUint16(index * 8, code, true);
    bytes.setUint8(index * 8 + 2, jumpTrue);
    bytes.setUint8(index * 8 + 3, jumpFalse);
    bytes.setUint32(index * 8 + 4, value >>> 0, true);
  }
  return new Uint8Array(bytes.buffer);
}
